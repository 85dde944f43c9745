"""Processes made by multiprocessing: a connection belongs to the one that made it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.green import patched_by
from t.helpers.threads import Background
from t.integration.support import PATIENCE, bodies, consume, drain_until, publish, ready

pytestmark = [
    pytest.mark.integration,
    # The parent has threads here on purpose: no lock of theirs may be waited for in the child.
    pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning'),
]

Connect = Callable[..., amqp.Connection]

METHODS = multiprocessing.get_all_start_methods()
if patched_by():
    # A fork copies greenlets, unlike threads: the parent's would go on reading in the child.
    METHODS.remove('fork')
needs_fork = pytest.mark.skipif('fork' not in METHODS, reason='no fork, or not without greenlets')


def in_child(start: str, function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a child process; its error is raised here."""
    context = multiprocessing.get_context(start)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=report, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE):
            process.kill()
            raise AssertionError('the child hangs')
        succeeded, value = receiver.recv()
    finally:
        receiver.close()
        process.join(PATIENCE)
        process.kill()
    assert process.exitcode == 0
    if not succeeded:
        raise value
    return value


def report(sender: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        sender.send((True, function(*args)))
    except Exception as exc:  # noqa: BLE001 - raised in the parent
        sender.send((False, exc))


def echo(host: str, queue: str, body: str) -> str:
    """Send a message and fetch it, by a connection of one's own."""
    with amqp.Connection(
        host, connect_timeout=10, heartbeat=1, heartbeat_thread=True
    ) as connection:
        channel = connection.channel()
        publish(channel, queue, body)
        messages = consume(channel, queue, no_ack=True)
        drain_until(connection, lambda: messages)
        return str(messages[0].body)


@pytest.mark.parametrize('start', METHODS)
def test_a_child_makes_its_own_connection(
    connect: Connect, broker: Broker, queue: str, start: str
) -> None:
    """While the parent has one that is in use, in several threads."""
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    own = channel.queue_declare(exclusive=True).queue
    messages = consume(channel, own, no_ack=True)
    drain = Background(drain_until, connection, lambda: len(messages) == 2)
    publisher = connection.channel()
    publish(publisher, own, 'before')
    host = f'{broker.host}:{broker.port}'
    assert in_child(start, echo, host, queue, 'of the child') == 'of the child'
    publish(publisher, own, 'after')
    drain.result()
    assert bodies(messages) == ['before', 'after']


def use_of_the_parents(connection: amqp.Connection, channel: amqp.Channel) -> list[str]:
    """What each use of them raises; then both are torn down."""
    uses: tuple[Callable[[], Any], ...] = (
        connection.drain_events,
        connection.channel,
        connection.send_heartbeat,
        connection.heartbeat_tick,
        connection.start_heartbeat_thread,
        lambda: channel.queue_declare(exclusive=True),
        lambda: channel.basic_publish(amqp.Message('of the child')),
        lambda: channel.basic_ack(0, multiple=True),
    )
    errors = []
    for use in uses:
        try:
            use()
            errors.append('nothing')
        except amqp.RecoverableConnectionError as exc:
            errors.append(str(exc))
    connection.stop_heartbeat_thread()
    connection.close()
    connection.collect()
    channel.close()
    threads = [thread.name for thread in threading.enumerate() if 'heartbeat' in thread.name]
    return errors + threads


@needs_fork
def test_the_parents_connection_is_not_the_childs(connect: Connect, queue: str) -> None:
    """Each use raises and says why; nothing is sent, nothing is taken; the parent goes on.

    At the time of the fork one thread of the parent waits on the socket, one for that thread, one
    beats, and one is in the middle of a write or another, so that locks of all kinds are held.
    """
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    messages = consume(channel, queue, no_ack=True)
    stop = threading.Event()
    published: list[str] = []

    def keep_publishing() -> None:
        mine = connection.channel()
        while not stop.is_set():
            body = f'{len(published)} ' + 'x' * 50_000
            mine.basic_publish(amqp.Message(body), routing_key=queue)
            published.append(body)

    publisher = Background(keep_publishing)
    drain = Background(
        drain_until, connection, lambda: stop.is_set() and len(messages) == len(published)
    )
    for _ in range(5):
        errors = in_child('fork', use_of_the_parents, connection, channel)
        assert len(errors) == 8
        assert all('belongs to the parent process' in error for error in errors)
    assert connection.connected
    stop.set()
    publisher.result()
    publish(channel, queue, 'the last')
    published.append('the last')
    drain.result()
    assert bodies(messages) == published
    assert ready(channel, queue) == 0
    connection.close()


@needs_fork
def test_the_childs_copy_as_garbage(broker: Broker, queue: str) -> None:
    """What nobody refers to in the child is taken down there, and only there."""
    connections = [amqp.Connection(f'{broker.host}:{broker.port}', heartbeat=1)]
    connections[0].connect()
    connections[0].start_heartbeat_thread()
    channel = connections[0].channel()
    child = os.fork()
    if not child:
        code = 1
        try:
            gone = weakref.ref(connections.pop())
            del channel
            gc.collect()
            code = 0 if gone() is None else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publish(channel, queue, 'x')
    assert ready(channel, queue) == 1
    connections[0].close()


def test_a_connection_cannot_be_sent_to_another_process(connect: Connect) -> None:
    """It can't be made to look as if: pickling it says so at once."""
    connection = connect()
    for mine in (connection, connection.channel()):
        with pytest.raises(TypeError, match='pickle'):
            pickle.dumps(mine)
    assert connection.channel().is_open


def test_messages_and_errors_can() -> None:
    message = pickle.loads(pickle.dumps(amqp.Message('body', application_headers={'a': 1})))
    assert (message.body, message.headers) == ('body', {'a': 1})
    error = pickle.loads(pickle.dumps(amqp.NotFound('no queue', (50, 10))))
    assert (type(error), error.reply_code, error.reply_text) == (amqp.NotFound, 404, 'no queue')
