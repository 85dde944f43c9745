"""Credentials that are asked for at each connection, renewed in time, and forgotten."""

from __future__ import annotations

import gc
import logging
import threading
import time
import uuid

import pytest
from pamqp import commands

import amqp
from amqp import sasl

from .support import SOON, Background, drain_until, ends_within

SECRET = 's3cret'


def response(peer, number=0):
    return peer.wire(number).seen(commands.Connection.StartOk)[0].response


def test_the_provider_is_asked_at_each_connection(peer, connect):
    peer.serve()
    answers = iter([('u', 'one'), ('v', 'two')])
    first = connect(credentials=lambda: next(answers))
    assert response(peer) == '\0u\0one'
    first.close()
    connect(credentials=lambda: next(answers))
    assert response(peer, 1) == '\0v\0two'


def test_it_is_not_asked_before(peer):
    asked = []
    connection = amqp.Connection(peer.host, credentials=lambda: asked.append(1))
    connection.collect()
    assert not asked


def test_its_error_is_that_of_connect(peer):
    def provider():
        raise OSError('the token server is away')

    connection = amqp.Connection(peer.host, credentials=provider)
    with pytest.raises(OSError, match='token server is away'):
        connection.connect()
    assert not connection.connected
    assert not peer.wires


def test_amqp_connect_asks_at_each_try(peer):
    peer.serve()
    peer.script(lambda wire: wire.close())
    answers = iter([('u', 'one'), ('u', 'two')])
    with amqp.connect(
        f'amqp://{peer.host}', credentials=lambda: next(answers), attempts=2, retry_delay=0
    ):
        assert response(peer, 1) == '\0u\0two'


@pytest.mark.parametrize('options', [{'authentication': sasl.EXTERNAL()}, {'login_response': b''}])
def test_not_with_what_takes_its_place(options):
    with pytest.raises(ValueError, match='credentials'):
        amqp.Connection(credentials=lambda: ('u', 'p'), **options)


def test_renewed_by_hand(peer, connect):
    peer.serve()
    answers = iter([('u', 'one'), ('u', 'two')])
    connection = connect(credentials=lambda: next(answers))
    connection.renew_secret('it is time')
    [update] = peer.wire().seen(commands.Connection.UpdateSecret)
    assert (update.new_secret, update.reason) == ('two', 'it is time')


def test_without_a_provider_there_is_nobody_to_ask(peer, connect):
    peer.serve()
    with pytest.raises(ValueError, match='credentials='):
        connect().renew_secret()


def secrets(peer, count):
    return [each.new_secret for each in peer.wire().seen(commands.Connection.UpdateSecret, count)]


def draining(connection):
    """A thread that drains without any limit."""

    def drain():
        while True:
            connection.drain_events()

    return Background(drain)


def counting(lifetime):
    """A provider that counts, and how often it was asked."""
    asked = []

    def provider():
        asked.append(time.monotonic())
        return 'u', f'token {len(asked)}', lifetime

    return provider, asked


def test_renewed_by_ticks(peer, connect):
    peer.serve()
    provider, asked = counting(0.05)
    connection = connect(credentials=provider)
    while len(asked) < 4:
        connection.heartbeat_tick()
    assert secrets(peer, 3) == ['token 2', 'token 3', 'token 4']


def test_renewed_in_the_midst_of_a_drain(peer, connect):
    peer.serve()
    provider, _ = counting(0.1)
    connection = connect(credentials=provider)
    drain = draining(connection)
    assert secrets(peer, 3) == ['token 2', 'token 3', 'token 4']
    assert not drain.done
    connection.collect()
    assert isinstance(drain.error(), amqp.RecoverableConnectionError)


def test_a_drain_keeps_its_deadline(peer, connect):
    peer.serve()
    lifetimes = iter([0.1, 0.1, 100])
    connection = connect(credentials=lambda: ('u', 'p', next(lifetimes)))
    for _ in range(2):  # a renewal is an event like others
        connection.drain_events(timeout=SOON)
    assert next(lifetimes, None) is None
    with ends_within(SOON), pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.02)


def test_a_callbacks_own_timeout_is_raised(peer, connect):
    """Even where the secret has become due meanwhile."""
    provider, _ = counting(0.1)

    def consumed(wire, channel, frame):
        wire.send(channel, commands.Basic.ConsumeOk(frame.consumer_tag))
        wire.deliver(channel, frame.consumer_tag)

    peer.serve(on={commands.Basic.Consume: consumed})
    connection = connect(credentials=provider)

    def callback(message):
        threading.Event().wait(0.2)
        raise TimeoutError('mine')

    connection.channel().basic_consume('q', callback=callback)
    with pytest.raises(TimeoutError, match='mine'):
        connection.drain_events(timeout=SOON)


