"""What other packages override, replace and read must go on working; see Kombu and its like."""

from __future__ import annotations

import inspect
import socket
import threading

import pytest
from pamqp import commands

import amqp
import amqp.connection
import amqp.method_framing
import amqp.serialization
import amqp.transport
from amqp import Message, spec

from .support import SOON, Background, drain_until


def kinds(wire):
    return [frame.name for _, frame in wire.received]


class Mixin:
    """What comes behind our Channel among the bases of Kombu's."""

    from_brokers_charset = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mixin_saw = True


class KombuChannel(amqp.Channel, Mixin):
    """`class Channel(amqp.Channel, base.StdChannel)`."""

    def prepare_message(self, body, **properties):
        return Message(body, channel=self, **properties)


class KombuConnection(amqp.Connection):
    Channel = KombuChannel


def test_subclasses_as_kombu_makes_them(peer, connect):
    peer.serve()
    connection = connect(cls=KombuConnection)
    connection.client = 'mine'
    channel = connection.channel()
    assert isinstance(channel, KombuChannel)
    assert channel.connection.client == 'mine'
    channel.anything = 1
    message = channel.prepare_message('x', priority=3, content_type=None)
    channel.basic_publish(message, exchange='e', routing_key='k')
    assert peer.wire().messages(1)[0].header.properties.priority == 3


@pytest.mark.parametrize('name', ['Consumer', 'Producer', 'get_bindings', 'client'])
def test_names_that_belong_to_kombu(name):
    assert not hasattr(amqp.Channel, name)
    assert not hasattr(amqp.Channel, 'after_reply_message_received')
    assert not hasattr(amqp.Connection, 'client')


def test_error_tuples():
    for cls in (amqp.Connection, KombuConnection):
        assert issubclass(amqp.ConnectionError, cls.connection_errors)
        assert issubclass(OSError, cls.connection_errors)
        assert issubclass(amqp.ChannelError, cls.channel_errors)
        assert issubclass(amqp.exceptions.MessageNacked, cls.recoverable_connection_errors)
        assert issubclass(amqp.RecoverableConnectionError, cls.recoverable_connection_errors)
        assert issubclass(amqp.RecoverableChannelError, cls.recoverable_channel_errors)


