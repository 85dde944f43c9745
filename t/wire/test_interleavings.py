"""Races that the code speaks of, each in the one order of steps that would go wrong.

One thread is stopped in the midst of a call; another does what the comment is afraid of; the first
goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from math import inf
from types import SimpleNamespace

import pytest
from pamqp import commands

import amqp
from amqp import Message
from amqp.deadline import Deadline
from amqp.heartbeat_thread import HeartbeatThread
from amqp.method_framing import frame_writer
from t.helpers.streams import fake
from t.helpers.threads import until

from .support import LOST, SOON, Background, drain_until, readable

NOW = Deadline(0, 0.0)


class Stop:
    """A point at which the first thread that comes stops until it is told to go on."""

    def __init__(self):
        self._reached, self._go_on = threading.Event(), threading.Event()

    def __call__(self):
        if not self._reached.is_set():
            self._reached.set()
            assert self._go_on.wait(SOON)

    def wait(self):
        """Return when that thread has come."""
        assert self._reached.wait(SOON)

    def go_on(self):
        self._go_on.set()

    def before(self, function):
        """That function, with the stop ahead of it."""

        def stopped(*args, **kwargs):
            self()
            return function(*args, **kwargs)

        return stopped

    def behind(self, function):
        """That function, with the stop behind it."""

        def stopped(*args, **kwargs):
            result = function(*args, **kwargs)
            self()
            return result

        return stopped


@pytest.fixture
def stop():
    made = Stop()
    yield made
    made.go_on()


class WatchedLock:
    """A re-entrant lock that tells when a thread has to wait for it."""

    def __init__(self, lock):
        self._lock = lock
        self.is_awaited = threading.Event()

    def acquire(self, blocking=True, timeout=-1):
        if self._lock.acquire(blocking=False):
            return True
        if blocking:
            self.is_awaited.set()
        return blocking and self._lock.acquire(timeout=timeout)

    def release(self):
        self._lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()

    def _is_owned(self):
        return self._lock._is_owned()


def watch_write_lock(transport):
    """What tells whether a thread waits to write."""
    lock = transport._write_lock
    if hasattr(lock, '_waiting'):  # in the compiled build it knows that itself
        return lambda: bool(lock._waiting)
    transport._write_lock = watched = WatchedLock(lock)
    return watched.is_awaited.is_set


def look_no_more(connection):
    """Have messages go out the short way, however long ago the last look at the socket was."""
    connection._outbound.next_look = inf


# -- replies


def test_a_reply_that_is_read_before_its_request_has_returned(peer, connect, stop):
    """Its place is there already: it is kept before anything is sent."""
    peer.serve()

    def maker(connection, transport):
        write = frame_writer(connection, transport)

        def stopping(kind, channel, method, *args):
            write(kind, channel, method, *args)
            if method == (50, 10):
                stop()

        return stopping

    connection = connect(frame_writer=maker)
    channel = connection.channel()
    asking = Background(channel.queue_declare, 'q')
    stop.wait()
    connection.drain_events(timeout=SOON)
    assert not channel._replies
    stop.go_on()
    assert asking.result().queue == 'q'


def test_a_reply_to_a_request_whose_short_way_has_not_returned(peer, connect, stop):
    """Its place is there already, too."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    send = stop.behind(lambda sock, data: sock.send(data))
    fake(SimpleNamespace(transport=connection.transport), send=[send])
    asking = Background(channel.queue_declare, 'q')
    stop.wait()
    connection.drain_events(timeout=SOON)
    stop.go_on()
    assert asking.result().queue == 'q'


def test_a_reply_that_another_thread_reads_at_the_last_moment(peer, connect):
    """The time is over when the reply has just come: there is a reply."""
    peer.serve()
    reader = connect()._reader
    looks = []

    def ready():
        looks.append(None)
        return len(looks) > 2

    held = threading.Event()

    def read():
        assert reader._role.try_take()
        held.set()
        until(lambda: len(looks) > 2)
        reader._role.step_down()

    reading = Background(read)
    assert held.wait(SOON)
    reader.wait_until(ready, NOW)
    reading.result()


# -- channels


