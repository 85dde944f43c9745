"""Every method that a client can call: what it does at a broker, returns and raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import amqp
from amqp import spec
from t.helpers.broker import Broker
from t.integration.support import (
    PATIENCE,
    bodies,
    consume,
    drain_until,
    publish,
    ready,
    receive,
    until,
)

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]


@pytest.fixture
def own(channel: amqp.Channel, name: str) -> str:
    """The name of a queue that is the connection's own, and ends with it."""
    channel.queue_declare(name, exclusive=True, auto_delete=False)
    return name


# -- exchanges


@pytest.mark.parametrize('kind', ['direct', 'fanout', 'topic', 'headers'])
def test_exchange_types(channel: amqp.Channel, name: str, own: str, kind: str) -> None:
    assert channel.exchange_declare(name, kind) is None
    assert channel.exchange_declare(name, kind, passive=True) is None
    assert channel.queue_bind(own, name, 'a.b', arguments={'x-match': 'all', 'h': 1}) is None
    message = amqp.Message(kind, application_headers={'h': 1})
    channel.basic_publish_confirm(message, name, 'a.b')
    assert channel.basic_get(own).delivery_info == {
        'delivery_tag': 1,
        'redelivered': False,
        'exchange': name,
        'routing_key': 'a.b',
        'message_count': 0,
    }
    assert channel.exchange_delete(name) is None


def test_an_exchange_is_declared_again_as_it_is_or_not_at_all(
    channel: amqp.Channel, name: str
) -> None:
    options = {'durable': True, 'auto_delete': False, 'arguments': {'alternate-exchange': 'lost'}}
    channel.exchange_declare(name, 'topic', **options)
    channel.exchange_declare(name, 'topic', **options)
    for different in (
        {'durable': False},
        {'auto_delete': True},
        {'arguments': {}},
        {'internal': True},
    ):
        with pytest.raises(amqp.PreconditionFailed):
            channel.exchange_declare(name, 'topic', **{**options, **different})
    channel.exchange_delete(name)


def test_an_exchange_ends_with_its_last_binding(channel: amqp.Channel, name: str, own: str) -> None:
    channel.exchange_declare(name, 'fanout', auto_delete=True)
    channel.queue_bind(own, name)
    channel.queue_unbind(own, name)
    with pytest.raises(amqp.NotFound):
        channel.exchange_declare(name, 'fanout', passive=True)


def test_an_internal_exchange_takes_no_messages_of_clients(
    channel: amqp.Channel, name: str, own: str
) -> None:
    channel.exchange_declare(f'{name}-in', 'fanout')
    channel.exchange_declare(name, 'fanout', internal=True)
    channel.exchange_bind(name, f'{name}-in')
    channel.queue_bind(own, name)
    channel.basic_publish_confirm(amqp.Message('by way of another'), f'{name}-in')
    assert channel.basic_get(own).body == 'by way of another'
    with pytest.raises(amqp.AccessRefused):
        channel.basic_publish_confirm(amqp.Message('directly'), name)


def test_an_unknown_type_of_exchange(connect: Connect, broker: Broker, name: str) -> None:
    # Until RabbitMQ 3.13 the whole connection pays for it; from 4.0 the channel does.
    lost = broker.version < (4,)
    connection = connect()
    with pytest.raises(amqp.InvalidCommand if lost else amqp.PreconditionFailed) as caught:
        connection.channel().exchange_declare(name, 'octagonal')
    assert caught.value.reply_code == (503 if lost else 406)
    assert connection.connected is not lost


def test_exchange_delete_if_unused(channel: amqp.Channel, name: str, own: str) -> None:
    channel.exchange_declare(name, 'fanout')
    channel.queue_bind(own, name)
    with pytest.raises(amqp.PreconditionFailed):
        channel.exchange_delete(name, if_unused=True)
    channel.exchange_delete(name)
    channel.exchange_delete(name)  # it need not exist


def test_exchange_bind_and_unbind(channel: amqp.Channel, name: str, own: str) -> None:
    channel.exchange_declare(f'{name}-from', 'topic')
    channel.exchange_declare(f'{name}-to', 'fanout', auto_delete=False)
    channel.queue_bind(own, f'{name}-to')
    to, source = f'{name}-to', f'{name}-from'
    assert channel.exchange_bind(to, source, 'a.*', arguments={'x': 1}) is None
    channel.basic_publish_confirm(amqp.Message('a.b'), source, 'a.b')
    channel.basic_publish_confirm(amqp.Message('b.b'), source, 'b.b')
    assert bodies(receive(channel, own, no_ack=True)) == ['a.b']
    assert channel.exchange_unbind(to, source, 'a.*', arguments={'x': 1}) is None
    with pytest.raises(amqp.NotFound):  # it went with its last binding
        channel.exchange_declare(source, 'topic', passive=True)
    channel.exchange_delete(to)