def test_method_replaced_on_an_instance(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    calls = []
    original = channel.basic_ack
    channel.basic_ack = lambda *args, **kw: (calls.append(args), original(*args, **kw))
    got = []
    channel.basic_consume('q', 'tag', callback=lambda msg: msg.channel.basic_ack(msg.delivery_tag))
    channel.callbacks['tag'] = lambda msg: (got.append(msg), channel.basic_ack(msg.delivery_tag))
    peer.wire().deliver(1)
    drain_until(connection, lambda: got)
    assert calls == [(1,)]
    peer.wire().seen(commands.Basic.Ack)


def test_channel_wait_overridden(peer, connect):
    """A synchronous method goes through `wait`, also where a subclass has its own."""
    waited = []

    class Channel(amqp.Channel):
        def wait(self, method, callback=None, timeout=None, returns_tuple=False):
            waited.append(method)
            return super().wait(method, callback, timeout, returns_tuple)

    class Connection(amqp.Connection):
        pass

    Connection.Channel = Channel
    peer.serve()
    channel = connect(cls=Connection).channel()
    assert channel.queue_declare('q').queue == 'q'
    assert channel.queue_purge('q') == 0
    assert waited == [spec.Channel.OpenOk, spec.Queue.DeclareOk, spec.Queue.PurgeOk]


def test_basic_publish_overridden(peer, connect):
    """kombu-pyamqp-threadsafe overrides `_basic_publish` and its alias."""
    published = []

    class Channel(amqp.Channel):
        def _basic_publish(self, *args, **kwargs):
            published.append(args[0].body)
            return super()._basic_publish(*args, **kwargs)

        basic_publish = _basic_publish

    class Connection(amqp.Connection):
        pass

    Connection.Channel = Channel
    peer.serve()
    channel = connect(cls=Connection, confirm_publish=True).channel()
    channel.basic_publish(Message('confirmed'))
    channel.basic_publish_confirm(Message('too'))
    assert published == ['confirmed', 'too']
    assert len(peer.wire().messages(2)) == 2


def test_connection_methods_overridden(peer, connect):
    calls = []

    class Connection(amqp.Connection):
        def on_inbound_method(self, channel_id, method_sig, payload, content):
            calls.append(('inbound', channel_id, method_sig))
            return super().on_inbound_method(channel_id, method_sig, payload, content)

        def blocking_read(self, timeout=None):
            calls.append(('read',))
            return super().blocking_read(timeout)

        def drain_events(self, timeout=None):
            calls.append(('drain',))
            return super().drain_events(timeout)

        def collect(self):
            calls.append(('collect',))
            return super().collect()

        def connect(self, *args, **kwargs):
            calls.append(('connect',))
            return super().connect(*args, **kwargs)

        def _get_free_channel_id(self):
            calls.append(('free id',))
            return super()._get_free_channel_id()

        def _claim_channel_id(self, channel_id):
            calls.append(('claim id', channel_id))
            return super()._claim_channel_id(channel_id)

    peer.serve()
    connection = connect(cls=Connection)
    channel = connection.channel()
    connection.channel(5)
    assert channel.queue_declare('q').queue == 'q'
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    peer.wire().deliver(1)
    drain_until(connection, lambda: got)
    connection.close()
    made = set(calls)
    assert ('inbound', 0, spec.Connection.Start) in made
    assert ('inbound', 1, spec.Queue.DeclareOk) in made
    assert ('inbound', 1, spec.Basic.Deliver) in made
    assert {('read',), ('drain',), ('connect',), ('free id',), ('claim id', 5)} <= made


def test_methods_put_aside_and_dispatched_later(peer, connect):
    """A subclass that queues what comes for a channel and dispatches it in its own time."""

    class Connection(amqp.Connection):
        aside = None

        def on_inbound_method(self, channel_id, method_sig, payload, content):
            if self.aside is not None and channel_id:
                self.aside.append((channel_id, method_sig, payload, content))
            else:
                super().on_inbound_method(channel_id, method_sig, payload, content)

    peer.serve()
    connection = connect(cls=Connection)
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    connection.aside = []
    peer.wire().deliver(1, body=b'aside')
    while not connection.aside:
        connection.blocking_read(timeout=SOON)
    assert not got
    for channel_id, method_sig, payload, content in connection.aside:
        connection.channels[channel_id].dispatch_method(method_sig, payload, content)
    assert [message.body for message in got] == [b'aside']


def test_frame_writer_setter_overridden(peer, connect):
    """A subclass that guards the writer with a lock of its own."""
    written = []

    class Connection(amqp.Connection):
        @property
        def frame_writer(self):
            return super().frame_writer

        @frame_writer.setter
        def frame_writer(self, frame_writer):
            lock = threading.Lock()

            def guarded(*args, **kwargs):
                with lock:
                    written.append(args[2])
                    return frame_writer(*args, **kwargs)

            self._frame_writer = guarded

    peer.serve()
    connection = connect(cls=Connection)
    channel = connection.channel()
    channel.basic_publish(Message('x'), routing_key='q', timeout=SOON)
    connection.send_heartbeat()
    peer.wire().messages(1)
    assert spec.Connection.StartOk in written
    assert spec.Channel.Open in written
    assert spec.Basic.Publish in written


def test_callers_own_frame_handler_and_writer(peer, connect):
    seen, written = [], []

    def handler(connection, callback, *args):
        own = amqp.method_framing.frame_handler(connection, callback, *args)

        def on_frame(frame):
            seen.append(frame[0])
            return own(frame)

        return on_frame

    def writer(connection, transport):
        own = amqp.method_framing.frame_writer(connection, transport)

        def write_frame(type_, channel, method_sig, args, content):
            written.append((type_, channel, method_sig))
            return own(type_, channel, method_sig, args, content)

        return write_frame

    peer.serve()
    connection = connect(frame_handler=handler, frame_writer=writer)
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    peer.wire().deliver(1, body=b'x')
    drain_until(connection, lambda: got)
    channel.basic_publish(Message('x'), routing_key='q', timeout=SOON)
    connection.send_heartbeat()
    assert {1, 2, 3} <= set(seen)
    assert (1, 1, spec.Basic.Publish) in written
    assert any(kind == 8 for kind, _, _ in written)
    assert len(peer.wire().messages(1)) == 1


def test_writes_to_the_transport_that_kombu_makes(peer, connect):
    peer.serve()
    connection = connect()
    assert connection.transport.raise_on_initial_eintr is True
    connection.transport.raise_on_initial_eintr = False
    assert connection.transport.connected
    with connection.transport.having_timeout(0.5):
        pass
    assert not connection.transport._read_buffer
    assert connection._transport is connection.transport
    assert connection.sock is connection.transport.sock
    assert connection.sock.getsockname()[1]
    assert connection.channel().queue_purge('q') == 0


def test_having_timeout_bounds_a_read(peer, connect):
    peer.serve()
    connection = connect()
    with connection.transport.having_timeout(0.05), pytest.raises(socket.timeout):
        connection.transport.read_frame()


def test_truth_of_the_read_buffer(peer, connect):
    peer.serve()
    connection = connect()
    connection.channel()
    peer.wire().send_raw(b'\x01\x00')
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.2)
    assert connection.transport._read_buffer


