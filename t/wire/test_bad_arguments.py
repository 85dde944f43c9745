"""What can't be put on the wire is refused by name before a byte is sent, and harms nothing."""

from __future__ import annotations

import datetime
import decimal
import inspect

import pytest
from pamqp import commands

import amqp
from amqp import Message

LONG = 'x' * 256
LONE_TABLE = {'key': object()}

#: Method, keyword arguments that are fine, and for each argument values that aren't.
METHODS = {
    'exchange_declare': (
        {'exchange': 'e', 'type': 'direct'},
        {'exchange': 's', 'type': 's', 'arguments': 'F'},
    ),
    'exchange_delete': ({'exchange': 'e'}, {'exchange': 's'}),
    'exchange_bind': (
        {'destination': 'd'},
        {'destination': 's', 'source': 's', 'routing_key': 's', 'arguments': 'F'},
    ),
    'exchange_unbind': (
        {'destination': 'd'},
        {'destination': 's', 'source': 's', 'routing_key': 's', 'arguments': 'F'},
    ),
    'queue_declare': ({}, {'queue': 's', 'arguments': 'F'}),
    'queue_bind': (
        {'queue': 'q'},
        {'queue': 's', 'exchange': 's', 'routing_key': 's', 'arguments': 'F'},
    ),
    'queue_unbind': (
        {'queue': 'q', 'exchange': 'e'},
        {'queue': 's', 'exchange': 's', 'routing_key': 's', 'arguments': 'F'},
    ),
    'queue_purge': ({}, {'queue': 's'}),
    'queue_delete': ({}, {'queue': 's'}),
    'basic_qos': (
        {'prefetch_size': 0, 'prefetch_count': 1, 'a_global': False},
        {'prefetch_size': 'l', 'prefetch_count': 'B'},
    ),
    'basic_consume': ({'queue': 'q'}, {'queue': 's', 'consumer_tag': 's', 'arguments': 'F'}),
    'basic_cancel': ({'consumer_tag': 't'}, {'consumer_tag': 's'}),
    'basic_get': ({}, {'queue': 's'}),
    'basic_ack': ({'delivery_tag': 1}, {'delivery_tag': 'L'}),
    'basic_nack': ({'delivery_tag': 1}, {'delivery_tag': 'L'}),
    'basic_reject': ({'delivery_tag': 1, 'requeue': True}, {'delivery_tag': 'L'}),
    'basic_publish': ({'msg': Message('x')}, {'exchange': 's', 'routing_key': 's'}),
    'basic_publish_confirm': ({'msg': Message('x')}, {'exchange': 's', 'routing_key': 's'}),
}
WRONG = {
    's': [LONG, 'é' * 128, 5, object(), ['q']],
    'F': [LONE_TABLE, {'k': 2**64}, {LONG: 1}, {'k': float('nan')}, {'k': {'l': [object()]}}, [1]],
    'l': [-1, 2**32, 'x', 1.5, None],
    'B': [-1, 2**16, 'x', 1.5, None],
    'L': [-1, 2**64, 'x', 1.5, None],
}
CASES = [
    pytest.param(name, argument, value, id=f'{name}-{argument}-{number}')
    for name, (_, arguments) in METHODS.items()
    for argument, letter in arguments.items()
    for number, value in enumerate(WRONG[letter])
]


@pytest.fixture
def open_channel(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.confirm_select()
    return connection, channel, peer.wire()


@pytest.mark.parametrize(('name', 'argument', 'value'), CASES)
def test_wrong_argument(open_channel, name, argument, value):
    connection, channel, _ = open_channel
    fine, _ = METHODS[name]
    sent = connection.bytes_sent
    with pytest.raises(amqp.EncodeError) as caught:
        getattr(channel, name)(**{**fine, argument: value})
    assert isinstance(caught.value, ValueError)
    told = argument.removeprefix('a_')
    assert f'argument {told!r}' in str(caught.value)
    assert connection.bytes_sent == sent, 'bytes left before the check'
    assert not channel.callbacks
    assert channel.queue_purge('q') == 0
    assert connection.connected


def test_every_method_with_arguments_is_covered():
    takes = {
        name
        for name, member in inspect.getmembers(amqp.Channel, inspect.isfunction)
        if 'argsig' in inspect.signature(member).parameters and not name.startswith('_')
    }
    assert takes - {'close'} == set(METHODS)


@pytest.mark.parametrize(
    ('properties', 'named'),
    [
        ({'content_type': LONG}, 'content_type'),
        ({'priority': 256}, 'priority'),
        ({'priority': -1}, 'priority'),
        ({'priority': 'high'}, 'priority'),
        ({'delivery_mode': 'x'}, 'delivery_mode'),
        ({'timestamp': -1}, 'timestamp'),
        ({'timestamp': 2**64}, 'timestamp'),
        ({'expiration': 5.5}, 'expiration'),
        ({'correlation_id': object()}, 'correlation_id'),
        ({'application_headers': {'deep': {'inner': object()}}}, 'inner'),
        ({'application_headers': {'list': [1, object()]}}, 'list'),
        ({'application_headers': {'big': 2**63}}, 'big'),
        ({'application_headers': {'inf': float('inf')}}, 'inf'),
        ({'application_headers': {'dec': decimal.Decimal('NaN')}}, 'dec'),
        ({'application_headers': {LONG: 1}}, 'x' * 20),
        ({'application_headers': 'text'}, 'application_headers'),
    ],
)
def test_wrong_property(open_channel, properties, named):
    connection, channel, wire = open_channel
    sent = connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match=named):
        channel.basic_publish(Message('x', **properties), routing_key='q')
    assert connection.bytes_sent == sent
    channel.basic_publish(Message('fine'), routing_key='q')
    assert [message.body for message in wire.messages(1)] == [b'fine']


