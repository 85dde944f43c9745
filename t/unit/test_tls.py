"""Streams of frames over TLS: over real ones, and over sockets that want this or that."""

from __future__ import annotations

import socket
import ssl
import threading
from functools import partial

import pytest
import trustme

from amqp.exceptions import RecoverableConnectionError
from amqp.sending import WANT_WRITE
from amqp.sockets import WANT_READ
from amqp.spec import PROTOCOL_HEADER
from amqp.tls import SSLTransport
from t.helpers.streams import (
    NOW,
    FakeSocket,
    Stream,
    encode,
    host_of,
    port_of,
    received,
    soon,
    within,
)
from t.helpers.threads import SOON, Background


@pytest.fixture(scope='module')
def authority():
    return trustme.CA()


@pytest.fixture(scope='module')
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp('ca') / 'ca.pem'
    authority.cert_pem.write_to_path(path)
    return str(path)


class TLSServer:
    """Accepts one connection at a time and shakes hands in a thread."""

    def __init__(self, authority, name, listening, client_certificate=False):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)
        if client_certificate:
            authority.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.names = []
        self.context.sni_callback = lambda sock, name, context: self.names.append(name)
        self.listening = listening
        self.host = f'localhost:{port_of(listening)}'

    def accept(self):
        sock, _ = self.listening.accept()
        sock.settimeout(SOON)
        try:
            wrapped = self.context.wrap_socket(sock, server_side=True)
            wrapped.settimeout(SOON)
            return wrapped, wrapped.recv(len(PROTOCOL_HEADER))
        except OSError as exc:
            sock.close()
            return None, exc

    def talk(self, transport):
        """The server's end of a connection of this transport, and what the client raised."""
        serving = Background(self.accept)
        try:
            transport.connect(soon())
        finally:
            self.sock, self.greeting = serving.result()
        return self.sock


@pytest.fixture
def server(authority, listener):
    made = TLSServer(authority, 'localhost', listener)
    made.sock = None
    yield made
    if made.sock is not None:
        made.sock.close()


@pytest.fixture
def secure(server, ca_file):
    """A TLS transport, connected."""
    transport = SSLTransport(server.host, ssl={'ca_certs': ca_file})
    server.talk(transport)
    yield transport
    transport.close()


@pytest.mark.parametrize(
    'options',
    [
        lambda ca: {'ca_certs': ca},
        lambda ca: {'ca_certs': ca, 'server_hostname': 'localhost'},
        lambda ca: {'ca_certs': ca, 'check_hostname': True},
        lambda ca: {'cert_reqs': ssl.CERT_NONE},
        lambda ca: {'cert_reqs': ssl.CERT_NONE, 'server_hostname': 'localhost'},
        lambda ca: {'ca_certs': ca, 'ssl_version': ssl.PROTOCOL_TLS_CLIENT, 'ciphers': 'HIGH'},
        lambda ca: {'ca_certs': ca, 'tls_maximum_version': ssl.TLSVersion.TLSv1_2},
        lambda ca: {'ca_certs': ca, 'tls_minimum_version': ssl.TLSVersion.TLSv1_3},
        lambda ca: ssl.create_default_context(cafile=ca),
        lambda ca: {'context': ssl.create_default_context(cafile=ca)},
        lambda ca: {'context': {'cafile': ca, 'check_hostname': True}},
        lambda ca: {'context': {'cafile': ca}, 'server_hostname': 'localhost'},
    ],
)
def test_tls_options_that_work(server, ca_file, options):
    transport = SSLTransport(server.host, ssl=options(ca_file))
    server.talk(transport)
    assert server.greeting == PROTOCOL_HEADER
    assert server.names == ['localhost']  # told in any case
    transport.close()