def test_exchanges_without_waiting(channel: amqp.Channel, name: str, own: str) -> None:
    channel.exchange_declare(f'{name}-1', 'fanout', auto_delete=False, nowait=True)
    channel.exchange_declare(f'{name}-2', 'fanout', auto_delete=False, nowait=True)
    channel.exchange_bind(f'{name}-2', f'{name}-1', nowait=True)
    channel.queue_bind(own, f'{name}-2', nowait=True)
    channel.basic_publish_confirm(amqp.Message('through both'), f'{name}-1')
    assert channel.basic_get(own).body == 'through both'
    channel.exchange_unbind(f'{name}-2', f'{name}-1', nowait=True)
    channel.queue_unbind(own, f'{name}-2', nowait=True)
    channel.exchange_delete(f'{name}-1', if_unused=True, nowait=True)
    channel.exchange_delete(f'{name}-2', if_unused=True, nowait=True)
    for number in (1, 2):
        with pytest.raises(amqp.NotFound):
            channel.exchange_declare(f'{name}-{number}', 'fanout', passive=True)


def test_an_error_nobody_waits_for_is_raised_by_the_next_call(channel: amqp.Channel) -> None:
    channel.exchange_declare('amq.reserved', 'direct', nowait=True)
    with pytest.raises(amqp.AccessRefused, match=r'Exchange\.declare: \(403\)'):
        channel.queue_declare(exclusive=True)
    assert channel.queue_declare(exclusive=True)


# -- queues


def test_queue_declare_tells_name_messages_and_consumers(channel: amqp.Channel, name: str) -> None:
    declared = channel.queue_declare(name, exclusive=True, auto_delete=False)
    assert declared == (name, 0, 0)
    assert (declared.queue, declared.message_count, declared.consumer_count) == declared
    publish(channel, name, 'a', 'b')
    assert channel.queue_declare(name, passive=True) == (name, 2, 0)
    assert len(receive(channel, name, 2)) == 2
    channel.basic_consume(name)
    assert channel.queue_declare(name, passive=True).consumer_count == 1


def test_the_broker_makes_a_name_up(channel: amqp.Channel) -> None:
    made_up = channel.queue_declare(exclusive=True).queue
    assert made_up.startswith('amq.gen-')
    # An empty name is the last declared queue from now on.
    publish(channel, made_up, 'x')
    assert channel.basic_get('').body == 'x'
    assert channel.basic_consume()
    assert channel.queue_purge() == 0
    assert channel.queue_delete() == 0


def test_a_queue_is_declared_again_as_it_is_or_not_at_all(channel: amqp.Channel, name: str) -> None:
    options = {'durable': True, 'auto_delete': False, 'arguments': {'x-max-length': 5}}
    channel.queue_declare(name, **options)
    channel.queue_declare(name, **options)
    for different in ({'durable': False}, {'auto_delete': True}, {'arguments': {}}):
        with pytest.raises(amqp.PreconditionFailed, match='inequivalent arg'):
            channel.queue_declare(name, **{**options, **different})
    channel.queue_delete(name)


def test_a_queue_ends_with_its_last_consumer(channel: amqp.Channel, name: str) -> None:
    channel.queue_declare(name, auto_delete=True)
    channel.basic_cancel(channel.basic_consume(name))
    with pytest.raises(amqp.NotFound):
        channel.queue_declare(name, passive=True)


def test_an_exclusive_queue_is_its_connections_own(
    connect: Connect, channel: amqp.Channel, own: str
) -> None:
    other = connect().channel()
    for use in (
        lambda: other.queue_declare(own, passive=True),
        lambda: other.queue_declare(own, exclusive=True),
        lambda: other.basic_get(own),
        lambda: other.basic_consume(own),
        lambda: other.queue_delete(own),
    ):
        with pytest.raises(amqp.ResourceLocked) as caught:
            use()
        assert caught.value.reply_code == 405
    channel.connection.close()

    def gone() -> bool:
        try:
            other.queue_declare(own, passive=True)
        except amqp.NotFound:
            return True
        except amqp.ResourceLocked:  # it is being deleted
            return False
        return False

    until(gone)


