"""Opening a connection: mechanisms, refusals, and peers that never come to the point."""

from __future__ import annotations

import socket
import threading

import pytest
from pamqp import commands

import amqp
from amqp import sasl
from t.helpers.peer import Peer

from .support import SOON, Background, ends_within

MECHANISMS = 'PLAIN AMQPLAIN EXTERNAL RABBIT-CR-DEMO'


def start_ok_of(peer, connect, **options):
    """The start-ok that a connection with these options sends."""
    peer.serve(handshake={'mechanisms': options.pop('offered', MECHANISMS)})
    connect(**options)
    return peer.wire().seen(commands.Connection.StartOk)[0]


def response(start_ok):
    value = start_ok.response
    return value.encode('latin-1') if isinstance(value, str) else bytes(value)


def test_plain_is_the_default(peer, connect):
    start_ok = start_ok_of(peer, connect)
    assert start_ok.mechanism == 'PLAIN'
    assert response(start_ok) == b'\0guest\0guest'
    assert start_ok.locale == 'en_US'


def test_plain_with_credentials(peer, connect):
    start_ok = start_ok_of(peer, connect, userid='user', password='pass')
    assert response(start_ok) == b'\0user\0pass'


@pytest.mark.parametrize(
    ('method', 'expected'),
    [
        ('PLAIN', b'\0u\0p'),
        ('AMQPLAIN', b'\x05LOGINS\x00\x00\x00\x01u\x08PASSWORDS\x00\x00\x00\x01p'),
        ('EXTERNAL', b''),
    ],
)
def test_login_method(peer, connect, method, expected):
    start_ok = start_ok_of(peer, connect, login_method=method, userid='u', password='p')
    assert start_ok.mechanism == method
    assert response(start_ok) == expected


def test_login_response_is_sent_as_given(peer, connect):
    start_ok = start_ok_of(peer, connect, login_method='PLAIN', login_response=b'\0a\0b')
    assert response(start_ok) == b'\0a\0b'


@pytest.mark.parametrize(
    ('offered', 'chosen'),
    [
        ('AMQPLAIN PLAIN', 'PLAIN'),
        ('AMQPLAIN', 'AMQPLAIN'),
        ('OTHER PLAIN', 'PLAIN'),
        ('EXTERNAL PLAIN', 'PLAIN'),
        ('EXTERNAL', 'EXTERNAL'),
    ],
)
def test_mechanism_where_none_is_named(peer, connect, offered, chosen):
    """A password before EXTERNAL: without a certificate that would be refused."""
    assert start_ok_of(peer, connect, offered=offered).mechanism == chosen


def test_authentication_instances(peer, connect):
    mechanisms = [sasl.RAW(b'RABBIT-CR-DEMO', b'me'), sasl.PLAIN('u', 'p')]
    start_ok = start_ok_of(peer, connect, authentication=mechanisms, offered='RABBIT-CR-DEMO')
    assert (start_ok.mechanism, response(start_ok)) == ('RABBIT-CR-DEMO', b'me')


def test_one_authentication_instance(peer, connect):
    start_ok = start_ok_of(peer, connect, authentication=sasl.AMQPLAIN('u', 'p'))
    assert start_ok.mechanism == 'AMQPLAIN'


def test_no_mechanism_in_common(peer, connect):
    @peer.script
    def _(p):
        p.next_bytes(8)
        p.send(0, commands.Connection.Start(mechanisms='KERBEROS'))
        p.until_eof()

    with ends_within(SOON), pytest.raises(amqp.ConnectionError, match='KERBEROS'):
        connect()
    peer.finished()


class Riddle(sasl.SASL):
    """A mechanism with a challenge."""

    mechanism = b'RIDDLE'

    def start(self, connection):
        return b'ready'

    def respond(self, challenge):
        return challenge[::-1]


def test_secure_challenges(peer, connect):
    @peer.script
    def _(p):
        p.next_bytes(8)
        p.send(0, commands.Connection.Start(mechanisms='RIDDLE'))
        p.expect(commands.Connection.StartOk, mechanism='RIDDLE', response='ready')
        for challenge in ('abc', 'xyz'):
            p.send(0, commands.Connection.Secure(challenge))
            p.expect(commands.Connection.SecureOk, response=challenge[::-1])
        p.send(0, commands.Connection.Tune(0, 131_072, 0))
        p.expect(commands.Connection.TuneOk)
        p.expect(commands.Connection.Open)
        p.send(0, commands.Connection.OpenOk())
        p.serve()

    assert connect(authentication=Riddle()).channel().queue_purge('q') == 0


