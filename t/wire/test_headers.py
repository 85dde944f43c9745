"""Tables as another implementation encodes them, inside messages: nothing gets out of step."""

from __future__ import annotations

import datetime
import decimal
import struct

import pytest
from pamqp import commands, decode, encode

from amqp import Message
from t.helpers.peer import BODY, HEADER, marshal, raw_frame

from .support import SOON

UTC = datetime.timezone.utc

TABLES = [
    {},
    {'empty': {}, 'list': []},
    {'bool': True, 'none': None, 'no': False},
    {'zero': 0, 'small': 1, 'octet': 127, 'word': 32_767, 'neg': -32_768},
    {'int': 2**31 - 1, 'neg': -(2**31), 'long': 2**40, 'most': 2**63 - 1, 'least': -(2**63)},
    {'float': 1.5, 'text': 'grüß', 'long text': 'x' * 3000, '': 'no key'},
    {'deep': {'a': [1, {'b': [True, None, {'c': 'd'}]}]}},
    {'when': datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)},
    {'x-death': [{'count': 1, 'reason': 'expired', 'queue': 'q', 'routing-keys': ['a', 'b']}]},
]


NEGATIVE_OCTET = {'minus': -1, 'least': -128}


def pamqp_encodes(value):
    try:
        return bool(encode.encode_table_value(value))
    except struct.error:
        return False


# pamqp's releases for Python 3.10 pack the octet of type b, and read the digits of a decimal, as
# unsigned. Their octets are tested in any case: below, and in the unit tests of serialization.
SIGNED_OCTETS = pytest.mark.skipif(
    not pamqp_encodes(-1), reason='this pamqp packs the signed octet as an unsigned one'
)
READS_SIGNED_DECIMALS = decode.decimal(b'\x01\xff\xff\xff\xfb')[1] == decimal.Decimal('-0.5')


@pytest.fixture
def consumer(peer, connect):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    return connection, channel, got


@pytest.mark.parametrize('table', [*TABLES, pytest.param(NEGATIVE_OCTET, marks=SIGNED_OCTETS)])
def test_headers_received(peer, consumer, table):
    connection, _, got = consumer
    properties = commands.Basic.Properties(headers=table, priority=7, app_id='after')
    peer.wire().deliver(1, body=b'body', properties=properties)
    connection.drain_events(timeout=SOON)
    [message] = got
    received = dict(message.headers)
    if 'when' in received:
        received['when'] = received['when'].replace(tzinfo=UTC)
    assert received == table
    assert message.properties['priority'] == 7
    assert message.properties['app_id'] == 'after'
    assert message.body == b'body'


@pytest.mark.parametrize('table', [*TABLES, NEGATIVE_OCTET])
def test_headers_sent(peer, consumer, table):
    _, channel, _ = consumer
    channel.basic_publish(
        Message('body', application_headers=table, priority=7, app_id='after'), routing_key='q'
    )
    properties = peer.wire().messages(1)[0].header.properties
    assert properties.headers == table
    assert properties.priority == 7
    assert properties.app_id == 'after'


def test_decimals_sent(peer, consumer):
    _, channel, _ = consumer
    table = {'plus': decimal.Decimal('3.14')}
    if READS_SIGNED_DECIMALS:
        table['minus'] = decimal.Decimal('-0.5')
    channel.basic_publish(Message('x', application_headers=table), routing_key='q')
    headers = peer.wire().messages(1)[0].header.properties.headers
    assert headers == table


@pytest.mark.parametrize(
    ('tag', 'octets', 'value'),
    [
        (b't', b'\x01', True),
        (b'b', b'\xff', -1),
        (b'B', b'\xff', 255),
        (b's', b'\xff\xfe', -2),
        (b'u', b'\xff\xfe', 65_534),
        (b'I', b'\xff\xff\xff\xff', -1),
        (b'i', b'\xff\xff\xff\xff', 2**32 - 1),
        (b'l', b'\xff' * 8, -1),
        (b'L', b'\xff' * 8, -1),
        (b'f', b'\x3f\xc0\x00\x00', 1.5),
        (b'd', b'\x3f\xf8' + b'\0' * 6, 1.5),
        (b'D', b'\x02\x00\x00\x00\x9b', decimal.Decimal('1.55')),
        (b'D', b'\x01\xff\xff\xff\xff', decimal.Decimal('-0.1')),
        (b'S', b'\x00\x00\x00\x02ab', 'ab'),
        (b'S', b'\x00\x00\x00\x01\xff', b'\xff'),
        (b'x', b'\x00\x00\x00\x02ab', b'ab'),
        (b'V', b'', None),
        (b'F', b'\x00\x00\x00\x00', {}),
        (b'A', b'\x00\x00\x00\x02t\x01', [True]),
    ],
)
def test_each_type_of_rabbitmq_is_in_step(peer, consumer, tag, octets, value):
    """What follows the value in the table, and the table in the message, comes out right."""
    connection, _, got = consumer
    table = b'\x01k' + tag + octets + b'\x05aftert\x01'
    properties = struct.pack('>I', len(table)) + table + b'\x05'
    header = b'\x00\x3c\x00\x00' + struct.pack('>Q', 4) + b'\x28\x00' + properties
    peer.wire().send_raw(
        marshal(1, commands.Basic.Deliver('tag', 1, False, '', 'k')),
        raw_frame(HEADER, 1, header),
        raw_frame(BODY, 1, b'body'),
    )
    connection.drain_events(timeout=SOON)
    [message] = got
    assert message.headers == {'k': value, 'after': True}
    assert type(message.headers['k']) is type(value)
    assert message.properties['priority'] == 5
    assert message.body == b'body'