def test_queue_bind_and_unbind(channel: amqp.Channel, name: str, own: str) -> None:
    channel.exchange_declare(name, 'headers', auto_delete=False)
    bindings = [{'x-match': 'any', 'a': 1}, {'x-match': 'any', 'b': 2}]
    for arguments in bindings:
        assert channel.queue_bind(own, name, arguments=arguments) is None
    assert channel.queue_unbind(own, name, arguments=bindings[0]) is None
    for header in ('a', 'b'):
        message = amqp.Message(header, application_headers={'a': 1} if header == 'a' else {'b': 2})
        channel.basic_publish_confirm(message, name)
    assert bodies(receive(channel, own, no_ack=True)) == ['b']
    channel.queue_unbind(own, name, 'never bound')  # RabbitMQ doesn't mind
    channel.exchange_delete(name)


def test_unbinding_without_waiting_leaves_no_reply_for_others(
    channel: amqp.Channel, own: str
) -> None:
    for _ in range(3):
        channel.queue_bind(own, 'amq.fanout')
        assert channel.queue_unbind(own, 'amq.fanout', nowait=True) is None
    channel.basic_publish_confirm(amqp.Message('lost'), 'amq.fanout')
    assert channel.basic_get(own) is None
    assert channel.queue_unbind(own, 'amq.fanout', nowait=True) is None
    with pytest.raises(amqp.AccessRefused):  # and not what the broker said to the one before
        channel.queue_unbind(own, '')


def test_queue_purge(channel: amqp.Channel, own: str) -> None:
    publish(channel, own, 'a', 'b', 'c')
    unacknowledged = channel.basic_get(own)
    assert channel.queue_purge(own) == 2
    assert channel.queue_purge(own) == 0
    channel.basic_reject(unacknowledged.delivery_tag, requeue=True)
    until(lambda: ready(channel, own) == 1)
    assert channel.queue_purge(own, nowait=True) is None
    assert channel.basic_get(own) is None


def test_queue_delete(channel: amqp.Channel, name: str) -> None:
    channel.queue_declare(name, durable=True, auto_delete=False)
    publish(channel, name, 'a', 'b')
    with pytest.raises(amqp.PreconditionFailed, match='not empty'):
        channel.queue_delete(name, if_empty=True)
    consumer = channel.basic_consume(name)
    with pytest.raises(amqp.PreconditionFailed, match='in use'):
        channel.queue_delete(name, if_unused=True)
    assert consumer not in channel.callbacks  # it went with the channel's first life
    until(lambda: ready(channel, name) == 2)
    assert channel.queue_delete(name, if_unused=True) == 2
    assert channel.queue_delete(name) == 0  # it need not exist


def test_queues_without_waiting(channel: amqp.Channel, name: str) -> None:
    assert channel.queue_declare(name, exclusive=True, nowait=True) is None
    assert channel.queue_bind(name, 'amq.direct', name, nowait=True) is None
    channel.basic_publish_confirm(amqp.Message('x'), 'amq.direct', name)
    assert ready(channel, name) == 1
    assert channel.queue_delete(name, nowait=True) is None
    with pytest.raises(amqp.NotFound):
        channel.queue_declare(name, passive=True)


# -- consuming


def test_consume_deliver_ack(connection: amqp.Connection, channel: amqp.Channel, own: str) -> None:
    messages = consume(channel, own, consumer_tag='mine')
    publish(channel, own, 'a', b'b', content_type='text/plain')
    drain_until(connection, lambda: len(messages) == 2)
    first, second = messages
    assert first.delivery_info == {
        'consumer_tag': 'mine',
        'delivery_tag': 1,
        'redelivered': False,
        'exchange': '',
        'routing_key': own,
    }
    assert first.channel is channel
    assert (first.body, first.content_type) == ('a', 'text/plain')
    assert (second.body, 'content_encoding' in second.properties) == (b'b', False)
    assert channel.basic_ack(first.delivery_tag) is None
    channel.close()
    other = connection.channel()
    (redelivered,) = receive(other, own)
    assert redelivered.body == b'b'
    assert redelivered.delivery_info['redelivered'] is True


def test_ack_multiple(connection: amqp.Connection, own: str) -> None:
    with connection.channel() as channel:
        publish(channel, own, *'1234')
        receive(channel, own, 4)
        channel.basic_ack(3, multiple=True)
    with connection.channel() as channel:
        assert bodies(receive(channel, own)) == ['4']
        channel.basic_ack(0, multiple=True)  # all there are
    assert ready(connection.channel(), own) == 0


