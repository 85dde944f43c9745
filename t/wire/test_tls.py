"""TLS: verification, names, deadlines, and peers that vanish at every stage."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import trustme
from pamqp import commands

import amqp
from amqp import Message
from t.helpers.peer import Peer

from .support import LOST, SOON, Background, ends_within, readable


@pytest.fixture(scope='module')
def authority():
    return trustme.CA()


@pytest.fixture(scope='module')
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp('tls') / 'ca.pem'
    authority.cert_pem.write_to_path(path)
    return str(path)


class Server:
    """A TLS peer that notes the name asked for by SNI."""

    def __init__(self, authority, *names, client_ca=None):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(self.context)
        if client_ca is not None:
            client_ca.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.asked = []
        self.context.sni_callback = lambda sock, name, context: self.asked.append(name)
        self.peer = Peer(tls=self.context)
        self.peer.serve()
        self.host = f'localhost:{self.peer.port}'

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        # A refused certificate ends the handshake of the peer as well.
        for wire in self.peer.wires:
            wire.finished.wait(SOON)
            if isinstance(wire.error, (ssl.SSLError, OSError)):
                wire.error = None
        self.peer.close()


@pytest.fixture
def server(authority):
    with Server(authority, 'localhost', '127.0.0.1') as server:
        yield server


def use(host, **options):
    """Connect, do something, close."""
    with amqp.Connection(host, connect_timeout=SOON, rpc_timeout=SOON, **options) as connection:
        with connection.channel() as channel:
            return channel.queue_declare('q').queue


def refused(host, **options):
    with pytest.raises((ssl.SSLError, amqp.AMQPError)) as caught:
        use(host, **options)
    return caught.value


def test_context(server, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    assert use(server.host, ssl=context) == 'q'
    assert server.asked == ['localhost']


def test_true_verifies_against_the_systems_authorities(server):
    """Which don't know the test's own: secure by default."""
    assert isinstance(refused(server.host, ssl=True), ssl.SSLCertVerificationError)


@pytest.mark.parametrize('how', ['dict', 'context key'])
@pytest.mark.parametrize('host', ['localhost', '127.0.0.1'])
def test_authority_by_dict(server, ca_file, how, host):
    options = {'ca_certs': ca_file, 'cert_reqs': ssl.CERT_REQUIRED}
    if how == 'context key':
        options = {'context': {'cafile': ca_file}}
    assert use(f'{host}:{server.peer.port}', ssl=options) == 'q'


#: cert_reqs, a CA that fits, a name that fits, check_hostname -> whether it connects.
MATRIX = [
    (ssl.CERT_REQUIRED, True, True, True, True),
    (ssl.CERT_REQUIRED, True, False, True, False),
    (ssl.CERT_REQUIRED, True, False, False, True),
    (ssl.CERT_REQUIRED, False, True, True, False),
    (ssl.CERT_REQUIRED, False, True, False, False),
    (ssl.CERT_OPTIONAL, False, True, False, False),
    (ssl.CERT_OPTIONAL, True, True, False, True),
    (ssl.CERT_NONE, False, True, None, True),
    (ssl.CERT_NONE, False, False, None, True),
    (ssl.CERT_NONE, False, False, False, True),
    (None, True, True, None, True),
    (None, False, True, None, False),
]


@pytest.mark.parametrize(('cert_reqs', 'right_ca', 'right_name', 'check', 'connects'), MATRIX)
def test_verification(
    authority, ca_file, tmp_path, cert_reqs, right_ca, right_name, check, connects
):
    other = tmp_path / 'other.pem'
    trustme.CA().cert_pem.write_to_path(other)
    options = {'ca_certs': ca_file if right_ca else str(other)}
    if cert_reqs is not None:
        options['cert_reqs'] = cert_reqs
    if check is not None:
        options['check_hostname'] = check
    with Server(authority, 'localhost' if right_name else 'other.example') as server:
        if connects:
            assert use(server.host, ssl=options) == 'q'
        else:
            refused(server.host, ssl=options)
        assert server.asked == ['localhost'], 'SNI is always sent'


def test_server_hostname(authority, ca_file):
    options = {'ca_certs': ca_file, 'server_hostname': 'broker.example'}
    with Server(authority, 'broker.example') as server:
        assert use(server.host, ssl=options) == 'q'
        assert server.asked == ['broker.example']


def test_client_certificate(authority, ca_file, tmp_path):
    clients = trustme.CA()
    certificate = clients.issue_cert('client@example')
    certfile, keyfile = tmp_path / 'cert.pem', tmp_path / 'key.pem'
    for number, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(certfile, append=number > 0)
    certificate.private_key_pem.write_to_path(keyfile)
    options = {'ca_certs': ca_file, 'certfile': str(certfile), 'keyfile': str(keyfile)}
    with Server(authority, 'localhost', client_ca=clients) as server:
        assert use(server.host, ssl=options) == 'q'
        with ends_within(SOON):
            with pytest.raises((OSError, amqp.AMQPError)):
                use(server.host, ssl={'ca_certs': ca_file})


@pytest.mark.parametrize(('certificate', 'chosen'), [(True, 'EXTERNAL'), (False, 'PLAIN')])
def test_login_by_certificate(authority, ca_file, tmp_path, certificate, chosen):
    """Whoever shows a certificate logs in by it, where the broker offers that."""
    pem = tmp_path / 'client.pem'
    authority.issue_cert('client@example').private_key_and_cert_chain_pem.write_to_path(pem)
    options = {'ca_certs': ca_file, **({'certfile': str(pem)} if certificate else {})}
    with Server(authority, 'localhost') as server:
        server.peer.serve(handshake={'mechanisms': 'PLAIN AMQPLAIN EXTERNAL'})
        assert use(server.host, ssl=options) == 'q'
        start_ok = server.peer.wire().seen(commands.Connection.StartOk)[0]
        assert start_ok.mechanism == chosen


def test_plain_client_at_a_tls_port(server):
    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        use(server.host)


def test_tls_client_at_a_plain_port(peer, connect):
    peer.every(lambda p: (p.next_bytes(8), p.send_raw(b'AMQP\0\0\x09\x01'), p.close()))
    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        connect(ssl={'cert_reqs': ssl.CERT_NONE})


def test_idle_connection_outlives_the_connect_timeout(server, connect, ca_file):
    """The handshake's deadline is not a read timeout."""
    connection = connect(server.host, ssl={'ca_certs': ca_file}, connect_timeout=0.5)
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    drain = Background(connection.drain_events)
    pause = threading.Event()
    pause.wait(1.5)
    assert not drain.done
    server.peer.wire().deliver(1, body=b'late')
    drain.result()
    assert got == [b'late']
    connection.collect()