def test_a_request_on_a_channel_that_is_closed_since_it_was_looked_at(peer, connect, stop):
    """Not an octet of it is sent behind the close-ok."""
    peer.serve()
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    channel._request_at_once = lambda *args: None  # the long way
    channel._prepare = stop.behind(channel._prepare)
    asking = Background(channel.queue_declare, 'q')
    stop.wait()
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
    with pytest.raises(amqp.NotFound):
        connection.drain_events(timeout=SOON)
    stop.go_on()
    assert isinstance(asking.error(), amqp.RecoverableChannelError)
    assert channel.queue_declare('later').queue == 'later'
    asked = [frame.queue for frame in wire.seen(commands.Queue.Declare)]
    assert asked == ['later']


def ask_behind_a_close(connection, channel, wire, stop):
    """Make a request while another thread stops within a close of the broker's: one is told."""
    lock = channel._send_lock = WatchedLock(channel._send_lock)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
    draining = Background(connection.drain_events, timeout=SOON)
    stop.wait()
    asking = Background(channel.queue_declare, 'q')
    assert lock.is_awaited.wait(SOON)
    stop.go_on()
    errors = [error for error in (draining.error(), asking.error()) if error is not None]
    assert [type(error) for error in errors] == [amqp.NotFound]


def test_a_request_while_the_close_is_being_answered(peer, connect, stop):
    """It waits for the answer, and then for the channel to be opened again."""
    peer.serve()
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    channel._answer = stop.behind(channel._answer)
    ask_behind_a_close(connection, channel, wire, stop)
    sent = [type(frame) for number, frame in wire.received if number == 1]
    opened = [commands.Channel.Open, commands.Channel.CloseOk]
    assert sent in (opened, [*opened, commands.Channel.Open, commands.Queue.Declare])


def test_two_that_ask_why_the_channel_was_closed(peer, connect, stop):
    """One of them is told."""
    peer.serve()
    channel = connect().channel()
    error = amqp.NotFound('no queue')

    class Outbox(SimpleNamespace):
        @property
        def unreported(self):
            found = self.found
            stop()
            return found

        @unreported.setter
        def unreported(self, error):
            self.found = error

    outbox, channel._outbox = channel._outbox, Outbox(found=error)
    lock = channel._opening_lock = WatchedLock(threading.RLock())
    asking = [Background(channel._report_close)]
    stop.wait()
    asking.append(Background(channel._report_close))
    assert lock.is_awaited.wait(SOON)
    stop.go_on()
    assert [each.error() for each in asking] == [error, None]
    channel._outbox = outbox


def test_two_that_tell_of_the_end_of_a_channel(peer, connect, stop):
    """It is told once."""
    peer.serve()
    connection, told = connect(), []
    connection.channel().close()

    class Channel(amqp.Channel):
        @property
        def _is_up(self):
            found = self.__dict__['_is_up']
            if threading.current_thread() is not threading.main_thread():
                stop()
            return found

        @_is_up.setter
        def _is_up(self, value):
            self.__dict__['_is_up'] = value

    channel = Channel(connection)
    channel.open()
    channel.events['close'].add(told.append)
    lock = channel._opening_lock = WatchedLock(threading.RLock())
    telling = [Background(channel._tell_of_end, None)]
    stop.wait()
    telling.append(Background(channel._tell_of_end, None))
    assert lock.is_awaited.wait(SOON)
    stop.go_on()
    for each in telling:
        each.result()
    connection._run_lasting()
    assert told == [None]


@pytest.mark.parametrize('way', ['short', 'long'])
def test_a_request_before_what_the_channel_was_is_forgotten(peer, connect, stop, way):
    """It isn't opened again until then, or its new life would end with the old one."""
    peer.serve()
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    if way == 'long':
        channel._request_at_once = lambda *args: None
    channel._lose_state = stop.before(channel._lose_state)
    ask_behind_a_close(connection, channel, wire, stop)
    assert channel.queue_declare('later').queue == 'later'
    assert len(wire.seen(commands.Channel.Open)) == 2


def test_a_number_whose_close_is_yet_to_be_answered(peer, connect, stop):
    """It names no other channel until then, or the close-ok would seem to be about that one."""
    peer.serve(handshake={'channel_max': 1})
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    connection._answer = stop.before(connection._answer)
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 50, 10))
    draining = Background(connection.drain_events, timeout=SOON)
    stop.wait()
    channel.collect()
    with pytest.raises(amqp.ResourceError):
        connection.channel()
    stop.go_on()
    draining.result()
    assert wire.seen(commands.Channel.CloseOk)
    assert len(wire.seen(commands.Channel.Open)) == 1