def test_nack(connection: amqp.Connection, channel: amqp.Channel, own: str) -> None:
    publish(channel, own, '1', '2', '3', '4')
    assert bodies(receive(channel, own, 4)) == ['1', '2', '3', '4']
    assert channel.basic_nack(1, requeue=False) is None
    assert channel.basic_nack(3, multiple=True) is None
    again = receive(channel, own, 2)
    assert bodies(again) == ['2', '3']
    assert all(message.delivery_info['redelivered'] for message in again)
    channel.basic_nack(0, multiple=True, requeue=False)
    channel.close()
    assert ready(connection.channel(), own) == 0


def test_reject(connection: amqp.Connection, channel: amqp.Channel, own: str) -> None:
    publish(channel, own, '1', '2')
    receive(channel, own, 2)
    assert channel.basic_reject(1, requeue=False) is None
    assert channel.basic_reject(2, requeue=True) is None
    assert bodies(receive(channel, own)) == ['2']
    channel.basic_reject(3, requeue=False)
    channel.close()
    assert ready(connection.channel(), own) == 0


def test_recover(channel: amqp.Channel, own: str) -> None:
    publish(channel, own, '1', '2')
    messages = consume(channel, own)
    drain_until(channel.connection, lambda: len(messages) == 2)
    assert channel.basic_recover(requeue=True) is None
    drain_until(channel.connection, lambda: len(messages) == 4)
    assert channel.basic_recover_async(requeue=True) is None
    drain_until(channel.connection, lambda: len(messages) == 6)
    assert bodies(messages) == ['1', '2'] * 3
    assert [message.delivery_tag for message in messages] == [1, 2, 3, 4, 5, 6]
    assert [message.delivery_info['redelivered'] for message in messages] == [False] * 2 + [
        True
    ] * 4


def test_get(channel: amqp.Channel, own: str) -> None:
    assert channel.basic_get(own) is None
    publish(channel, own, 'a', 'b')
    message = channel.basic_get(own)
    assert (message.body, message.delivery_tag) == ('a', 1)
    assert message.delivery_info['message_count'] == 1
    channel.basic_ack(1)
    assert channel.basic_get(own, no_ack=True).body == 'b'
    assert channel.basic_get(own) is None
    with pytest.raises(amqp.PreconditionFailed, match='unknown delivery tag 2'):
        channel.basic_ack(2)
        ready(channel, own)


def test_no_ack(connection: amqp.Connection, channel: amqp.Channel, own: str) -> None:
    tag = channel.basic_consume(own, no_ack=True, callback=print)
    assert tag in channel.no_ack_consumers
    channel.basic_cancel(tag)
    assert tag not in channel.no_ack_consumers
    publish(channel, own, 'a')
    receive(channel, own, no_ack=True)
    channel.close()
    assert ready(connection.channel(), own) == 0


def test_cancel(channel: amqp.Channel, own: str) -> None:
    tag = channel.basic_consume(own, callback=print)
    assert tag in channel.callbacks
    assert channel.basic_cancel(tag) == tag
    assert tag not in channel.callbacks
    assert channel.basic_cancel('nobody') == 'nobody'
    assert channel.queue_declare(own, passive=True).consumer_count == 0


def test_consumers_without_waiting(channel: amqp.Channel, own: str) -> None:
    messages: list[amqp.Message] = []
    tag = channel.basic_consume(own, nowait=True, callback=messages.append)
    publish(channel, own, 'a')
    drain_until(channel.connection, lambda: messages)
    channel.basic_ack(messages[0].delivery_tag)
    assert channel.basic_cancel(tag, nowait=True) is None
    publish(channel, own, 'b')
    assert ready(channel, own) == 1
    assert bodies(messages) == ['a']


def test_a_message_without_a_callback_is_put_back(channel: amqp.Channel, own: str) -> None:
    channel.basic_qos(0, 1, False)
    tag = channel.basic_consume(own, callback=None)
    publish(channel, own, 'for another')
    channel.connection.drain_events(timeout=PATIENCE)
    channel.basic_cancel(tag)
    (message,) = receive(channel, own)
    assert message.body == 'for another'
    assert message.delivery_info['redelivered'] is True


def test_qos(channel: amqp.Channel, own: str) -> None:
    assert channel.basic_qos(0, 2, False) is None
    messages = consume(channel, own)
    publish(channel, own, *'abcde')
    drain_until(channel.connection, lambda: len(messages) == 2)
    assert ready(channel, own) == 3
    channel.basic_ack(messages[0].delivery_tag)
    drain_until(channel.connection, lambda: len(messages) == 3)
    assert ready(channel, own) == 2
    with pytest.raises(amqp.EncodeError, match=r"'prefetch_count': integer out of range"):
        channel.basic_qos(0, 65_536, False)
    assert ready(channel, own) == 2


