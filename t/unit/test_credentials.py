"""Credentials that expire: when to ask for them again, and who does."""

from __future__ import annotations

import traceback
from math import inf

import pytest

from amqp import credentials
from amqp.credentials import CredentialsSource


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(credentials, 'time', clock)
    return clock


@pytest.mark.parametrize(
    ('answer', 'renew_at'),
    [
        (('u', 'p'), inf),
        (['u', 'p', None], inf),
        (('u', 'p', 100), 1080),
        (('u', b'p', 0.5), 1000.4),
    ],
)
def test_what_is_supplied(clock, answer, renew_at):
    source = CredentialsSource(lambda: answer)
    assert source.renew_at == inf
    assert source.ask() == tuple(answer[:2])
    assert source.renew_at == pytest.approx(renew_at)


def test_its_life_begins_before_the_question(clock):
    def provider():
        clock.now += 50
        return 'u', 'p', 100

    source = CredentialsSource(provider)
    source.ask()
    assert source.renew_at == 1080


def test_one_renews_when_it_is_time(clock):
    source = CredentialsSource(lambda: ('u', 'p', 100))
    assert not source.claim()
    source.ask()
    clock.now = 1079.9
    assert not source.claim()
    clock.now = 1080
    assert source.claim()
    # Until the answer is there, nobody else does; but not for ever.
    assert not source.claim()
    clock.now += credentials.CLAIM
    assert source.claim()
    source.ask()
    assert source.renew_at == clock.now + 80


def test_what_does_not_expire_is_not_renewed(clock):
    source = CredentialsSource(lambda: ('u', 'p'))
    source.ask()
    clock.now = 1e12
    assert not source.claim()


def test_a_failure_leaves_time_for_more(clock):
    source = CredentialsSource(lambda: ('u', 'p', 100))
    source.ask()
    clock.now = 1080
    assert source.claim()
    assert source.postpone() == 10
    assert source.renew_at == 1090
    clock.now = 1099.5
    assert source.postpone() == 1
    clock.now = 2000
    assert source.postpone() == 1


def test_what_the_provider_raises_is_raised():
    def provider():
        raise OSError('no answer')

    with pytest.raises(OSError, match='no answer'):
        CredentialsSource(provider).ask()


def test_how_to_log_in():
    [plain] = CredentialsSource(lambda: ('u', 'p'), 'PLAIN').mechanisms()
    assert plain.start(None) == b'\0u\0p'
    names = [each.mechanism for each in CredentialsSource(lambda: ('u', 'p')).mechanisms()]
    assert names == [b'GSSAPI', b'PLAIN', b'AMQPLAIN', b'EXTERNAL']
    names = [
        each.mechanism
        for each in CredentialsSource(lambda: ('u', 'p'), certificate=True).mechanisms()
    ]
    assert names == [b'GSSAPI', b'EXTERNAL', b'PLAIN', b'AMQPLAIN']


def test_the_broker_is_told_in_time(clock):
    answers = iter([('u', 'first', 100), ('u', 'second', 100)])
    told = []
    source = CredentialsSource(lambda: next(answers))
    source.ask()
    for clock.now in (1000, 1079, 1080, 1081, 1159):
        source.renew_in_time(lambda secret, reason: told.append((clock.now, secret)))
    assert told == [(1080, 'second')]


def test_a_provider_that_fails_is_asked_again(clock, caplog):
    def provider():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    outcomes = [
        ('u', 'first', 100),
        RuntimeError('s3cret'),
        ('bad',),
        ('u', 'second', 100),
    ]
    told = []
    source = CredentialsSource(provider)
    source.ask()
    for clock.now in (1080, 1089, 1090, 1095):
        source.renew_in_time(lambda secret, reason: told.append((clock.now, secret)))
    assert told == [(1095, 'second')]
    assert [record.getMessage() for record in caplog.records] == [
        'the credentials provider failed with RuntimeError; it is asked again in 10 s',
        'the credentials provider failed with ValueError; it is asked again in 5 s',
    ]


def test_what_the_broker_refuses_is_raised(clock):
    source = CredentialsSource(lambda: ('u', 'p', 100))
    source.ask()
    clock.now = 1080

    def update_secret(secret, reason):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        source.renew_in_time(update_secret)


@pytest.mark.parametrize(
    'answer',
    [
        None,
        's3cret',
        ('s3cret',),
        ('u', 's3cret', 1, 2),
        ('u', None),
        (1, 's3cret'),
        ('u', {'s3cret'}),
        ('u', 's3cret', '60'),
        ('u', 's3cret', 0),
        ('u', 's3cret', -1),
        ('u', 's3cret', inf),
        ('u', 's3cret', float('nan')),
        ('u', 's3cret', True),
    ],
)
def test_anything_else_is_refused(answer):
    source = CredentialsSource(lambda: answer)
    with pytest.raises(ValueError) as caught:
        source.ask()
    told = ''.join(traceback.format_exception(caught.value))
    assert 's3cret' not in told
    assert 's3cret' not in repr(source)
    assert source.renew_at == inf