def test_a_connection_that_ends_while_a_method_is_acted_upon(peer, connect, stop):
    """What the method brings about goes where nobody looks; it is no error of its own."""
    peer.serve(confirms=False)
    connection = connect()
    channel = connection.channel()
    channel.confirm_select()
    channel.basic_publish(Message('x'), routing_key='q')

    class Events(dict):
        def get(self, *args):
            found = super().get(*args)
            stop()
            return found

    channel.events = Events(basic_ack={lambda *args: None})
    peer.wire().send(1, commands.Basic.Ack(1))
    draining = Background(drain_until, connection, lambda: False)
    stop.wait()
    connection.collect()
    stop.go_on()
    assert isinstance(draining.error(), LOST)


def test_two_threads_that_cancel_a_stream(peer, connect, stop):
    """One of them does."""
    peer.serve()
    channel = connect().channel()
    stream = channel.consume('q')
    channel.basic_cancel = stop.before(channel.basic_cancel)
    first = Background(stream.cancel)
    stop.wait()
    stream.cancel()
    stop.go_on()
    first.result()
    assert len(peer.wire().seen(commands.Basic.Cancel)) == 1


def test_messages_of_a_stream_that_two_threads_read(peer, connect, stop):
    """The second isn't read before the first is where it belongs."""
    peer.serve()
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    stream = channel.consume('q', no_ack=True)
    feed = channel._inbox.streams[stream.consumer_tag]

    class Slow(deque):
        def append(self, message):
            stop()
            super().append(message)

    feed.messages = Slow()
    wire.deliver(1, stream.consumer_tag, 1)
    reading = [Background(connection.drain_events, timeout=SOON)]
    stop.wait()
    wire.deliver(1, stream.consumer_tag, 2)
    reading.append(Background(connection.drain_events, timeout=SOON))
    until(lambda: connection._reader._role._waiting)
    stop.go_on()
    for each in reading:
        each.result()
    assert [message.delivery_tag for message in feed.messages] == [1, 2]


def test_two_that_publish_where_there_is_room_for_one(peer, connect, stop):
    """The one that comes second waits, though it has seen the room."""
    peer.serve(confirms=False)
    channel, wire = connect().channel(), peer.wire()
    channel.confirm_select(window=1)
    waits, wait_for_room = threading.Event(), channel._wait_for_room

    def wait(*args):
        waits.set()
        wait_for_room(*args)

    channel._wait_for_room = wait
    channel._prepare = stop.behind(channel._prepare)
    second = Background(channel.basic_publish, Message('2'), routing_key='q', timeout=SOON)
    stop.wait()
    channel.basic_publish(Message('1'), routing_key='q')
    stop.go_on()
    assert waits.wait(SOON)
    wire.send(1, commands.Basic.Ack(1))
    second.result()
    assert [message.body for message in wire.messages(2)] == [b'1', b'2']


def test_two_threads_that_enter_confirm_mode_at_the_same_moment(peer, connect):
    peer.serve()
    channel = connect().channel()
    together, select = threading.Barrier(2, timeout=SOON), channel.confirm_select

    def both():
        together.wait()
        select()

    channel.confirm_select = both
    calls = [Background(channel.basic_publish_confirm, Message('x')) for _ in range(2)]
    for call in calls:
        call.result()
    assert len(peer.wire().seen(commands.Confirm.Select)) == 2
    for _ in range(3):
        channel.basic_publish_confirm(Message('x'), confirm_timeout=SOON)


def test_a_channel_opened_again_while_a_confirmed_message_is_on_its_way(peer, connect, stop):
    """It isn't published where no confirm would come."""
    peer.serve()
    connection = connect()
    channel, wire = connection.channel(), peer.wire()
    channel.confirm_select()
    look = connection._look_before_publish
    connection._look_before_publish = stop.behind(look)
    publishing = Background(channel.basic_publish_confirm, Message('x'), mandatory=True)
    stop.wait()
    wire.send(1, commands.Channel.Close(404, 'NOT_FOUND', 60, 40))
    with pytest.raises(amqp.NotFound):
        connection.drain_events(timeout=SOON)
    channel.queue_declare('q')
    stop.go_on()
    error = publishing.error()
    assert isinstance(error, amqp.RecoverableChannelError)
    assert 'meanwhile' in str(error)
    assert not wire.published