# -- publishing


def test_properties(channel: amqp.Channel, own: str) -> None:
    sent = {
        'content_type': 'application/octet-stream',
        'content_encoding': 'binary',
        'application_headers': {'key': 'value'},
        'delivery_mode': 2,
        'priority': 7,
        'correlation_id': 'correlation',
        'reply_to': 'reply',
        'expiration': '60000',
        'message_id': 'id',
        'timestamp': 1_700_000_000,
        'type': 'type',
        'user_id': 'guest',
        'app_id': 'app',
        'cluster_id': 'cluster',
    }
    publish(channel, own, b'\x00\xff', **sent)
    message = channel.basic_get(own)
    assert message.body == b'\x00\xff'
    assert message.properties == sent
    assert {name: getattr(message, name) for name in sent} == sent
    assert message.headers == {'key': 'value'}
    publish(channel, own, b'', **dict.fromkeys(sent))
    assert channel.basic_get(own).properties == {}


def test_a_text_comes_back_in_its_encoding(connection: amqp.Connection, own: str) -> None:
    channel = connection.channel()
    text = 'gr\u00fc\u00dfe'
    publish(channel, own, text)
    publish(channel, own, text, content_encoding='latin-1')
    publish(channel, own, text.encode(), content_encoding='ascii')  # it is not
    assert bodies(receive(channel, own, 3)) == [text, text, text.encode()]
    channel.close()
    plain = amqp.Channel(connection, auto_decode=False)
    plain.open()
    octets = [text.encode(), text.encode('latin-1'), text.encode()]
    assert bodies(receive(plain, own, 3)) == octets


@pytest.mark.parametrize('body', [b'', bytearray(b'mutable'), memoryview(b'view')])
def test_bodies_of_other_types(channel: amqp.Channel, own: str, body: Any) -> None:
    publish(channel, own, body)
    assert channel.basic_get(own).body == bytes(body)


def test_publish_to_no_exchange(channel: amqp.Channel, name: str) -> None:
    channel.basic_publish(amqp.Message('lost'), name)
    with pytest.raises(amqp.NotFound, match=f"no exchange '{name}'"):
        channel.queue_declare(exclusive=True)
    channel.basic_publish(amqp.Message('lost'), name)
    with pytest.raises(amqp.NotFound):
        channel.close()
    assert channel.connection is None


def test_publish_to_no_exchange_shows_in_drain_events(channel: amqp.Channel, name: str) -> None:
    channel.basic_publish(amqp.Message('lost'), name)
    with pytest.raises(amqp.NotFound) as caught:
        channel.connection.drain_events(timeout=PATIENCE)
    assert caught.value.method_name == 'Basic.publish'
    assert caught.value.method_sig == spec.Basic.Publish
    assert channel.queue_declare(exclusive=True)


# -- confirms and transactions


def test_confirm_select(channel: amqp.Channel, own: str) -> None:
    assert channel.confirm_select() is None
    assert channel.confirm_select() is None  # again changes nothing
    confirmed: list[tuple[int, bool]] = []
    channel.events['basic_ack'].add(lambda tag, multiple: confirmed.append((tag, multiple)))
    for _ in range(3):
        channel.basic_publish(amqp.Message('x'), routing_key=own)
    drain_until(channel.connection, lambda: confirmed and confirmed[-1][0] == 3)


def test_confirm_select_without_waiting(channel: amqp.Channel, own: str) -> None:
    assert channel.confirm_select(nowait=True) is None
    channel.basic_publish_confirm(amqp.Message('x'), routing_key=own, confirm_timeout=PATIENCE)
    assert ready(channel, own) == 1


def test_transactions(connection: amqp.Connection, own: str) -> None:
    channel, other = connection.channel(), connection.channel()
    assert channel.tx_select() is None
    channel.basic_publish(amqp.Message('dropped'), routing_key=own)
    assert channel.tx_rollback() is None
    channel.basic_publish(amqp.Message('kept'), routing_key=own)
    assert ready(other, own) == 0
    assert channel.tx_commit() is None
    assert ready(other, own) == 1
    channel.basic_ack(channel.basic_get(own).delivery_tag)
    channel.tx_rollback()  # the ack too
    assert channel.basic_recover(requeue=True) is None
    channel.basic_ack(channel.basic_get(own).delivery_tag)
    channel.tx_commit()
    channel.close()
    assert ready(other, own) == 0


# -- channels and connections