@pytest.mark.parametrize('reads', [False, True])
def test_mute_listener_during_the_handshake(peer, connect, reads):
    peer.script((lambda p: p.until_eof()) if reads else (lambda p: p.hold()))
    with ends_within(SOON), pytest.raises((OSError, amqp.AMQPError)):
        connect(ssl={'cert_reqs': ssl.CERT_NONE}, connect_timeout=0.3)


def vanish(p, end):
    p.reset() if end == 'reset' else p.close()


@pytest.mark.parametrize('end', ['reset', 'close'])
@pytest.mark.parametrize('stage', ['hello', 'tls', 'start', 'open', 'channel', 'close'])
def test_peer_vanishes(authority, connect, ca_file, stage, end):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('localhost').configure_cert(context)

    def script(p):
        if stage == 'hello':
            p.next_bytes(5)
            return vanish(p, end)
        p.start_tls(context)
        if stage == 'tls':
            return vanish(p, end)
        if stage == 'start':
            p.next_bytes(8)
            p.send(0, commands.Connection.Start(mechanisms='PLAIN'))
            p.expect(commands.Connection.StartOk)
            return vanish(p, end)
        p.handshake()
        if stage == 'open':
            return vanish(p, end)
        until = {'channel': commands.Channel.Open, 'close': commands.Connection.Close}[stage]
        p.serve(until=until)
        return vanish(p, end)

    def work():
        connection = connect(
            f'localhost:{listener.port}', ssl={'ca_certs': ca_file}, rpc_timeout=60
        )
        connection.channel().queue_declare('q')
        connection.close()
        return connection

    with Peer() as listener:
        listener.script(script)
        call = Background(work)
        error = call.error()
        if stage == 'close':
            assert error is None or isinstance(error, (LOST, OSError))
        else:
            assert isinstance(error, (OSError, amqp.AMQPError))
        if stage == 'channel':
            assert isinstance(error, LOST)