@pytest.mark.parametrize(
    'options',
    [
        lambda ca: True,
        lambda ca: {},
        lambda ca: None,
        lambda ca: {'ciphers': 'HIGH'},  # an unknown authority: the default is to refuse it
        lambda ca: {'ca_certs': ca, 'server_hostname': 'elsewhere'},
        lambda ca: {'context': {'cafile': ca, 'check_hostname': True}, 'server_hostname': 'x.org'},
    ],
)
def test_tls_options_that_refuse_this_server(server, ca_file, options):
    transport = SSLTransport(server.host, ssl=options(ca_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        server.talk(transport)
    assert (transport.sock, transport.connected) == (None, False)


@pytest.mark.parametrize(
    ('options', 'accepted'),
    [
        (lambda ca: {'ca_certs': ca}, True),  # the name is not looked at, as ever
        (lambda ca: {'context': {'cafile': ca}}, True),
        (lambda ca: {'ca_certs': ca, 'check_hostname': True}, False),
        (lambda ca: ssl.create_default_context(cafile=ca), False),
    ],
)
def test_a_certificate_of_another_name(authority, listener, ca_file, options, accepted):
    server = TLSServer(authority, 'elsewhere.org', listener)
    transport = SSLTransport(server.host, ssl=options(ca_file))
    if accepted:
        server.talk(transport).close()
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            server.talk(transport)
    transport.close()


def test_a_client_certificate(authority, listener, ca_file, tmp_path):
    certificate = authority.issue_cert('client')
    key, chain = tmp_path / 'key.pem', tmp_path / 'chain.pem'
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    server = TLSServer(authority, 'localhost', listener, client_certificate=True)
    transport = SSLTransport(
        server.host, ssl={'ca_certs': ca_file, 'keyfile': str(key), 'certfile': str(chain)}
    )
    accepted = server.talk(transport)
    assert server.greeting == PROTOCOL_HEADER
    accepted.close()
    transport.close()


def test_server_side_options(authority, tmp_path):
    """The form has always had them; they are the other end of the same handshake."""
    certificate = authority.issue_cert('localhost')
    combined = tmp_path / 'server.pem'
    certificate.private_key_and_cert_chain_pem.write_to_path(combined)
    ours, theirs = socket.socketpair()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    peer = Background(client.wrap_socket, theirs, server_hostname='localhost')
    transport = SSLTransport('localhost')
    wrapped = transport._wrap_socket_sni(
        ours, certfile=str(combined), server_side=True, cert_reqs=ssl.CERT_NONE
    )
    wrapped.do_handshake()
    with wrapped, peer.result() as other:
        other.sendall(b'x')
        assert wrapped.recv(1) == b'x'


def test_the_handshake_has_a_deadline(listener):
    transport = SSLTransport(host_of(listener), connect_timeout=0.05, ssl=True)
    with pytest.raises(TimeoutError, match="TLS handshake didn't end in time"):
        transport.connect()
    assert transport.sock is None


def test_frames_over_tls(server, secure):
    frames = [(1, 1, b'abc'), (3, 1, b'x' * 50_000), (8, 0, b'')]
    server.sock.sendall(b''.join(encode(*frame) for frame in frames))
    assert [secure.read_frame(soon()) for _ in frames] == frames
    secure.write_all([b'a' * 10, b'b' * 100_000, b'c'], soon())
    found = b''
    while len(found) < 100_011:
        found += server.sock.recv(1 << 16)
    assert found == b'a' * 10 + b'b' * 100_000 + b'c'


def test_what_is_decrypted_and_not_read_counts_as_held(server, secure):
    server.sock.sendall(encode(1, 1, b'abc') + encode(1, 2, b'def') + encode(1, 3, b'ghi')[:4])
    assert secure.read_frame(soon()) == (1, 1, b'abc')
    assert secure.holds_data()
    assert secure.data_is_waiting()
    assert secure.has_frame()
    assert secure.has_unseen_frame()  # nothing is left that a loop could see
    assert secure.read_frame(NOW) == (1, 2, b'def')
    assert not secure.has_frame()
    assert secure.holds_data()
    assert not secure.data_is_waiting()


def test_a_closed_tls_transport_holds_nothing(secure):
    secure.close()
    assert not secure.holds_data()
    assert not secure.has_frame()
    assert not secure.data_is_waiting()


def test_the_end_of_a_tls_stream(server, secure):
    server.sock.close()
    with pytest.raises(ConnectionResetError):
        secure.read_frame(soon())


def test_an_idle_tls_stream_outlives_its_connect_timeout(server, ca_file):
    transport = SSLTransport(server.host, connect_timeout=1, ssl={'ca_certs': ca_file})
    server.talk(transport)
    assert transport.sock.gettimeout() == 0
    assert transport.patience(transport.read_timeout) is None
    transport.close()


class TLSFake(FakeSocket):
    def pending(self):
        return 0

    def do_handshake(self):
        return self._call('do_handshake')


def tls_stream(**scripts):
    made = Stream(SSLTransport)
    made.transport.sock = TLSFake(made.transport.sock, **scripts)
    return made


WANTS = [ssl.SSLWantReadError(), ssl.SSLWantWriteError()]


@pytest.mark.parametrize('want', WANTS)
def test_a_read_that_wants_something_at_every_octet(want):
    sent = encode(1, 1, b'abc')

    def one(sock, space, *args):
        return sock.recv_into(space[:1])

    stream = tls_stream(recv_into=[want, one] * len(sent))
    stream.peer.sendall(sent + b'?')  # so that it stays readable
    assert stream.transport.read_frame(soon()) == (1, 1, b'abc')
    stream.close()


@pytest.mark.parametrize('want', WANTS)
def test_a_write_that_wants_something(want):
    stream = tls_stream(send=[want, lambda sock, data: sock.send(data[:2]), want])
    stream.peer.sendall(b'?')
    stream.transport.write_all([b'abc', b'def'], soon())
    assert received(stream, 6) == b'abcdef'
    assert not stream.transport.write_torn
    stream.close()


@pytest.mark.parametrize('want', WANTS)
def test_a_write_given_up_while_openssl_may_hold_part_of_it_breaks_the_stream(want):
    stream = Stream(SSLTransport)
    stream.fill()
    stream.transport.sock = TLSFake(stream.transport.sock, send=[want])
    with pytest.raises(RecoverableConnectionError, match='half-way'):
        stream.transport.write(b'abc', within(0.02))
    assert stream.transport.write_torn
    stream.close()


@pytest.mark.parametrize('operation', ['recv_into', 'send'])
def test_closed_by_another_thread_meanwhile(operation):
    stream = tls_stream(**{operation: [ValueError('Read on closed or unwrapped SSL socket.')]})
    with pytest.raises(ConnectionAbortedError, match='closed or unwrapped'):
        if operation == 'send':
            stream.transport.write(b'x', soon())
        else:
            stream.transport.read_frame(soon())
    stream.close()


class WatchedLock:
    """A lock that tells when a thread has to wait for it."""

    def __init__(self):
        self._lock, self.is_awaited = threading.Lock(), threading.Event()

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            self.is_awaited.set()
            self._lock.acquire()

    def __exit__(self, *exc_info):
        self._lock.release()


@pytest.mark.parametrize('first', ['recv_into', 'send'])
def test_reading_and_writing_at_the_same_time(first):
    """OpenSSL is asked for one at a time: the other waits until that call is over."""
    calls, others = [], []

    def step(name, sock, *args):
        calls.append(f'{name} begins')
        if name == first:
            others.append(Background(operations[1]))
            assert lock.is_awaited.wait(SOON)
        result = getattr(sock, name)(*args)
        calls.append(f'{name} ends')
        return result

    scripts = {name: [partial(step, name)] for name in ('recv_into', 'send')}
    stream = tls_stream(**scripts)
    transport, frame = stream.transport, encode(1, 1, b'abc')
    lock = transport._session_lock = WatchedLock()
    stream.peer.sendall(frame)
    reading, writing = partial(transport.read_frame, soon()), partial(transport.write, b'x', soon())
    operations = (reading, writing) if first == 'recv_into' else (writing, reading)
    second = 'send' if first == 'recv_into' else 'recv_into'
    operations[0]()
    others[0].result()
    assert calls == [f'{first} begins', f'{first} ends', f'{second} begins', f'{second} ends']
    stream.close()


@pytest.mark.parametrize('want', WANTS)
def test_a_handshake_that_wants_something(want):
    stream = tls_stream(do_handshake=[want])
    found = {ssl.SSLWantReadError: WANT_READ, ssl.SSLWantWriteError: WANT_WRITE}
    assert stream.transport._shake_hands(stream.transport.sock) == found[type(want)]
    stream.close()


def test_heartbeats_that_the_peer_has_no_room_for(secure, server):
    """What OpenSSL has begun to send must be finished, and is, before anything else."""
    heartbeat, frame = encode(8, 0, b''), encode(1, 1, b'afterwards')
    secure.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before, full = secure.bytes_sent, 0
    while full < 3:
        try:
            secure.write(heartbeat, NOW)
        except TimeoutError:
            full += 1
    assert not secure.write_torn
    sending = Background(secure.write, frame, soon())
    octets = b''
    while not octets.endswith(frame):
        octets += server.sock.recv(65536)
    sending.result()
    count = (len(octets) - len(frame)) // len(heartbeat)
    assert octets == heartbeat * count + frame
    assert secure.bytes_sent - before == len(octets)
