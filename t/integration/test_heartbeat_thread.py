"""The heartbeat thread at a real broker, which drops connections that fall silent."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, consume, drain_until, publish, ready, takes, until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]


class Work:
    """A callback of five intervals of a second, in which nothing else is done."""

    done = False

    def __call__(self, message: amqp.Message) -> None:
        threading.Event().wait(5)
        message.channel.basic_ack(message.delivery_tag)
        self.done = True


@pytest.mark.slow
@pytest.mark.parametrize('tls', [False, True], ids=['tcp', 'tls'])
def test_a_callback_of_five_intervals(
    broker: Broker, connect: Connect, queue: str, tls: bool
) -> None:
    host = f'{broker.host}:{broker.tls_port if tls else broker.port}'
    ssl = {'ca_certs': str(broker.ca_file), 'server_hostname': 'localhost'} if tls else False
    connection = connect(host, heartbeat=1, heartbeat_thread=True, ssl=ssl)
    channel = connection.channel()
    publish(channel, queue, 'long')
    work = Work()
    channel.basic_consume(queue, callback=work)
    drain_until(connection, lambda: work.done)
    # A reply: the broker has read the acknowledgement, and not closed the connection.
    assert ready(channel, queue) == 0
    connection.close()
    assert ready(connect().channel(), queue) == 0


@pytest.mark.slow
def test_without_it_the_broker_gives_up(connect: Connect, queue: str) -> None:
    """So the test above is none of nothing."""
    connection = connect(heartbeat=1)
    channel = connection.channel()
    publish(channel, queue, 'long')
    with pytest.raises(amqp.RecoverableConnectionError):
        work = Work()
        channel.basic_consume(queue, callback=work)
        drain_until(connection, lambda: work.done)
        ready(channel, queue)
    assert ready(connect().channel(), queue) == 1


@pytest.mark.slow
def test_a_broker_that_stands_still(module_broker: Broker, name: str) -> None:
    """It is noticed while a callback computes, and whoever waits is told."""
    host = f'{module_broker.host}:{module_broker.port}'
    connection = amqp.Connection(host, connect_timeout=10, heartbeat=1, heartbeat_thread=True)
    with connection:
        channel = connection.channel()
        channel.queue_declare(name, exclusive=True)
        in_callback, errors = threading.Event(), []

        def compute(message: amqp.Message) -> None:
            in_callback.set()
            while connection.connected:
                threading.Event().wait(0.05)
            with pytest.raises(amqp.RecoverableConnectionError) as caught:
                message.channel.basic_ack(message.delivery_tag)
            errors.append(caught.value)

        publish(channel, name, 'x')
        channel.basic_consume(name, callback=compute)
        drain = Background(drain_until, connection, lambda: errors)
        assert in_callback.wait(PATIENCE)
        module_broker.suspend()
        try:
            with takes(1, 5):
                drain.result()
        finally:
            module_broker.resume()
        assert isinstance(errors[0].__cause__, amqp.ConnectionForced)


def test_beside_an_event_loop_it_takes_nothing(connect: Connect, queue: str) -> None:
    """Deliveries that nobody has read stay in the kernel, and come when they are asked for."""
    connection = connect(heartbeat=1, heartbeat_thread=True)
    channel = connection.channel()
    messages = consume(channel, queue)
    publish(connect().channel(), queue, *map(str, range(50)))
    sent, received = connection.bytes_sent, connection.bytes_recv
    until(lambda: connection.bytes_sent > sent + 8)  # two heartbeats
    assert connection.bytes_recv == received
    assert not messages
    drain_until(connection, lambda: len(messages) == 50)
    assert [message.body for message in messages] == [str(number) for number in range(50)]
