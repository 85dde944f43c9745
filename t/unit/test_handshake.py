"""Our side of the opening dialogue, word by word, with a scripted peer."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp import sasl
from t.helpers.peer import CAPABILITIES, raw_method


def greet(wire, mechanisms='PLAIN AMQPLAIN', properties=None, locales='en_US'):
    """Begin the handshake; what the client answers."""
    wire.next_bytes(8)
    announced = {'capabilities': dict(CAPABILITIES)} if properties is None else properties
    wire.send(0, commands.Connection.Start(0, 9, announced, mechanisms, locales))
    return wire.expect(commands.Connection.StartOk, 0)


def tune(wire, channel_max=2047, frame_max=131_072, heartbeat=60):
    """Go on with it; what the client agrees to, and opens."""
    wire.send(0, commands.Connection.Tune(channel_max, frame_max, heartbeat))
    return wire.expect(commands.Connection.TuneOk, 0), wire.expect(commands.Connection.Open, 0)


@pytest.fixture
def opened(peer, connect):
    """Connect with these options, to a peer that says this; the connection and its answers."""

    def make(options=None, start=None, limits=None):
        answers = {}

        @peer.script
        def _(wire):
            answers['start'] = greet(wire, **(start or {}))
            answers['tune'], answers['open'] = tune(wire, **(limits or {}))
            wire.send(0, commands.Connection.OpenOk())

        return connect(**(options or {})), answers

    return make


def test_the_client_tells_of_itself(opened):
    connection, answers = opened(
        {'connection_name': 'me', 'client_properties': {'mine': 1}, 'locale': 'de_DE'}
    )
    start = answers['start']
    assert start.client_properties['product'] == 'amqp'
    assert start.client_properties['product_version'] == amqp.__version__
    assert start.client_properties['connection_name'] == 'me'
    assert start.client_properties['mine'] == 1
    assert start.locale == 'de_DE'
    assert (start.mechanism, start.response) == ('PLAIN', '\0guest\0guest')
    assert connection.is_alive()


def test_what_the_server_tells_of_itself(opened):
    connection, _ = opened(
        start={
            'properties': {'version': '9.9', 'capabilities': {'x': True}},
            'locales': 'en_US de_DE',
        }
    )
    assert (connection.version_major, connection.version_minor) == (0, 9)
    assert connection.server_properties['version'] == '9.9'
    assert connection.server_capabilities == {'x': True}
    assert connection.locales == ['en_US', 'de_DE']


def test_capabilities_are_those_that_the_server_offers(opened):
    _, answers = opened(
        {'client_properties': {'capabilities': {'mine': True, 'basic.nack': False}}},
        start={'properties': {'capabilities': {'basic.nack': True, 'connection.blocked': True}}},
    )
    assert answers['start'].client_properties['capabilities'] == {
        'basic.nack': False,
        'connection.blocked': True,
        'mine': True,
    }


def test_a_server_without_capabilities(opened):
    connection, answers = opened(start={'properties': {}})
    assert connection.server_capabilities == {}
    assert answers['start'].client_properties['capabilities'] == {}


@pytest.mark.parametrize(
    ('ours', 'theirs', 'agreed'),
    [
        ({}, (2047, 131_072, 60), (2047, 131_072, 0)),
        ({'heartbeat': 10}, (0, 0, 60), (65_535, 131_072, 10)),
        (
            {'heartbeat': 60, 'channel_max': 10, 'frame_max': 8192},
            (2047, 131_072, 10),
            (10, 8192, 10),
        ),
        ({'frame_max': 0, 'channel_max': 0}, (0, 0, 0), (65_535, 0, 0)),
        ({'heartbeat': 7.5}, (100, 4096, 0), (100, 4096, 8)),
    ],
)
def test_limits(opened, ours, theirs, agreed):
    limits = dict(zip(('channel_max', 'frame_max', 'heartbeat'), theirs, strict=True))
    connection, answers = opened(ours, limits=limits)
    tuned = answers['tune']
    assert (tuned.channel_max, tuned.frame_max, tuned.heartbeat) == agreed
    assert (connection.channel_max, connection.frame_max) == agreed[:2]
    assert agreed[2] - 1 < connection.heartbeat + (agreed[2] == 0) <= agreed[2] + 1
    assert connection.server_heartbeat == theirs[2]


def test_a_larger_frame_than_agreed_is_refused(peer, connect):
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    connection.channel()
    peer.wire().send_raw(b'\x03\x00\x01\x00\x00\x10\x01')
    with pytest.raises(amqp.FrameError, match='frame_max is 4096'):
        connection.drain_events(timeout=5)


def test_heartbeats_bound_a_stalled_write(opened):
    connection, _ = opened({'heartbeat': 10})
    assert connection.transport.stall_timeout == 20
    connection.collect()
    connection, _ = opened({'rpc_timeout': 7})
    assert connection.transport.stall_timeout == 7


def test_a_challenge_that_is_no_text(peer, connect):
    mechanism = Challenged()

    @peer.script
    def _(wire):
        greet(wire, 'CHALLENGED')
        wire.send_raw(raw_method(0, (10, 20), b'\x00\x00\x00\x02\xff\xfe'))
        wire.next_bytes(7)

    with pytest.raises((amqp.AMQPError, OSError)):
        connect(authentication=mechanism, connect_timeout=0.2)
    assert mechanism.challenges == [b'\xff\xfe']


def test_the_virtual_host(opened):
    _, answers = opened({'virtual_host': '/elsewhere'})
    assert answers['open'].virtual_host == '/elsewhere'


def test_limits_are_settled_before_it_is_open(peer):
    peer.serve(handshake={'frame_max': 4096})
    seen = []
    connection = amqp.Connection(
        peer.host,
        on_tune_ok=lambda c: seen.append(('tune', c.frame_max)),
        on_open=lambda c: seen.append(('open', c.is_alive())),
    )
    with connection:
        assert seen == [('tune', 4096), ('open', True)]


def test_then(peer):
    peer.serve()
    connection, seen = amqp.Connection(peer.host), []
    connection.then(seen.append)
    with connection:
        assert seen == [connection]


class Challenged(sasl.SASL):
    mechanism = b'CHALLENGED'

    def __init__(self, response=b'begin'):
        self.response = response
        self.challenges = []

    def start(self, connection):
        return self.response

    def respond(self, challenge):
        self.challenges.append(challenge)
        return b'answer to ' + challenge


def test_challenges_are_answered(peer, connect):
    mechanism = Challenged()

    @peer.script
    def _(wire):
        assert greet(wire, 'PLAIN CHALLENGED').mechanism == 'CHALLENGED'
        for challenge in ('first', 'second'):
            wire.send(0, commands.Connection.Secure(challenge))
            answer = wire.expect(commands.Connection.SecureOk)
            assert answer.response == f'answer to {challenge}'
        tune(wire)
        wire.send(0, commands.Connection.OpenOk())

    assert connect(authentication=mechanism).is_alive()
    assert mechanism.challenges == [b'first', b'second']


def test_a_mechanism_that_does_not_work_here_is_passed_over(opened):
    _, answers = opened(
        {'authentication': [Challenged(NotImplemented), sasl.PLAIN('a', 'b')]},
        start={'mechanisms': 'CHALLENGED PLAIN'},
    )
    assert (answers['start'].mechanism, answers['start'].response) == ('PLAIN', '\0a\0b')


def test_a_challenge_without_an_answer(peer, connect):
    @peer.script
    def _(wire):
        greet(wire)
        wire.send(0, commands.Connection.Secure('?'))

    with pytest.raises(amqp.IrrecoverableConnectionError, match='PLAIN has no answer'):
        connect()


def test_no_mechanism_in_common(peer, connect):
    @peer.script
    def _(wire):
        wire.next_bytes(8)
        wire.send(0, commands.Connection.Start(0, 9, {}, 'X-ONE X-TWO'))

    with pytest.raises(amqp.ConnectionError, match='offers X-ONE, X-TWO; we know PLAIN'):
        connect(login_method='PLAIN')


@pytest.mark.parametrize(
    ('code', 'error'),
    [(403, amqp.AccessRefused), (530, amqp.NotAllowed), (320, amqp.ConnectionForced)],
)
@pytest.mark.parametrize('stage', ['start', 'tune', 'open'])
def test_a_refusal_at_any_stage(peer, connect, code, error, stage):
    @peer.script
    def _(wire):
        if stage == 'start':
            wire.next_bytes(8)
        else:
            greet(wire)
        if stage == 'open':
            tune(wire)
        wire.send(0, commands.Connection.Close(code, 'REFUSED - why', 0, 0))
        wire.expect(commands.Connection.CloseOk, 0)

    with pytest.raises(error, match='REFUSED - why'):
        connect()
    peer.finished()


def steps_out_of_order():
    start = commands.Connection.Start(0, 9, {}, 'PLAIN')
    tuned = commands.Connection.Tune(0, 0, 0)
    return {
        'tune first': ([], tuned),
        'open-ok first': ([], commands.Connection.OpenOk()),
        'secure first': ([], commands.Connection.Secure('?')),
        'start twice': ([start], start),
        'open-ok untuned': ([start], commands.Connection.OpenOk()),
        'tune twice': ([start, tuned], tuned),
        'secure late': ([start, tuned], commands.Connection.Secure('?')),
        'close-ok': ([start], commands.Connection.CloseOk()),
    }


@pytest.mark.parametrize('case', steps_out_of_order())
def test_steps_out_of_order(peer, connect, case):
    before, last = steps_out_of_order()[case]

    @peer.script
    def _(wire):
        wire.next_bytes(8)
        wire.send(0, *before, last)

    with pytest.raises(amqp.UnexpectedFrame, match='is not possible while'):
        connect()


def test_a_frame_max_that_no_peer_may_have(peer, connect):
    @peer.script
    def _(wire):
        greet(wire)
        wire.send(0, commands.Connection.Tune(0, 4095, 0))

    with pytest.raises(amqp.FrameError, match='4095 is below 4096'):
        connect()


def test_a_server_of_another_protocol(peer, connect):
    @peer.script
    def _(wire):
        wire.next_bytes(8)
        wire.send_raw(b'AMQP\x00\x01\x00\x00')

    with pytest.raises(amqp.FrameError, match="doesn't speak AMQP 0-9-1"):
        connect()