def test_messages_go_on_meanwhile(peer, connect):
    provider, asked = counting(0.05)
    stop = threading.Event()

    def consumed(wire, channel, frame):
        wire.send(channel, commands.Basic.ConsumeOk(frame.consumer_tag))
        for tag in range(1, 200):
            wire.deliver(channel, frame.consumer_tag, tag)

    peer.serve(on={commands.Basic.Consume: consumed})
    connection = connect(credentials=provider)
    tags = []

    def callback(message):
        tags.append(message.delivery_tag)
        stop.wait(0.002)

    connection.channel().basic_consume('q', callback=callback)
    drain_until(connection, lambda: len(tags) == 199)
    assert tags == list(range(1, 200))
    assert len(asked) >= 2


def test_a_provider_that_fails_ends_nothing(peer, connect, caplog):
    peer.serve()
    outcomes = [('u', 'one', 0.1), RuntimeError(SECRET), ('u', 'two', 100)]

    def provider():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    connection = connect(credentials=provider)
    drain = draining(connection)
    assert secrets(peer, 1) == ['two']
    connection.collect()
    drain.error()
    assert 'the credentials provider failed with RuntimeError' in caplog.text
    assert SECRET not in caplog.text


def test_one_of_several_threads_asks(peer, connect):
    peer.serve()
    asking = threading.Event()
    go_on = threading.Event()
    asked = []

    def provider():
        asked.append(1)
        if len(asked) == 2:
            asking.set()
            go_on.wait(SOON)
        return 'u', f'token {len(asked)}', 0.2 if len(asked) == 1 else 100

    connection = connect(credentials=provider)
    drains = [draining(connection) for _ in range(3)]
    assert asking.wait(SOON)
    for _ in range(50):
        connection.heartbeat_tick()
    go_on.set()
    assert secrets(peer, 1) == ['token 2']
    assert len(asked) == 2
    connection.collect()
    for drain in drains:
        drain.error()


def test_a_refused_secret_ends_the_connection(peer, connect):
    def refuse(wire, channel, frame):
        wire.send(0, commands.Connection.Close(530, 'NOT_ALLOWED - expired', 10, 70))

    peer.serve(on={commands.Connection.UpdateSecret: refuse})
    provider, _ = counting(0.1)
    connection = connect(credentials=provider)
    with pytest.raises(amqp.NotAllowed, match='expired'):
        connection.drain_events()
    assert not connection.connected


# -- erased


@pytest.fixture
def password():
    """One that no other test uses, for all the mechanisms that are alive are looked at."""
    return uuid.uuid4().hex


def held(password):
    """Whether any mechanism that is still alive has it."""
    gc.collect()
    return any(
        getattr(each, 'password', None) == password
        for each in gc.get_objects()
        if isinstance(each, sasl.SASL)
    )


def test_by_default_the_password_is_kept(peer, connect, password):
    peer.serve()
    kept = connect(password=password)
    assert held(password)
    assert kept.authentication


@pytest.mark.parametrize('provided', [False, True])
def test_nothing_holds_it_then(peer, password, provided):
    peer.serve()
    options = {'password': password, 'erase_on_connect': True}
    if provided:
        options = {'credentials': lambda: ('u', password)}
    connection = amqp.Connection(peer.host, **options)
    assert held(password) != provided
    with connection:
        assert response(peer) == f'\0{"u" if provided else "guest"}\0{password}'
        assert not held(password)
        assert connection.authentication == ()
        assert connection.channel().is_open


def test_nor_when_connecting_has_failed(peer, password):
    peer.script(lambda wire: wire.close())
    connection = amqp.Connection(peer.host, password=password, erase_on_connect=True)
    with pytest.raises((OSError, amqp.RecoverableConnectionError)):
        connection.connect()
    assert not held(password)


def test_no_log_line_and_no_repr_tells(peer, connect, caplog):
    caplog.set_level(logging.DEBUG)
    peer.serve()
    connection = connect(credentials=lambda: ('u', SECRET, 0.01))
    connection.drain_events(timeout=SOON)
    time.sleep(0.01)
    connection.heartbeat_tick()
    assert SECRET not in caplog.text
    assert SECRET not in repr(connection)
    assert SECRET not in repr(connection._credentials)
