"""A broker that ends, hangs, blocks or throws us out: every call comes to an end, and says why."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import (
    PATIENCE,
    bodies,
    consume,
    drain_until,
    publish,
    ready,
    receive,
    takes,
    until,
)

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

MIB = 2**20
#: More than the buffers of a socket hold, on either side.
HUGE = bytes(64 * MIB)


@pytest.fixture(scope='module')
def node() -> Iterator[Broker]:
    """A node to be broken; each test leaves it running again, and without an alarm."""
    config = {'max_message_size': 64 * MIB}
    with Broker(tls=False, plugins=(), config=config) as node:
        yield node


@pytest.fixture
def link(connect: Connect, node: Broker) -> Connect:
    """Connect to that node."""

    def make(**options: Any) -> amqp.Connection:
        return connect(f'{node.host}:{node.port}', **options)

    return make


@contextmanager
def suspended(node: Broker) -> Iterator[None]:
    node.suspend()
    try:
        yield
    finally:
        node.resume()


@contextmanager
def alarmed(node: Broker) -> Iterator[None]:
    node.memory_alarm(True)
    try:
        yield
    finally:
        node.memory_alarm(False)


# -- situations in which a loss may find us; each goes on until it raises


def draining(connection: amqp.Connection, channel: amqp.Channel) -> None:
    while True:
        connection.drain_events()


def calling(connection: amqp.Connection, channel: amqp.Channel) -> None:
    while True:
        channel.exchange_declare('amq.fanout', 'fanout', passive=True)


def confirming(connection: amqp.Connection, channel: amqp.Channel) -> None:
    while True:
        channel.basic_publish_confirm(amqp.Message('x'), 'amq.fanout')


def publishing(connection: amqp.Connection, channel: amqp.Channel) -> None:
    while True:
        channel.basic_publish(amqp.Message(HUGE[:MIB]), 'amq.fanout')


SITUATIONS = (draining, calling, confirming, publishing)


def start(connect: Connect, **options: Any) -> dict[str, Background]:
    """Each situation on a connection of its own, and three of them on one that they share."""
    shared = connect(**options)
    plans = [(situation, connect(**options)) for situation in SITUATIONS]
    plans += [(situation, shared) for situation in (draining, calling, confirming)]
    running = {}
    for situation, connection in plans:
        channel = connection.channel()
        before = connection.bytes_sent
        name = situation.__name__ + (' (shared)' if connection is shared else '')
        running[name] = Background(situation, connection, channel)
        if situation is not draining:  # which sends nothing
            until(lambda connection=connection, before=before: connection.bytes_sent > before)
    return running


# -- the broker ends


def test_a_restart_says_why(node: Broker, link: Connect) -> None:
    running = start(link)
    node.restart()
    for name, situation in running.items():
        error = situation.error()
        assert isinstance(error, amqp.RecoverableConnectionError), name
        if not name.startswith('publishing'):
            # What the broker says while we write may be lost with the connection (TCP resets it).
            assert isinstance(
                error if 'shared' not in name else reason(error), amqp.ConnectionForced
            )
            assert '320' in str(reason(error)), name
    assert link().channel().is_open


def reason(error: BaseException) -> BaseException:
    """The broker's own words: in the error, or behind it where another thread has read them."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def test_a_sudden_end_reaches_whoever_waits(node: Broker, link: Connect) -> None:
    running = start(link)
    lost = link()
    channel = lost.channel()
    tag = channel.basic_consume(channel.queue_declare(exclusive=True).queue, callback=print)
    # Whatever they are at, from here on they wait: for a reply, a confirm, room in a buffer.
    node.suspend()
    node.kill()
    with takes(0, 5):
        for name, situation in running.items():
            assert isinstance(situation.error(), amqp.RecoverableConnectionError), name
    with pytest.raises(amqp.RecoverableConnectionError):
        lost.drain_events(timeout=PATIENCE)
    node.start_again()
    # It is back, but a lost connection stays lost: nothing reconnects behind the caller's back.
    for use in (
        lost.drain_events,
        lost.channel,
        lost.connect,
        lost.send_heartbeat,
        lambda: lost.update_secret('x', 'y'),
        lambda: lost.transport,
        lambda: lost.sock,
        channel.open,
        lambda: channel.queue_declare(exclusive=True),
        lambda: channel.basic_publish(amqp.Message('x')),
        lambda: channel.basic_publish_confirm(amqp.Message('x')),
        lambda: channel.basic_ack(1),
        lambda: channel.basic_get('q'),
        lambda: channel.basic_consume('q'),
        lambda: channel.wait((60, 60), timeout=0),
    ):
        with pytest.raises(amqp.RecoverableConnectionError):
            use()
    for harmless in (channel.close, lost.close, lost.collect, lambda: channel.basic_cancel(tag)):
        assert harmless() is None
    assert not lost.connected
    assert not lost.is_alive()
    assert not node.ctl('list_connections', 'pid').split()[1:]