@pytest.mark.parametrize('message', [None, 'text', b'bytes', 5, {'body': 'x'}])
def test_message_of_another_type(open_channel, message):
    connection, channel, _ = open_channel
    sent = connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match='msg'):
        channel.basic_publish(message, routing_key='q')
    assert connection.bytes_sent == sent


@pytest.mark.parametrize('body', [5, ['x'], object(), {'a': 1}])
def test_body_of_another_type(open_channel, body):
    connection, channel, wire = open_channel
    sent = connection.bytes_sent
    with pytest.raises(amqp.EncodeError, match='body'):
        channel.basic_publish(Message(body), routing_key='q')
    assert connection.bytes_sent == sent
    channel.basic_publish(Message('fine'), routing_key='q')
    assert [message.body for message in wire.messages(1)] == [b'fine']


def test_body_that_its_encoding_cannot_express(open_channel):
    connection, channel, _ = open_channel
    sent = connection.bytes_sent
    with pytest.raises((amqp.EncodeError, ValueError)):
        channel.basic_publish(Message('é', content_encoding='ascii'), routing_key='q')
    assert connection.bytes_sent == sent
    assert channel.queue_purge('q') == 0


@pytest.mark.parametrize('length', [254, 255])
def test_longest_strings_are_fine(open_channel, length):
    _, channel, wire = open_channel
    name = 'q' * length
    channel.queue_declare(name, arguments={'k' * length: 'v'})
    [declare] = wire.seen(commands.Queue.Declare)
    assert declare.queue == name
    assert declare.arguments == {'k' * length: 'v'}


def test_values_at_the_limits_are_fine(open_channel):
    _, channel, wire = open_channel
    table = {
        'i': 2**31 - 1,
        'j': -(2**31),
        'l': 2**63 - 1,
        'm': -(2**63),
        'n': None,
        't': True,
        'd': decimal.Decimal('1.55'),
        'T': datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        'A': [1, 'a', {'b': 2}],
    }
    channel.queue_declare('q', arguments=table)
    declare = wire.seen(commands.Queue.Declare)[0]
    assert declare.arguments == table
    channel.basic_ack(2**64 - 1)
    wire.seen(commands.Basic.Ack)
    assert b'\x00\x3c\x00\x50' + b'\xff' * 8 + b'\x00\xce' in wire.received_bytes
    channel.basic_qos(0, 65_535, False)
    assert wire.seen(commands.Basic.Qos)[0].prefetch_count == 65_535


def test_arguments_none_are_an_empty_table(open_channel):
    _, channel, wire = open_channel
    channel.queue_declare('q', arguments=None)
    assert wire.seen(commands.Queue.Declare)[0].arguments == {}


def test_properties_none_are_left_out(open_channel):
    _, channel, wire = open_channel
    channel.basic_publish(Message('x', priority=None, content_type=None, reply_to='r'))
    properties = wire.messages(1)[0].header.properties
    assert properties.priority is None
    assert properties.reply_to == 'r'


def test_wrong_arguments_of_the_connection(open_channel):
    connection, channel, _ = open_channel
    with pytest.raises(amqp.EncodeError, match='reason'):
        connection.update_secret('secret', LONG)
    with pytest.raises(amqp.EncodeError, match='reply_text'):
        channel.close(reply_text=LONG)
    with pytest.raises(amqp.AMQPError):
        connection.channel(70_000)
    with pytest.raises(amqp.AMQPError):
        connection.channel(-1)
    assert connection.connected


@pytest.mark.parametrize('text', [LONG, 5])
def test_refused_close_of_the_connection_does_nothing(peer, connect, text):
    peer.serve()
    connection = connect()
    with pytest.raises(amqp.EncodeError):
        connection.close(reply_text=text)
    assert connection.connected
    connection.close()
    assert not connection.connected