def test_channels(connection: amqp.Connection) -> None:
    opened: list[amqp.Channel] = []
    first = connection.channel()
    seventh = connection.channel(7, callback=opened.append)
    assert (first.channel_id, seventh.channel_id) == (1, 7)
    assert opened == [seventh]
    assert connection.channel(7) is seventh
    assert first.is_open
    assert first.close() is None
    assert not first.is_open
    assert first.close() is None
    with pytest.raises(amqp.RecoverableConnectionError):
        first.queue_declare(exclusive=True)
    assert connection.channel().channel_id not in (0, 7)
    with connection.channel() as third:
        assert third.is_open
    assert third.connection is None


def test_flow(channel: amqp.Channel) -> None:
    assert channel.flow(True) is True
    assert channel.active


def test_connection(connect: Connect, broker: Broker) -> None:
    seen: list[Any] = []
    connection = connect(on_open=seen.append, on_tune_ok=seen.append, channel_max=100, heartbeat=30)
    assert seen == [connection, connection]
    assert connection.connected
    assert connection.is_alive()
    assert connection.server_properties['product'] == 'RabbitMQ'
    assert connection.server_capabilities['basic.nack'] is True
    assert b'PLAIN' in connection.mechanisms
    assert connection.locales == ['en_US']
    assert (connection.version_major, connection.version_minor) == (0, 9)
    assert (connection.channel_max, connection.frame_max, connection.heartbeat) == (
        100,
        131_072,
        30,
    )
    channel = connection.channel()
    assert connection.close(200, 'goodbye', (0, 0)) is None
    assert connection.close() is None
    assert not connection.connected
    assert not connection.is_alive()
    assert channel.connection is None
    for use in (connection.channel, connection.drain_events, connection.connect, channel.tx_select):
        with pytest.raises(amqp.RecoverableConnectionError):
            use()


@pytest.mark.parametrize('login_method', ['PLAIN', 'AMQPLAIN'])
def test_authentication(connect: Connect, login_method: str) -> None:
    assert connect(login_method=login_method).connected
    with pytest.raises(amqp.AccessRefused) as caught:
        connect(login_method=login_method, password='wrong')
    assert caught.value.reply_code == 403
    assert login_method in str(caught.value)


def test_an_unknown_virtual_host(connect: Connect, name: str) -> None:
    with pytest.raises(amqp.NotAllowed, match=f'vhost {name} not found') as caught:
        connect(virtual_host=name)
    assert (caught.value.reply_code, caught.value.method_name) == (530, 'Connection.open')


def test_a_user_without_permissions(connect: Connect, broker: Broker, name: str) -> None:
    credentials = {'userid': name, 'password': 'secret'}
    broker.ctl('add_user', name, 'secret')
    with pytest.raises(amqp.NotAllowed, match=f"access to vhost '/' refused for user '{name}'"):
        connect(**credentials)
    broker.ctl('set_permissions', name, '^$', '^$', '.*')
    channel = connect(**credentials).channel()
    for use in (
        lambda: channel.queue_declare(name),
        lambda: channel.exchange_declare(name, 'direct'),
        lambda: channel.basic_publish_confirm(amqp.Message('x'), 'amq.direct'),
    ):
        with pytest.raises(amqp.AccessRefused, match=f"refused for user '{name}'") as caught:
            use()
        assert caught.value.reply_code == 403
    broker.ctl('delete_user', name)
    with pytest.raises(amqp.ConnectionForced, match='deleted'):
        channel.connection.drain_events(timeout=PATIENCE)


def test_no_mechanism_in_common(connect: Connect) -> None:
    with pytest.raises(amqp.ConnectionError, match=r'offers .*PLAIN'):
        connect(login_method='GSSAPI-OR-SO', login_response=b'')


def test_update_secret(connection: amqp.Connection) -> None:
    assert connection.update_secret('guest', 'it is time') is None
    assert connection.channel().is_open


def test_the_broker_is_told_who_we_are(connect: Connect, broker: Broker, name: str) -> None:
    connect(connection_name=name, client_properties={'information': 'a test'})
    listed = broker.ctl('list_connections', 'client_properties')
    (line,) = (line for line in listed.splitlines() if f'"connection_name","{name}"' in line)
    assert '"information","a test"' in line
    assert f'"product_version","{amqp.__version__}"' in line
    for capability in (
        'authentication_failure_close',
        'basic.nack',
        'connection.blocked',
        'consumer_cancel_notify',
        'exchange_exchange_bindings',
        'publisher_confirms',
    ):
        assert f'"{capability}",true' in line


# -- errors

Use = Callable[[amqp.Channel, str], Any]