# -- the stream


def test_a_write_behind_one_that_is_cut_off(peer, connect, stop):
    """Both learn why, and nothing lands within the frame that was begun."""
    peer.serve()
    connection = connect()
    first, second = connection.channel(), connection.channel()
    transport = connection.transport

    def fail(sock, data):
        stop()
        raise ConnectionResetError(104, 'reset by the test')

    fake(SimpleNamespace(transport=transport), send=[lambda sock, data: sock.send(data[:3]), fail])
    is_awaited = watch_write_lock(transport)
    cut_off = Background(first.basic_publish, Message('x'), routing_key='q')
    stop.wait()
    behind = Background(second.queue_declare, 'q')
    until(is_awaited)
    stop.go_on()
    for error in (cut_off.error(), behind.error()):
        assert isinstance(error, LOST)
        assert 'reset by the test' in str(error)
    assert peer.wire().ended.wait(SOON)
    assert not peer.wire().published


def test_a_message_left_to_a_write_that_is_cut_off(peer, connect, stop):
    """Its thread goes on and learns why by the next one; nothing lands within the frame begun."""
    peer.serve()
    connection = connect()
    first, second = connection.channel(), connection.channel()

    def fail(sock, data):
        stop()
        raise ConnectionResetError(104, 'reset by the test')

    steps = [lambda sock, data: sock.send(data[:3]), fail]
    fake(SimpleNamespace(transport=connection.transport), send=steps)
    cut_off = Background(first.basic_publish, Message('x'), routing_key='q')
    stop.wait()
    look_no_more(connection)
    Background(second.basic_publish, Message('y'), routing_key='q').result()
    stop.go_on()
    assert isinstance(cut_off.error(), LOST)
    with pytest.raises(LOST) as excinfo:
        second.basic_publish(Message('z'), routing_key='q')
    assert 'reset by the test' in str(excinfo.value.__cause__)
    assert peer.wire().ended.wait(SOON)
    assert not peer.wire().published


def test_a_message_left_to_another_thread_and_a_request_behind_it(peer, connect, stop):
    """They arrive in the order of their thread."""
    peer.serve()
    connection = connect()
    first, second = connection.channel(), connection.channel()
    transport = connection.transport

    def send(sock, data):
        stop()
        return sock.send(data)

    fake(SimpleNamespace(transport=transport), send=[send])
    is_awaited = watch_write_lock(transport)
    writing = Background(first.basic_publish, Message('x'), routing_key='q')
    stop.wait()
    look_no_more(connection)
    Background(second.basic_publish, Message('y'), routing_key='q').result()
    asking = Background(second.queue_declare, 'q')
    until(is_awaited)
    stop.go_on()
    writing.result()
    assert asking.result().queue == 'q'
    sent = [frame.name for number, frame in peer.wire().received if number == second.channel_id]
    assert sent[-4:] == ['Basic.Publish', 'ContentHeader', 'ContentBody', 'Queue.Declare']


@pytest.mark.parametrize('way', ['short', 'long'])
def test_a_message_left_to_a_write_that_nothing_follows(peer, connect, stop, way):
    """Who was writing sends it."""
    peer.serve()
    connection = connect()
    first, second = connection.channel(), connection.channel()
    if way == 'long':
        first._outbox.outbound = None
    send = stop.behind(lambda sock, data: sock.send(data))
    fake(SimpleNamespace(transport=connection.transport), send=[send])
    writing = Background(first.basic_ack, 1)
    stop.wait()
    look_no_more(connection)
    Background(second.basic_publish, Message('y'), routing_key='q').result()
    assert len(connection.transport._queue) == 1
    stop.go_on()
    writing.result()
    assert [message.body for message in peer.wire().messages(1)] == [b'y']