def test_a_loss_shows_before_a_publish(node: Broker, link: Connect) -> None:
    """The first message after the loss isn't taken for sent (as the kernel would have it)."""
    connection = link()
    channel = connection.channel()
    # No message under way, nobody reading: only a look at the socket tells.
    node.close_all_connections('maintenance tonight')
    until(lambda: not connection.is_alive() or connection.transport.data_is_waiting())
    with pytest.raises(amqp.ConnectionForced, match='maintenance tonight') as caught:
        channel.basic_publish(amqp.Message('x'), 'amq.fanout')
    assert caught.value.reply_code == 320


def test_an_operator_closes_a_connection(node: Broker, link: Connect) -> None:
    running = start(link)
    node.close_all_connections('nothing personal')
    for name, situation in running.items():
        error = situation.error()
        assert isinstance(error, amqp.RecoverableConnectionError), name
        if not name.startswith('publishing'):
            assert 'nothing personal' in str(error), name


# -- the broker hangs


def test_heartbeats_end_every_wait(node: Broker, link: Connect) -> None:
    ticking = link(heartbeat=1)
    running = start(link, heartbeat=1)
    with suspended(node):
        with takes(1, 6):
            for name, situation in running.items():
                assert isinstance(situation.error(), amqp.RecoverableConnectionError), name
        with pytest.raises(amqp.ConnectionForced, match='heartbeat'):
            until(lambda: ticking.heartbeat_tick())
    assert not ticking.connected


def test_timeouts_end_every_wait_without_heartbeats(node: Broker, link: Connect) -> None:
    connection = link(rpc_timeout=0.4)
    channel, confirming = connection.channel(), connection.channel()
    confirming.confirm_select()
    with suspended(node):
        with takes(0.3, 1.5), pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.3)
        with takes(0.3, 1.5), pytest.raises(TimeoutError):
            confirming.basic_publish_confirm(amqp.Message('x'), 'amq.fanout', confirm_timeout=0.3)
        with takes(0.4, 1.5), pytest.raises(amqp.RPCTimeout, match=r'Exchange\.DeclareOk'):
            channel.exchange_declare('amq.fanout', 'fanout', passive=True)
        with takes(0.4, 1.5), pytest.raises(amqp.RPCTimeout, match=r'Channel\.CloseOk'):
            confirming.close()
        with takes(0.4, 1.5), pytest.raises(TimeoutError):
            link(connect_timeout=0.4)
    # The late replies are nobody's.
    queue = channel.queue_declare(exclusive=True).queue
    assert queue.startswith('amq.gen-')
    assert ready(channel, queue) == 0
    with suspended(node):
        with takes(0.4, 1.5), pytest.raises(amqp.RecoverableConnectionError, match='CloseOk'):
            connection.close()
    assert not connection.connected


def test_a_publish_that_the_broker_does_not_read(node: Broker, link: Connect) -> None:
    connection = link(rpc_timeout=0.4)
    channel = connection.channel()
    with suspended(node):
        with takes(0.4, 2), pytest.raises(amqp.RecoverableConnectionError, match='half-way'):
            channel.basic_publish(amqp.Message(HUGE), 'amq.fanout', timeout=0.4)
        with takes(0, 1):
            connection.close()  # nothing can be sent any more
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.basic_publish(amqp.Message('x'), 'amq.fanout')