def refuse(code, text, after):
    def script(p):
        p.next_bytes(8)
        p.send(0, commands.Connection.Start(mechanisms='PLAIN'))
        p.expect(commands.Connection.StartOk)
        if after == 'open':
            p.send(0, commands.Connection.Tune(0, 131_072, 0))
            p.expect(commands.Connection.TuneOk)
            p.expect(commands.Connection.Open)
        p.send(0, commands.Connection.Close(code, text, 10, 40))
        p.expect(commands.Connection.CloseOk)
        p.until_eof()

    return script


@pytest.mark.parametrize(
    ('code', 'after', 'error'),
    [
        (403, 'start-ok', amqp.AccessRefused),
        (530, 'open', amqp.NotAllowed),
        (402, 'open', amqp.InvalidPath),
        (320, 'open', amqp.ConnectionForced),
    ],
)
def test_refusal_is_raised_with_its_reason(peer, connect, code, after, error):
    peer.script(refuse(code, 'the reason', after))
    with ends_within(SOON), pytest.raises(error, match='the reason') as caught:
        connect()
    assert caught.value.reply_code == code
    peer.finished()


def test_refused_credentials_without_a_close(peer, connect):
    """Brokers that don't know authentication_failure_close just hang up."""

    @peer.script
    def _(p):
        p.next_bytes(8)
        p.send(0, commands.Connection.Start(mechanisms='PLAIN'))
        p.expect(commands.Connection.StartOk)
        p.close()

    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        connect()


def test_version_mismatch(peer, connect):
    """The peer answers with the header of the version it speaks, and closes (4.2.2)."""

    @peer.script
    def _(p):
        p.next_bytes(8)
        p.send_raw(b'AMQP\x01\x01\x00\x0a')
        p.close()

    with ends_within(SOON), pytest.raises(amqp.AMQPError, match='AMQP 0-9-1'):
        connect()


STAGES = ['accepted', 'start', 'half a frame', 'tune', 'open']


def stop_at(stage, act):
    def script(p):
        if stage == 'accepted':
            return act(p)
        p.next_bytes(8)
        if stage == 'half a frame':
            p.send_raw(b'\x01\x00\x00\x00\x00\x01')
            return act(p)
        p.send(0, commands.Connection.Start(mechanisms='PLAIN'))
        p.expect(commands.Connection.StartOk)
        if stage == 'start':
            return act(p)
        p.send(0, commands.Connection.Tune(0, 131_072, 0))
        p.expect(commands.Connection.TuneOk)
        p.expect(commands.Connection.Open)
        return act(p)

    return script


@pytest.mark.parametrize('stage', STAGES)
def test_mute_peer(peer, connect, stage):
    peer.script(stop_at(stage, lambda p: p.until_eof()))
    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        connect(connect_timeout=0.2)
    peer.finished()


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('end', ['close', 'reset'])
def test_peer_vanishes(peer, connect, stage, end):
    peer.script(stop_at(stage, lambda p: getattr(p, end)()))
    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        connect(connect_timeout=30)


def test_connect_timeout_is_one_deadline(peer, connect):
    """Each step comes within the timeout, all of them don't."""
    stop = threading.Event()

    def slow(p):
        p.next_bytes(8)
        start = b'\x01\x00\x00\x00\x00\x01\x00'
        for octet in start * 10:
            if stop.wait(0.05):
                return
            try:
                p.send_raw(bytes([octet]))
            except OSError:
                return

    peer.script(slow)
    try:
        with ends_within(2), pytest.raises((OSError, amqp.AMQPError)):
            connect(connect_timeout=0.3)
    finally:
        stop.set()


def test_mute_peer_without_a_connect_timeout_is_bounded_by_rpc_timeout(peer, connect):
    peer.script(stop_at('accepted', lambda p: p.until_eof()))
    call = Background(connect, connect_timeout=None, rpc_timeout=0.2)
    assert isinstance(call.error(), (OSError, amqp.AMQPError))


def test_connection_refused(peer, connect):
    peer.refuse()
    with ends_within(SOON), pytest.raises(OSError):
        connect()


def test_failed_connect_leaves_a_dead_connection(peer):
    peer.script(refuse(403, 'no', 'start-ok'))
    connection = amqp.Connection(peer.host, connect_timeout=5)
    with pytest.raises(amqp.AccessRefused):
        connection.connect()
    assert not connection.connected
    with pytest.raises(amqp.RecoverableConnectionError):
        connection.channel()
    connection.close()
    connection.collect()