def test_heartbeat_thread_of_oslo_messaging(peer, connect):
    """`heartbeat_tick` and `drain_events(timeout=0.001)` in a thread beside other use."""
    peer.serve(handshake={'heartbeat': 60})
    connection = connect(heartbeat=60)
    channel = connection.channel()
    stop = threading.Event()

    def beat():
        while not stop.is_set():
            connection.heartbeat_tick(rate=2)
            try:
                connection.drain_events(timeout=0.001)
            except TimeoutError:
                stop.wait(0.001)

    background = Background(beat)
    for number in range(300):
        assert channel.queue_declare(f'q{number}').queue == f'q{number}'
        channel.basic_publish(Message('x'), routing_key='q')
    stop.set()
    background.result()
    assert len(peer.wire().messages(300)) == 300


def test_keyword_names(peer, connect):
    peer.serve()
    channel = connect().channel()
    channel.exchange_declare(
        exchange='e',
        type='direct',
        durable=True,
        auto_delete=False,
        arguments={},
        nowait=False,
        passive=False,
    )
    channel.exchange_bind(
        destination='d', source='s', routing_key='k', nowait=False, arguments=None
    )
    channel.exchange_unbind(
        destination='d', source='s', routing_key='k', nowait=False, arguments=None
    )
    channel.queue_declare(
        queue='q',
        passive=False,
        durable=True,
        exclusive=False,
        auto_delete=False,
        arguments=None,
        nowait=False,
    )
    channel.queue_bind(queue='q', exchange='e', routing_key='k', nowait=False, arguments=None)
    channel.queue_unbind(queue='q', exchange='e', routing_key='k', arguments=None, nowait=False)
    channel.queue_purge(queue='q', nowait=False)
    channel.queue_delete(queue='q', if_unused=True, if_empty=True, nowait=False)
    channel.exchange_delete(exchange='e', if_unused=True, nowait=False)
    channel.basic_qos(prefetch_size=0, prefetch_count=1, a_global=False)
    channel.basic_consume(
        queue='q',
        no_ack=False,
        consumer_tag='t',
        callback=print,
        nowait=False,
        arguments={'x-priority': 1},
        on_cancel=print,
    )
    channel.basic_cancel(consumer_tag='t')
    channel.basic_get(queue='q', no_ack=True)
    channel.basic_recover(requeue=True)
    channel.basic_publish(
        msg=Message('x'),
        exchange='e',
        routing_key='k',
        mandatory=False,
        immediate=False,
        timeout=None,
        confirm_timeout=None,
    )
    channel.basic_ack(delivery_tag=1, multiple=False)
    channel.basic_reject(delivery_tag=2, requeue=True)
    channel.flow(active=True)
    bind = peer.wire().seen(commands.Exchange.Bind)[0]
    assert (bind.destination, bind.source, bind.routing_key) == ('d', 's', 'k')