@pytest.mark.slow
def test_ticking_alone_keeps_a_connection(
    connect: Connect, channel: amqp.Channel, queue: str
) -> None:
    """What waits unread is a sign of life: ten intervals, and nobody has been given up."""
    publish(channel, queue, *map(str, range(50)))
    connection = connect(heartbeat=1)
    assert connection.heartbeat == 1
    messages = consume(connection.channel(), queue, no_ack=True)
    pause = threading.Event()  # which nobody sets
    end = time.monotonic() + 10.2
    while time.monotonic() < end:
        connection.heartbeat_tick()
        pause.wait(0.2)
    drain_until(connection, lambda: len(messages) == 50)


def test_waiting_alone_keeps_a_connection(connect: Connect, queue: str) -> None:
    """Who waits in a drain need not tick."""
    connection = connect(heartbeat=1)
    channel = connection.channel()
    with takes(3.5, 4.5), pytest.raises(TimeoutError):
        connection.drain_events(timeout=3.5)
    publish(channel, queue, 'x')


def test_a_long_callback(connect: Connect, channel: amqp.Channel, queue: str) -> None:
    """Another thread may tick for one that is busy."""
    connection = connect(heartbeat=1)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.2):
            connection.heartbeat_tick()

    acknowledged: list[amqp.Message] = []

    def work(message: amqp.Message) -> None:
        time.sleep(5)  # the work
        message.channel.basic_ack(message.delivery_tag)
        acknowledged.append(message)

    busy = connection.channel()
    busy.basic_consume(queue, callback=work)
    publish(channel, queue, 'x')
    ticker = Background(tick)
    drain_until(connection, lambda: acknowledged)
    assert ready(busy, queue) == 0
    done.set()
    ticker.result()
    busy.close()
    assert ready(channel, queue) == 0


# -- the broker blocks


def test_an_alarm(node: Broker, link: Connect) -> None:
    heard: list[Any] = []
    connection = link(
        on_blocked=heard.append,
        on_unblocked=lambda: heard.append('unblocked'),
        blocked_timeout=0.4,
    )
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
    patient = link(blocked_timeout=None)
    hasty = link(blocked_timeout=0.2, rpc_timeout=0.4)
    with alarmed(node):
        # The broker tells only who publishes.
        messages = consume(channel, queue)
        channel.basic_publish(amqp.Message('1'), routing_key=queue)
        drain_until(connection, lambda: heard)
        assert heard == ['low on memory']
        with takes(0.4, 1.5), pytest.raises(amqp.Blocked, match='low on memory'):
            channel.basic_publish(amqp.Message('2'), routing_key=queue)
        with takes(0.2, 1), pytest.raises(TimeoutError):
            channel.basic_publish(amqp.Message('3'), routing_key=queue, timeout=0.2)
        waiting = Background(publish_until_confirmed, patient)
        closing = hasty.channel()
        closing.basic_publish(amqp.Message('4'), 'amq.fanout')
        with takes(0, 2), pytest.raises(amqp.RecoverableConnectionError, match='CloseOk'):
            hasty.close()
        assert not hasty.connected
    drain_until(connection, lambda: len(heard) == 2)
    assert heard == ['low on memory', 'unblocked']
    waiting.result()
    channel.basic_publish(amqp.Message('5'), routing_key=queue)
    drain_until(connection, lambda: len(messages) == 2)
    assert bodies(messages) == ['1', '5']  # what raised an error was not sent


def publish_until_confirmed(connection: amqp.Connection) -> None:
    channel = connection.channel()
    channel.basic_publish(amqp.Message('x'), 'amq.fanout')
    channel.basic_publish_confirm(amqp.Message('y'), 'amq.fanout')


def test_an_alarm_that_we_are_not_told_of(node: Broker, link: Connect) -> None:
    connection = link(
        client_properties={'capabilities': {'connection.blocked': False}}, rpc_timeout=0.4
    )
    channel = connection.channel()
    with alarmed(node):
        with takes(0.4, 3), pytest.raises((amqp.RecoverableConnectionError, TimeoutError)):
            while True:
                channel.basic_publish(amqp.Message(HUGE[:MIB]), 'amq.fanout', timeout=0.4)
        with takes(0, 2):
            connection.close()