@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_close_and_collect_after_the_peer_has_gone(server, connect, ca_file, end):
    connection = connect(server.host, ssl={'ca_certs': ca_file}, rpc_timeout=60)
    connection.channel()
    getattr(server.peer.wire(), end)()
    readable(connection)
    with ends_within(SOON):
        try:
            connection.close()
        except LOST:
            pass
    assert not connection.connected
    connection.collect()


@pytest.mark.parametrize('end', ['eof', 'reset', 'close'])
def test_end_wakes_all_threads(server, connect, ca_file, end):
    connection = connect(server.host, ssl={'ca_certs': ca_file}, rpc_timeout=60)
    channel = connection.channel()
    calls = [Background(connection.drain_events) for _ in range(2)]
    calls.append(Background(channel.wait, (60, 72)))
    getattr(server.peer.wire(), end)()
    assert all(isinstance(call.error(), LOST) for call in calls)
    assert not connection.connected


def test_collect_does_not_wait_for_the_peer(server, connect, ca_file):
    """No TLS farewell that a stalled peer would have to answer."""
    connection = connect(server.host, ssl={'ca_certs': ca_file})
    connection.channel()
    wire = server.peer.wire()
    wire.pause()
    with ends_within(SOON / 2):
        connection.collect()
    wire.resume()


def test_messages_both_ways_at_once(server, connect, ca_file):
    """One thread reads while others write: TLS state is shared by both directions."""
    connection = connect(server.host, ssl={'ca_certs': ca_file})
    consuming = connection.channel()
    got = []
    consuming.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: got.append(msg.body))
    wire = server.peer.wire()
    body = bytes(range(256)) * 400

    def publish(number):
        channel = connection.channel()
        for _ in range(20):
            channel.basic_publish(Message(body), routing_key='q')

    def drain():
        while len(got) < 60:
            connection.drain_events(timeout=SOON)

    drainer = Background(drain)
    publishers = [Background(publish, number) for number in range(4)]
    sender = Background(lambda: [wire.deliver(1, delivery_tag=n, body=body) for n in range(1, 61)])
    for call in (*publishers, sender, drainer):
        call.result()
    assert all(message.body == body for message in wire.messages(80))
    assert got == [body] * 60
    connection.collect()


def test_publish_timeout_over_tls(authority, connect, ca_file):
    """Half a record is out: what follows would be garbage, so the connection is over."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('localhost').configure_cert(context)
    with Peer(tls=context, rcvbuf=4096) as listener:
        listener.serve()
        connection = connect(f'localhost:{listener.port}', ssl={'ca_certs': ca_file})
        channel = connection.channel()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        wire = listener.wire()
        wire.pause()
        with ends_within(SOON), pytest.raises(LOST):
            channel.basic_publish(Message(b'x' * 8_000_000), routing_key='q', timeout=0.2)
        assert not connection.connected
        wire.resume()
        assert wire.ended.wait(SOON)
        assert not wire.published


def test_failed_handshake_closes_the_socket(server, monkeypatch):
    made = []
    real = socket.socket

    class Watched(real):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(socket, 'socket', Watched)
        refused(f'127.0.0.1:{server.peer.port}', ssl=True)
    assert all(sock.fileno() == -1 for sock in made if isinstance(sock, Watched))


def test_expired_polls_over_tls(server, connect, ca_file):
    connection = connect(server.host, ssl={'ca_certs': ca_file})
    connection.channel()
    for timeout in (0, 0, 0.01):
        with ends_within(SOON), pytest.raises(socket.timeout) as caught:
            connection.drain_events(timeout=timeout)
        assert not isinstance(caught.value, ssl.SSLError)
    assert connection.connected
    connection.collect()