NOWAIT = {
    'exchange_declare': (('e', 'direct'), commands.Exchange.Declare),
    'exchange_delete': (('e',), commands.Exchange.Delete),
    'exchange_bind': (('d', 's'), commands.Exchange.Bind),
    'exchange_unbind': (('d', 's'), commands.Exchange.Unbind),
    'queue_declare': (('q',), commands.Queue.Declare),
    'queue_bind': (('q', 'e'), commands.Queue.Bind),
    'queue_purge': (('q',), commands.Queue.Purge),
    'queue_delete': (('q',), commands.Queue.Delete),
    'basic_cancel': (('tag',), commands.Basic.Cancel),
    'confirm_select': ((), commands.Confirm.Select),
}


@pytest.mark.parametrize('name', NOWAIT)
def test_nowait(peer, connect, name):
    args, method = NOWAIT[name]
    peer.serve()
    channel = connect().channel()
    getattr(channel, name)(*args, nowait=True)
    assert channel.queue_purge('other') == 0
    [frame] = [
        frame for frame in peer.wire().seen(method) if getattr(frame, 'queue', '') != 'other'
    ]
    assert frame.nowait is True


def test_consume_without_waiting_returns_the_tag(peer, connect):
    peer.serve()
    channel = connect().channel()
    assert channel.basic_consume('q', 'mine', nowait=True) == 'mine'
    assert channel.basic_consume('q', nowait=True)


def test_unbind_without_waiting_keeps_replies_in_step(peer, connect):
    """queue.unbind has no nowait on the wire: the reply that nobody wants comes all the same."""
    peer.serve()
    channel = connect().channel()
    channel.queue_unbind('q', 'e', nowait=True)
    channel.queue_unbind('q', 'e')
    assert channel.queue_purge('q') == 0
    assert len(peer.wire().seen(commands.Queue.Unbind, 2)) == 2


def test_module_names():
    for name in ('_AbstractTransport', 'TCPTransport', 'SSLTransport', 'Transport'):
        assert hasattr(amqp.transport, name)
    assert amqp.connection.AMQP_LOGGER.name == 'amqp'
    assert issubclass(amqp.connection.SSLError, OSError)
    for name in ('dumps', 'loads', '_write_table', '_read_item', 'GenericContent'):
        assert hasattr(amqp.serialization, name)
    assert amqp.protocol.queue_declare_ok_t._fields == ('queue', 'message_count', 'consumer_count')


def test_drain_events_signature():
    assert list(inspect.signature(amqp.Connection.drain_events).parameters) == ['self', 'timeout']
    wait = inspect.signature(amqp.Channel.wait).parameters
    assert list(wait) == ['self', 'method', 'callback', 'timeout', 'returns_tuple']


def test_kinds_of_frames_of_a_whole_session(peer):
    """Byte for byte what a broker expects, in order and nothing else."""
    peer.serve()
    with amqp.Connection(peer.host) as connection:
        with connection.channel() as channel:
            channel.queue_declare('q')
            channel.basic_publish(Message('x'), routing_key='q')
    names = kinds(peer.finished())
    assert names == [
        'Connection.StartOk',
        'Connection.TuneOk',
        'Connection.Open',
        'Channel.Open',
        'Queue.Declare',
        'Basic.Publish',
        'ContentHeader',
        'ContentBody',
        'Channel.Close',
        'Connection.Close',
    ]