def test_a_write_behind_one_whose_thread_has_not_told_yet(peer, connect):
    """The stream itself knows what has torn it."""
    peer.serve()
    connection = connect()
    channel, transport = connection.channel(), connection.transport

    def fail(sock, data):
        raise ConnectionResetError(104, 'reset by the test')

    fake(SimpleNamespace(transport=transport), send=[lambda sock, data: sock.send(data[:3]), fail])
    with pytest.raises(ConnectionResetError):
        transport.write(b'\x08\0\0\0\0\0\0\xce')
    with pytest.raises(LOST, match='reset by the test'):
        channel.basic_publish(Message('y'), routing_key='q')
    with pytest.raises(LOST, match='reset by the test'):
        connection.drain_events(timeout=0)


def test_a_write_that_is_put_off_while_its_batch_ends(peer, connect, stop):
    """Whoever ends the batch waits for it, and sends it."""
    peer.serve()
    connection = connect()
    transport = connection.transport

    class Measured(bytes):
        def __len__(self):
            stop()
            return super().__len__()

    transport.begin_batch('batch')
    is_awaited = watch_write_lock(transport)
    writing = Background(transport.write, Measured(b'\x08\0\0\0\0\0\0\xce'))
    stop.wait()  # it has seen that there is a batch
    ending = Background(transport.end_batch, 'batch')
    until(is_awaited)
    stop.go_on()
    writing.result()
    ending.result()
    assert not transport._batch
    assert peer.wire().seen(type(peer.wire().received[-1][1]))


def test_octets_that_are_given_back_while_another_thread_closes(peer, connect):
    """Both give them back; none is counted twice."""
    peer.serve()
    connection = connect()
    wire, transport = peer.wire(), connection.transport
    wire.send_raw(b'\x08\0\0\0\0\0\0\xce' * 2)
    readable(connection)
    transport.read_frame(Deadline(SOON, 0.0).no_later_than(float('inf')))
    assert transport._borrowed == 16

    def close_meanwhile(sock, *args):
        count = sock.recv_into(*args)
        transport.close()
        return count

    fake(SimpleNamespace(transport=transport), recv_into=[close_meanwhile])
    transport.read_frame(NOW)
    assert transport._borrowed == 0
    assert not transport.connected


# -- the connection


def test_a_close_beside_another(peer, connect, stop):
    """The second leaves it to the first."""
    peer.serve()
    connection = connect()
    connection._give_up_channels = stop.before(connection._give_up_channels)
    first = Background(connection.close)
    stop.wait()
    connection.close()
    assert connection.connected
    stop.go_on()
    first.result()
    assert not connection.connected
    assert len(peer.wire().seen(commands.Connection.Close)) == 1


class Stopping(amqp.Connection):
    """One that calls `looked` behind each look at its transport, and at whether it is blocked."""

    def looked(self):
        pass

    @property
    def _transport(self):
        found = self.__dict__.get('_transport')
        self.looked()
        return found

    @_transport.setter
    def _transport(self, transport):
        self.__dict__['_transport'] = transport

    @property
    def _blocked_reason(self):
        self.looked()
        return self.__dict__.get('_blocked_reason')

    @_blocked_reason.setter
    def _blocked_reason(self, reason):
        self.__dict__['_blocked_reason'] = reason


def test_a_connection_that_ends_while_it_is_looked_at(peer, connect, stop):
    peer.serve()
    connection = connect(cls=Stopping)
    connection.looked = stop
    looking = Background(lambda: connection.connected)
    stop.wait()
    connection.collect()
    stop.go_on()
    assert looking.result() is False


def test_a_connection_that_ends_between_the_looks_of_a_publish(peer, connect, stop):
    """The last of them tells."""
    peer.serve()
    connection = connect(cls=Stopping)
    channel, look = connection.channel(), connection._look

    def look_and_stop():
        look()
        connection.looked = stop

    connection._look, connection._next_look = look_and_stop, 0.0
    publishing = Background(channel.basic_publish, Message('x'), routing_key='q', timeout=SOON)
    stop.wait()
    connection.collect()
    stop.go_on()
    assert isinstance(publishing.error(), LOST)


