"""The scripted peer itself, driven by a plain socket and pamqp."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import pytest
import trustme
from pamqp import commands, heartbeat
from pamqp import frame as pamqp_frame

from t.helpers.peer import (
    BODY,
    METHOD,
    EndOfStream,
    Peer,
    PeerError,
    content,
    delivery,
    marshal,
    raw_frame,
    raw_method,
    split_frames,
)

HEADER = b'AMQP\x00\x00\x09\x01'


class Client:
    """A client of a few lines."""

    def __init__(self, peer: Peer, wrap=None):
        sock = socket.create_connection((peer.address, peer.port), timeout=10)
        self.sock = wrap(sock) if wrap else sock
        self.stream = self.sock.makefile('rb')

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        self.stream.close()
        self.sock.close()

    def send(self, channel, *frames):
        self.sock.sendall(marshal(channel, *frames))

    def read(self):
        head = self.stream.read(7)
        if not head:
            return None
        rest = self.stream.read(int.from_bytes(head[3:], 'big') + 1)
        _, channel, frame = pamqp_frame.unmarshal(head + rest)
        return channel, frame

    def ask(self, channel, frame):
        self.send(channel, frame)
        return self.read()[1]

    def handshake(self):
        self.sock.sendall(HEADER)
        start = self.read()[1]
        tune = self.ask(0, commands.Connection.StartOk(response='x'))
        self.send(0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, tune.heartbeat))
        assert isinstance(self.ask(0, commands.Connection.Open()), commands.Connection.OpenOk)
        return start, tune


@contextmanager
def failing(error, match, **options):
    """A peer whose script is going to fail."""
    listener = Peer(**options)
    yield listener
    with pytest.raises(error, match=match):
        listener.close()


@pytest.fixture
def peer():
    with Peer(patience=5) as listener:
        yield listener


def test_script_reads_like_a_transcript(peer):
    @peer.script
    def _(p):
        seen = p.handshake(heartbeat=7, frame_max=8192, channel_max=3, capabilities={'a': True})
        assert seen.start_ok.response == 'x'
        p.expect(commands.Channel.Open, 1)
        p.send(1, commands.Channel.OpenOk())
        p.expect(commands.Queue.Declare, queue='q')

    with Client(peer) as client:
        start, tune = client.handshake()
        assert start.server_properties['capabilities'] == {'a': True}
        assert (tune.heartbeat, tune.frame_max, tune.channel_max) == (7, 8192, 3)
        assert isinstance(client.ask(1, commands.Channel.Open()), commands.Channel.OpenOk)
        client.send(1, commands.Queue.Declare(queue='q'))
        peer.finished()


@pytest.mark.parametrize(
    ('frame', 'message'),
    [
        (commands.Queue.Bind(), 'where Declare should come'),
        (commands.Queue.Declare(queue='other'), "queue is 'other'"),
    ],
)
def test_unexpected_frame_fails_the_test_at_the_end(frame, message):
    with failing(PeerError, message) as peer:

        @peer.script
        def _(p):
            p.expect(commands.Queue.Declare, queue='q')

        with Client(peer) as client:
            client.send(1, frame)
            peer.finished()


def test_client_that_leaves_early_fails_the_script():
    with failing(EndOfStream, 'where Declare should come') as peer:

        @peer.script
        def _(p):
            p.expect(commands.Queue.Declare)

        Client(peer).close()
        peer.finished()


def test_every_wait_has_a_deadline():
    with failing(PeerError, 'in vain', patience=0.05) as peer:

        @peer.script
        def _(p):
            p.expect(commands.Queue.Declare)

        with Client(peer):
            peer.wire().finished.wait(5)


def test_end_of_the_test_wakes_a_waiting_script():
    peer = Peer()
    peer.script(lambda p: p.expect(commands.Queue.Declare))
    with Client(peer):
        peer.wire()
        with pytest.raises(PeerError, match='in vain'):
            peer.close()


def test_connection_without_a_script_is_an_error():
    with failing(PeerError, 'no script') as peer, Client(peer):
        peer.wire().finished.wait(5)


def test_several_connections_have_a_script_each(peer):
    for number in (1, 2):
        peer.script(lambda p, n=number: p.send(n, heartbeat.Heartbeat(), commands.Tx.SelectOk()))
    for number in (1, 2):
        with Client(peer) as client:
            assert isinstance(client.read()[1], heartbeat.Heartbeat)
            assert client.read()[0] == number


def test_serve_answers_every_synchronous_method(peer):
    peer.serve()
    with Client(peer) as client:
        client.handshake()
        asked = [
            commands.Channel.Open(),
            commands.Channel.Flow(True),
            commands.Exchange.Declare(),
            commands.Exchange.Bind(),
            commands.Exchange.Unbind(),
            commands.Exchange.Delete(),
            commands.Queue.Declare(queue='q'),
            commands.Queue.Bind(),
            commands.Queue.Unbind(),
            commands.Queue.Purge(),
            commands.Queue.Delete(),
            commands.Basic.Qos(),
            commands.Basic.Consume(),
            commands.Basic.Cancel('t'),
            commands.Basic.Get(),
            commands.Basic.Recover(),
            commands.Confirm.Select(),
            commands.Tx.Select(),
            commands.Tx.Commit(),
            commands.Tx.Rollback(),
            commands.Channel.Close(200, '', 0, 0),
        ]
        for frame in asked:
            answer = client.ask(1, frame)
            assert answer.name in frame.valid_responses
        client.send(1, commands.Queue.Declare(queue='q', nowait=True))
        update = commands.Connection.UpdateSecret('new', 'expired')
        assert isinstance(client.ask(0, update), commands.Connection.UpdateSecretOk)
        client.ask(0, commands.Connection.Close(200, '', 0, 0))
    wire = peer.finished()
    assert wire.received[3][1].name == 'Channel.Open'


def test_serve_collects_and_confirms_messages(peer):
    peer.serve()
    with Client(peer) as client:
        client.handshake()
        client.ask(3, commands.Channel.Open())
        client.ask(3, commands.Confirm.Select())
        publish = commands.Basic.Publish(routing_key='k')
        for tag, body in enumerate((b'', b'x' * 10, b'y' * 10_000), 1):
            client.sock.sendall(b''.join(content(3, publish, body, frame_max=4096)))
            assert client.read()[1].delivery_tag == tag
        messages = peer.wire().messages(3)
    assert [len(message.body) for message in messages] == [0, 10, 10_000]
    assert messages[2].body_frames == (4088, 4088, 1824)


@pytest.mark.parametrize(
    'inside',
    [commands.Basic.Ack(1), commands.Basic.Publish()],
)
def test_interleaved_content_is_refused(inside):
    with failing(PeerError, 'inside the body') as peer:
        peer.serve()
        with Client(peer) as client:
            client.handshake()
            frames = content(1, commands.Basic.Publish(), b'x' * 10, frame_max=13)
            frames.insert(3, marshal(1, inside))
            client.sock.sendall(b''.join(frames))
            peer.finished()


def test_handlers_and_muteness_of_the_serve_loop(peer):
    def close(p, channel, frame):
        p.send(channel, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))

    peer.serve(on={commands.Queue.Declare: close}, mute=[commands.Queue.Bind])
    with Client(peer) as client:
        client.handshake()
        assert client.ask(1, commands.Queue.Declare()).reply_code == 404
        client.send(1, commands.Queue.Purge(), commands.Channel.CloseOk(), commands.Queue.Bind())
        assert isinstance(client.ask(1, commands.Queue.Purge()), commands.Queue.PurgeOk)
        assert len(peer.wire().seen(commands.Queue.Bind, 1)) == 1


def test_script_takes_over_from_serve(peer):
    @peer.script
    def _(p):
        p.handshake()
        assert p.serve(until=commands.Queue.Declare).queue == 'q'
        p.send_raw(b'raw')

    with Client(peer) as client:
        client.handshake()
        client.ask(1, commands.Channel.Open())
        client.send(1, commands.Queue.Declare(queue='q'))
        assert client.stream.read(3) == b'raw'


def test_paused_peer_blocks_the_client():
    with Peer(rcvbuf=4096) as peer:
        peer.serve()
        with Client(peer) as client:
            client.handshake()
            peer.wire().pause()
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.sock.settimeout(0.1)
            beat = marshal(0, heartbeat.Heartbeat())
            sent = 0
            with suppress(TimeoutError):
                while True:
                    sent += client.sock.send(beat * 1000)
            rest = -sent % len(beat)
            peer.wire().resume()
            client.sock.settimeout(10)
            client.sock.sendall(beat[len(beat) - rest :] if rest else b'')
            assert isinstance(client.ask(1, commands.Tx.Select()), heartbeat.Heartbeat)


def test_dribble_waits_for_the_test(peer):
    step = threading.Semaphore(0)

    @peer.script
    def _(p):
        p.dribble(b'abc', lambda: step.acquire(timeout=5))

    with Client(peer) as client:
        for octet in (b'a', b'b', b'c'):
            assert client.sock.recv(10) == octet
            step.release()


def test_replay_stops_at_the_cut(peer):
    reached, go_on = threading.Event(), threading.Event()

    def between():
        reached.set()
        go_on.wait(5)

    peer.script(lambda p: p.replay(b'recorded', 3, between))
    with Client(peer) as client:
        assert reached.wait(5)
        assert client.sock.recv(10) == b'rec'
        go_on.set()
        assert client.stream.read(5) == b'orded'


@pytest.mark.parametrize('waiting', [False, True])
def test_reset_reaches_the_client(peer, waiting):
    peer.script((lambda p: p.until_eof()) if waiting else (lambda p: None))
    with Client(peer) as client:
        wire = peer.wire()
        wire.reset()
        with pytest.raises(OSError) as caught:
            client.sock.recv(1)
        assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize('end', ['eof', 'close'])
def test_end_of_stream_reaches_the_client(peer, end):
    peer.script(lambda p: p.until_eof())
    with Client(peer) as client:
        getattr(peer.wire(), end)()
        assert client.sock.recv(1) == b''


def test_mute_peer_holds_until_the_end(peer):
    peer.script(lambda p: p.hold())
    with Client(peer) as client:
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)


def test_refusing_peer_refuses(peer):
    peer.refuse()
    with pytest.raises(ConnectionRefusedError):
        Client(peer)


def test_tls():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('localhost').configure_cert(server)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Peer(tls=server) as peer:
        peer.serve()
        wrap = lambda sock: context.wrap_socket(sock, server_hostname='localhost')  # noqa: E731
        with Client(peer, wrap) as client:
            client.handshake()
            wire = peer.wire()
            wire.deliver(1, 'tag', 1, b'x' * 200_000)
            read = [client.read()[1] for _ in range(4)]
            assert sum(len(part.value) for part in read[2:]) == 200_000
            assert isinstance(client.ask(1, commands.Tx.Select()), commands.Tx.SelectOk)


def test_bytes_helpers():
    assert raw_frame(METHOD, 1, b'ab', size=3, end=0) == b'\x01\x00\x01\x00\x00\x00\x03ab\x00'
    assert split_frames(raw_method(2, (90, 11)) * 2) == [(METHOD, 2, b'\x00\x5a\x00\x0b')] * 2
    stream = delivery(1, 'tag', 5, b'x' * 9, frame_max=12)
    assert [frame[0] for frame in split_frames(stream)] == [1, 2, BODY, BODY, BODY]
    with pytest.raises(PeerError, match='no whole frame'):
        split_frames(stream[:-1])