def publish_confirmed(channel: amqp.Channel, exchange: str, **options: Any) -> None:
    channel.basic_publish_confirm(amqp.Message('x'), exchange, **options)


def ack_twice(channel: amqp.Channel, queue: str) -> None:
    channel.queue_declare(queue, exclusive=True)
    publish(channel, queue, 'x')
    tag = channel.basic_get(queue).delivery_tag
    channel.basic_ack(tag)
    channel.basic_ack(tag)
    ready(channel, queue)


def two_exclusive_consumers(channel: amqp.Channel, queue: str) -> None:
    channel.queue_declare(queue, exclusive=True)
    channel.basic_consume(queue, exclusive=True)
    channel.basic_consume(queue)


def confirms_and_transactions(channel: amqp.Channel, name: str) -> None:
    channel.confirm_select()
    channel.tx_select()


def transactions_and_confirms(channel: amqp.Channel, name: str) -> None:
    channel.tx_select()
    channel.confirm_select()


CHANNEL_ERRORS: dict[str, tuple[type[amqp.ChannelError], int, str, Use]] = {
    'exchange missing': (
        amqp.NotFound, 404, 'Exchange.declare',
        lambda channel, name: channel.exchange_declare(name, 'direct', passive=True),
    ),
    'exchange reserved': (
        amqp.AccessRefused, 403, 'Exchange.declare',
        lambda channel, name: channel.exchange_declare(f'amq.{name}', 'direct'),
    ),
    'exchange of the broker': (
        amqp.AccessRefused, 403, 'Exchange.delete',
        lambda channel, name: channel.exchange_delete('amq.direct'),
    ),
    'exchange redeclared': (
        amqp.PreconditionFailed, 406, 'Exchange.declare',
        lambda channel, name: channel.exchange_declare('amq.direct', 'fanout', durable=True),
    ),
    'default exchange': (
        amqp.AccessRefused, 403, 'Queue.bind',
        lambda channel, name: channel.queue_bind(channel.queue_declare(exclusive=True).queue, ''),
    ),
    'exchange bind': (
        amqp.NotFound, 404, 'Exchange.bind',
        lambda channel, name: channel.exchange_bind(name, 'amq.direct'),
    ),
    'exchange unbind from the default': (
        amqp.AccessRefused, 403, 'Exchange.unbind',
        lambda channel, name: channel.exchange_unbind('amq.direct', ''),
    ),
    'queue missing': (
        amqp.NotFound, 404, 'Queue.declare',
        lambda channel, name: channel.queue_declare(name, passive=True),
    ),
    'queue reserved': (
        amqp.AccessRefused, 403, 'Queue.declare',
        lambda channel, name: channel.queue_declare(f'amq.{name}'),
    ),
    'queue argument': (
        amqp.PreconditionFailed, 406, 'Queue.declare',
        lambda channel, name: channel.queue_declare(name, arguments={'x-max-length': -1}),
    ),
    'queue bind': (
        amqp.NotFound, 404, 'Queue.bind',
        lambda channel, name: channel.queue_bind(name, 'amq.direct'),
    ),
    'queue purge': (
        amqp.NotFound, 404, 'Queue.purge', lambda channel, name: channel.queue_purge(name)
    ),
    'get': (amqp.NotFound, 404, 'Basic.get', lambda channel, name: channel.basic_get(name)),
    'consume': (
        amqp.NotFound, 404, 'Basic.consume', lambda channel, name: channel.basic_consume(name)
    ),
    'consume exclusively': (amqp.AccessRefused, 403, 'Basic.consume', two_exclusive_consumers),
    'publish': (amqp.NotFound, 404, 'Basic.publish', publish_confirmed),
    'ack twice': (amqp.PreconditionFailed, 406, 'Basic.ack', ack_twice),
    'confirms, then tx': (amqp.PreconditionFailed, 406, 'Tx.select', confirms_and_transactions),
    'tx, then confirms': (
        amqp.PreconditionFailed, 406, 'Confirm.select', transactions_and_confirms
    ),
    'commit without tx': (
        amqp.PreconditionFailed, 406, 'Tx.commit', lambda channel, name: channel.tx_commit()
    ),
    'rollback without tx': (
        amqp.PreconditionFailed, 406, 'Tx.rollback', lambda channel, name: channel.tx_rollback()
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', CHANNEL_ERRORS)
def test_channel_errors(
    connection: amqp.Connection, channel: amqp.Channel, name: str, case: str
) -> None:
    error, code, method, use = CHANNEL_ERRORS[case]
    bystander = connection.channel()
    bystander.queue_declare(exclusive=True)
    with pytest.raises(error) as caught:
        use(channel, name)
    assert (caught.value.reply_code, caught.value.method_name) == (code, method)
    assert caught.value.reply_text
    assert isinstance(caught.value, connection.channel_errors)
    # The other channel has not noticed, and this one works on.
    assert bystander.is_open
    assert bystander.queue_delete() == 0
    assert channel.queue_declare(exclusive=True)


def send(
    channel: amqp.Channel, method: tuple[int, int], arguments: bytes, channel_id: int | None = None
) -> None:
    """Send what no method of ours would."""
    connection = channel.connection
    number = channel.channel_id if channel_id is None else channel_id
    connection.frame_writer(spec.FRAME_METHOD, number, method, arguments, None)
    connection.drain_events(timeout=PATIENCE)


def same_tag_twice(channel: amqp.Channel, queue: str) -> None:
    channel.queue_declare(queue, exclusive=True)
    channel.basic_consume(queue, 'tag')
    channel.callbacks.clear()  # or it would be refused before it is sent
    channel.basic_consume(queue, 'tag')


def immediate(channel: amqp.Channel, name: str) -> None:
    channel.basic_publish_confirm(amqp.Message('x'), immediate=True)


class Nonsense(amqp.Message):
    """A message with a header of a type that there is not."""

    def _serialize_properties(self) -> bytes:
        return b'\x20\x00' + b'\x00\x00\x00\x03\x01a?'


def nonsense_in_headers(channel: amqp.Channel, name: str) -> None:
    channel.exchange_declare(name, 'headers')
    channel.queue_bind(channel.queue_declare(exclusive=True).queue, name)
    channel.basic_publish_confirm(Nonsense('x'), name)


def raw(data: bytes) -> Use:
    def write(channel: amqp.Channel, name: str) -> None:
        channel.connection.transport.write(data)
        channel.connection.drain_events(timeout=PATIENCE)

    return write


CONNECTION_ERRORS: dict[str, tuple[type[amqp.ConnectionError], int, Use]] = {
    'a frame without its end': (amqp.FrameError, 501, raw(b'\x01\x00\x01\x00\x00\x00\x01a!')),
    'arguments cut short': (
        amqp.FrameError, 501,
        lambda channel, name: send(channel, spec.Queue.Declare, b'\x00'),
    ),
    'a frame above frame_max': (
        amqp.FrameError, 501,
        lambda channel, name: raw(b'\x01\x00\x01' + (131_073).to_bytes(4, 'big'))(channel, name),
    ),
    'a method that is not for brokers': (
        amqp.InvalidCommand, 503, lambda channel, name: send(channel, spec.Basic.QosOk, b'')
    ),
    'a channel that is not open': (
        amqp.ChannelNotOpen, 504, lambda channel, name: send(channel, spec.Tx.Select, b'', 99)
    ),
    'a body without its method': (
        amqp.UnexpectedFrame, 505, raw(b'\x03\x00\x01\x00\x00\x00\x01a\xce')
    ),
    'a consumer tag in use': (amqp.NotAllowed, 530, same_tag_twice),
    'publish immediate': (amqp.AMQPNotImplementedError, 540, immediate),
    'flow': (amqp.AMQPNotImplementedError, 540, lambda channel, name: channel.flow(False)),
    'prefetch size': (
        amqp.AMQPNotImplementedError, 540,
        lambda channel, name: channel.basic_qos(1, 0, False),
    ),
    'recover without requeue': (
        amqp.AMQPNotImplementedError, 540,
        lambda channel, name: channel.basic_recover(requeue=False),
    ),
    'a method that channel 0 has not': (
        amqp.ChannelNotOpen, 504, lambda channel, name: send(channel, spec.Tx.Select, b'', 0)
    ),
    'headers of an unknown type': (amqp.InternalError, 541, nonsense_in_headers),
}  # fmt: skip


@pytest.mark.parametrize('case', CONNECTION_ERRORS)
def test_connection_errors(
    connect: Connect, connection: amqp.Connection, channel: amqp.Channel, name: str, case: str
) -> None:
    error, code, use = CONNECTION_ERRORS[case]
    with pytest.raises(error) as caught:
        use(channel, name)
    assert caught.value.reply_code == code
    assert caught.value.reply_text
    assert isinstance(caught.value, connection.connection_errors)
    # All is over with this connection, and it says why.
    assert not connection.connected
    assert channel.connection is None
    with pytest.raises(amqp.RecoverableConnectionError) as after:
        connection.channel()
    assert type(after.value.__cause__) is error
    assert connect().channel().is_open