def test_a_body_that_is_larger_than_the_broker_accepts(link: Connect) -> None:
    channel = link(confirm_publish=True).channel()
    queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
    channel.basic_publish(amqp.Message(HUGE), routing_key=queue)
    assert channel.basic_get(queue, no_ack=True).body == HUGE
    with pytest.raises(amqp.PreconditionFailed, match='larger than') as caught:
        channel.basic_publish(amqp.Message(HUGE + b'!'), routing_key=queue)
    assert caught.value.reply_code == 406
    assert ready(channel, queue) == 0


# -- channels by the number


def test_as_many_channels_as_there_are(connect: Connect) -> None:
    connection = connect()
    assert connection.channel_max == 2_047  # RabbitMQ's default
    channels = [connection.channel() for _ in range(2_047)]
    assert {channel.channel_id for channel in channels} == set(range(1, 2_048))
    with pytest.raises(amqp.ResourceError, match='2047'):
        connection.channel()
    for channel in (channels[0], channels[-1]):
        assert channel.queue_declare(exclusive=True)
    number = channels[1_000].channel_id
    channels[1_000].close()
    assert connection.channel().channel_id == number
    connection.close()
    assert not any(channel.is_open for channel in channels)


def test_channels_come_and_go(connect: Connect, name: str) -> None:
    connection = connect(channel_max=12)
    assert connection.channel_max == 12
    for number in range(120):
        channel = connection.channel()
        if number % 3 == 0:  # one in three is closed by the broker, and closed then
            with pytest.raises(amqp.NotFound):
                channel.queue_declare(name, passive=True)
        channel.close()
    held = [connection.channel() for _ in range(12)]
    assert all(channel.flow(True) for channel in held)
    with pytest.raises(amqp.NotAllowed, match='channel_max'):
        # RabbitMQ itself counts too.
        connection.frame_writer(1, 13, amqp.spec.Channel.Open, b'\0', None)
        connection.drain_events(timeout=PATIENCE)


# -- processes, threads, tokens


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this platform does not fork')
def test_a_forked_child_leaves_the_connection_alone(connect: Connect, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    messages = consume(channel, queue)
    child = os.fork()
    if not child:
        signal.alarm(10)
        code = 1
        try:
            code = use_in_child(connection, channel)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publish(channel, queue, 'to the parent')
    drain_until(connection, lambda: messages)
    channel.basic_ack(messages[0].delivery_tag)
    assert ready(channel, queue) == 0
    connection.close()


def use_in_child(connection: amqp.Connection, channel: amqp.Channel) -> int:
    """0 if every use raises, and taking down does nothing."""
    uses: tuple[Callable[[], Any], ...] = (
        connection.drain_events,
        connection.channel,
        connection.send_heartbeat,
        lambda: channel.queue_declare(exclusive=True),
        lambda: channel.basic_publish(amqp.Message('x')),
        lambda: channel.basic_ack(0, multiple=True),
    )
    for number, use in enumerate(uses):
        try:
            use()
        except amqp.RecoverableConnectionError:
            continue
        return 10 + number
    channel.collect()
    connection.close()
    connection.collect()
    return 0


def test_a_secret_is_renewed_while_consuming(connect: Connect, queue: str) -> None:
    connection = connect()
    channel = connection.channel()
    messages = consume(channel, queue, no_ack=True)
    drain = Background(drain_until, connection, lambda: len(messages) >= 300)
    publisher = connect().channel()
    for number in range(300):
        publisher.basic_publish(amqp.Message(str(number)), routing_key=queue)
        if number % 50 == 0:
            assert connection.update_secret(f'guest-{number}', 'it expires') is None
    drain.result()
    assert bodies(messages) == list(map(str, range(300)))


def test_unacknowledged_messages_come_again_after_a_loss(
    node: Broker, link: Connect, name: str
) -> None:
    connection = link()
    channel = connection.channel()
    channel.queue_declare(name, durable=True, auto_delete=False)
    publish(channel, name, *'abc', delivery_mode=2)
    for message in receive(channel, name, 3)[:1]:
        channel.basic_ack(message.delivery_tag)
    assert ready(channel, name) == 0  # it has seen the acknowledgement
    node.close_all_connections()
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(timeout=PATIENCE)
    channel = link().channel()
    again = receive(channel, name, 2)
    assert bodies(again) == ['b', 'c']
    assert all(message.delivery_info['redelivered'] for message in again)
    channel.queue_delete(name)