def test_two_threads_that_ask_for_the_first_timer(peer, connect, stop):
    """Both are called."""
    peer.serve()
    connection, called = connect(), []
    connection._make_timers = stop.before(connection._make_timers)
    first = Background(connection.call_later, 0, lambda: called.append(1))
    stop.wait()
    connection.call_later(0, lambda: called.append(2))
    stop.go_on()
    first.result()
    for _ in range(2):
        connection.drain_events(timeout=SOON)
    assert sorted(called) == [1, 2]


def test_a_timer_between_the_look_at_them_and_the_wait(peer, connect, stop):
    """There is nothing to wake the thread by yet: it looks again."""
    peer.serve()
    connection, called = connect(), []
    connection._be_wakeable = stop.before(connection._be_wakeable)
    draining = Background(connection.drain_events, timeout=SOON)
    stop.wait()
    assert not connection.transport.is_wakeable()
    connection.call_soon_threadsafe(lambda: called.append(1))
    stop.go_on()
    draining.result()
    assert called == [1]


def test_a_heartbeat_that_is_due_beside_a_write(peer, connect, stop):
    """What another thread is writing stands for it: that is no error, and no reason to wait."""
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(heartbeat=60)
    channel, transport = connection.channel(), connection.transport
    send = stop.before(lambda sock, data: sock.send(data))
    fake(SimpleNamespace(transport=transport), send=[send])
    writing = Background(channel.basic_publish, Message('x'), routing_key='q')
    stop.wait()
    transport.sent_at -= 1_000
    connection._heartbeat.last_sent -= 1_000
    Background(connection.heartbeat_tick).result()
    stop.go_on()
    writing.result()
    assert connection.connected
    assert peer.wire().messages(1)


def test_two_threads_that_start_the_heartbeat_thread(peer, connect, monkeypatch):
    """One is started."""
    peer.serve(handshake={'heartbeat': 1})
    connection = connect(heartbeat=1)
    together, made = threading.Barrier(2, timeout=SOON), []

    def make(beat):
        made.append(HeartbeatThread(beat))
        together.wait()
        return made[-1]

    monkeypatch.setattr('amqp.writing_connection.HeartbeatThread', make)
    for call in [Background(connection.start_heartbeat_thread) for _ in range(2)]:
        call.result()
    started = [thread for thread in made if thread._thread.ident is not None]
    assert len(started) == 1
    connection.stop_heartbeat_thread()


def test_a_loss_between_the_look_and_the_wait_for_another_readers_frame(peer, connect):
    """Who has seen an open connection, and is about to wait, isn't forgotten."""
    peer.serve()
    connection = connect()
    reader = connection._reader
    assert reader._role.try_take()
    is_lost, stopped = connection._is_lost, Stop()
    connection._is_lost = stopped.behind(is_lost)
    waiting = Background(connection.drain_events)
    stopped.wait()
    closing = Background(connection.collect)
    until(is_lost)
    stopped.go_on()
    closing.result()
    assert isinstance(waiting.error(), LOST)
    reader._role.step_down()


def test_a_delivery_beside_the_reply_of_another_thread(peer, connect):
    """Each goes its own way, whoever reads: here the thread that asked."""

    def answer(wire, channel, frame):
        wire.deliver(channel, 'tag', 1)
        wire.send(channel, commands.Queue.DeclareOk(frame.queue, 0, 0))

    peer.serve(on={commands.Queue.Declare: answer})
    connection = connect()
    channel = connection.channel()
    ran_in = []
    channel.basic_consume(
        'q', 'tag', no_ack=True, callback=lambda message: ran_in.append(threading.get_ident())
    )
    drainer = Background(
        lambda: (drain_until(connection, lambda: ran_in), threading.get_ident())[1]
    )
    until(lambda: not connection._reader._role.try_take() or connection._reader._role.step_down())
    assert channel.queue_declare('q').queue == 'q'
    drainer.result()
    assert ran_in == [drainer.thread.ident]


def test_a_signal_handler_that_ticks_in_the_midst_of_a_tick(peer, connect):
    """The verdict on the peer is within: it doesn't wait for itself."""
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(heartbeat=60)
    connection._heartbeat.last_received -= 1_000
    transport, handled = connection.transport, []

    def has_news():
        if not handled:
            handled.append(None)
            connection.heartbeat_tick()
        return True

    transport.has_news = has_news
    transport.received_at -= 1_000
    Background(connection.heartbeat_tick).result()
    assert handled
    assert connection.connected