def test_capabilities_and_properties(peer, connect):
    offered = {'consumer_cancel_notify': True, 'connection.blocked': True, 'unheard of': True}
    peer.serve(handshake={'capabilities': offered})
    connection = connect(client_properties={'app': 'mine', 'capabilities': {'own': True}})
    [start_ok] = peer.wire().seen(commands.Connection.StartOk)
    assert start_ok.client_properties['app'] == 'mine'
    assert start_ok.client_properties['product']
    capabilities = start_ok.client_properties['capabilities']
    assert capabilities['connection.blocked'] is True
    assert capabilities['own'] is True
    assert 'unheard of' not in capabilities
    assert connection.server_capabilities == offered
    assert connection.server_properties['product'] == 'RabbitMQ'


@pytest.mark.parametrize('properties', [{'capabilities': None}, {'capabilities': {}}])
def test_server_without_capabilities(peer, connect, properties):
    peer.serve(handshake={'properties': properties})
    connection = connect()
    assert connection.server_capabilities == {}
    connection.channel().basic_publish(amqp.Message('x'), routing_key='q')
    peer.wire().messages(1)


def test_virtual_host_and_connection_name(peer, connect):
    peer.serve()
    connect(virtual_host='ours', connection_name='worker 1')
    wire = peer.wire()
    assert wire.seen(commands.Connection.Open)[0].virtual_host == 'ours'
    [start_ok] = wire.seen(commands.Connection.StartOk)
    assert start_ok.client_properties['connection_name'] == 'worker 1'


def test_callbacks_of_the_handshake(peer, connect):
    peer.serve()
    calls = []
    connection = connect(
        on_open=lambda conn: calls.append('open'),
        on_tune_ok=lambda conn: calls.append('tune-ok'),
    )
    connection.then(lambda conn: calls.append('then'))
    assert sorted(calls) == ['open', 'then', 'tune-ok']


def test_unknown_keywords_are_swallowed(peer, connect):
    peer.serve()
    connection = connect(insist=False, confirm_something=1, max_retries=3)
    assert connection.connected


def addresses(*ports):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', port)) for port in ports]


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def test_second_address_is_tried_when_the_first_refuses(peer, connect, monkeypatch):
    """Only the resolver is a stand-in: it says where the test's two listeners are."""
    refused = free_port()
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *args, **kw: addresses(refused, peer.port))
    peer.serve()
    assert connect('broker.example:5672').connected


def test_all_addresses_refuse(connect, monkeypatch):
    ports = [free_port(), free_port()]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *args, **kw: addresses(*ports))
    with pytest.raises(OSError, match=r'(?s)broker\.example'):
        connect('broker.example:5672')


def test_addresses_share_one_deadline(peer, connect, monkeypatch):
    """The first address takes no connection at all; the second is reached in time."""
    full = socket.socket()
    full.bind(('127.0.0.1', 0))
    full.listen(0)
    waiting = []
    for _ in range(3):  # fill the backlog: further connects get no answer
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
        waiting.append(sock)
    monkeypatch.setattr(
        socket, 'getaddrinfo', lambda *args, **kw: addresses(full.getsockname()[1], peer.port)
    )
    peer.serve()
    try:
        with ends_within(SOON):
            assert connect('broker.example', connect_timeout=1).connected
    finally:
        for sock in (*waiting, full):
            sock.close()


def test_resolver_that_hangs(connect, monkeypatch):
    release = threading.Event()
    real = socket.getaddrinfo

    def hanging(host, port, family=0, kind=0, proto=0, flags=0):
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, family, kind, proto, flags)
        release.wait(SOON)
        raise socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution')

    monkeypatch.setattr(socket, 'getaddrinfo', hanging)
    try:
        with ends_within(5), pytest.raises(OSError):
            connect('broker.example', connect_timeout=0.2)
    finally:
        release.set()


def test_ipv6(connect):
    try:
        listener = Peer(address='::1')
    except OSError:
        pytest.skip('no IPv6 loopback here')
    with listener:
        listener.serve()
        connection = connect(listener.host)
        assert connection.connected
        connection.collect()


def test_connect_in_many_threads_at_once(peer, connect):
    peer.serve()
    calls = [Background(connect) for _ in range(8)]
    assert all(call.result().connected for call in calls)


def test_second_connect_does_nothing(peer, connect):
    peer.serve()
    connection = connect()
    connection.connect()
    assert connection.channel().queue_purge('q') == 0
    assert len(peer.wires) == 1
