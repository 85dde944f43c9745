"""Messages: bodies in and out, properties; each way through the real codec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp import spec
from amqp.basic_message import Message
from amqp.exceptions import EncodeError


def through(message):
    """The message as the other side takes it in."""
    body = bytes(message.encoded_body())
    properties = message._serialize_properties()
    received = Message(frame_method=spec.Basic.Deliver, frame_args=b'')
    header = b'\x00\x3c\x00\x00' + len(body).to_bytes(8, 'big') + properties
    assert received.inbound_header(header) == len(header)
    middle = len(body) // 2
    for part in (body[:middle], body[middle:]):
        if part:
            received.inbound_body(part)
    assert received.ready
    return received


PROPERTIES = {
    'content_type': 'text/plain',
    'content_encoding': 'utf-8',
    'application_headers': {'a': 1, 'nested': {'list': [1, 'x', None]}},
    'delivery_mode': 2,
    'priority': 9,
    'correlation_id': 'c',
    'reply_to': 'amq.rabbitmq.reply-to',
    'expiration': '60000',
    'message_id': 'm',
    'timestamp': 1_700_000_000,
    'type': 't',
    'user_id': 'guest',
    'app_id': 'app',
    'cluster_id': 'cluster',
}


def test_every_property_travels():
    assert through(Message(b'x', **PROPERTIES)).properties == PROPERTIES
    assert [name for name, _ in Message.PROPERTIES] == list(PROPERTIES)


@pytest.mark.parametrize('name', PROPERTIES)
def test_each_property_by_itself(name):
    received = through(Message(b'', **{name: PROPERTIES[name]}))
    assert received.properties == {name: PROPERTIES[name]}
    assert getattr(received, name) == PROPERTIES[name]


def test_none_leaves_a_property_out_and_unknown_names_stay_here():
    message = Message(b'', content_type=None, priority=0, my_own='x')
    assert message.my_own == 'x'
    assert through(message).properties == {'priority': 0}


def test_what_a_new_message_is():
    message = Message()
    assert (message.body, message.channel, message.delivery_info) == ('', None, None)
    assert (message.properties, message.headers, message.delivery_tag) == ({}, None, None)
    assert message.frame_method is message.frame_args is None
    assert not message.ready
    with pytest.raises(AttributeError, match='content_type'):
        message.content_type  # noqa: B018


def test_positional_arguments():
    channel = object()
    message = Message(b'body', None, channel, (60, 60), b'args', priority=3)
    assert (message.body, message.channel) == (b'body', channel)
    assert (message.frame_method, message.frame_args) == ((60, 60), b'args')


def test_headers_and_delivery_tag():
    message = Message(application_headers={'a': 1})
    message.delivery_info = {'delivery_tag': 7}
    assert (message.headers, message.delivery_tag) == ({'a': 1}, 7)
    assert 'content_type' not in message.properties


@pytest.mark.parametrize(
    'body', [b'abc', bytearray(b'abc'), memoryview(b'abc'), memoryview(b'xabcx')[1:4]]
)
def test_octets_are_sent_as_they_are(body):
    message = Message(body)
    assert bytes(message.encoded_body()) == b'abc'
    assert 'content_encoding' not in message.properties


def test_wide_items_are_counted_in_octets():
    body = memoryview(bytes(8)).cast('I')
    assert len(Message(body).encoded_body()) == 8


def test_bytes_are_not_copied():
    body = bytes(1000)
    assert Message(body).encoded_body() is body
    body = bytearray(1000)
    assert Message(body).encoded_body().obj is body


@pytest.mark.parametrize(
    ('encoding', 'octets'),
    [(None, 'é€'.encode()), ('utf-8', 'é€'.encode()), ('utf-16-le', 'é€'.encode('utf-16-le'))],
)
def test_text_is_encoded(encoding, octets):
    message = Message('é€', content_encoding=encoding)
    assert message.encoded_body() == octets
    assert message.properties['content_encoding'] == (encoding or 'utf-8')
    received = through(message)
    received.decode_body()
    assert received.body == 'é€'


def test_lone_surrogates_travel():
    received = through(Message('\ud800'))
    received.decode_body()
    assert received.body == '\ud800'


@pytest.mark.parametrize('encoding', ['ascii', 'binary', 'no such', 5, 'a\0b'])
def test_text_that_cannot_be_encoded(encoding):
    with pytest.raises(EncodeError, match='body: content_encoding') as caught:
        Message('é', content_encoding=encoding).encoded_body()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize('body', [5, None, ['x'], {'a': 1}, object()])
def test_a_body_that_is_none(body):
    with pytest.raises(EncodeError, match='neither bytes nor str'):
        Message(body).encoded_body()


@pytest.mark.parametrize('encoding', [None, '', 'binary', 'gzip', 'hex', 'ascii', b'x', 5])
def test_a_body_that_does_not_say_how_stays_bytes(encoding):
    message = Message(b'\xff\xfe')
    if encoding is not None:
        message.properties['content_encoding'] = encoding
    message.decode_body()
    assert message.body == b'\xff\xfe'


@given(body=st.binary(max_size=300), encoding=st.sampled_from(['utf-8', 'latin-1', 'utf-16']))
def test_decoding_never_raises(body, encoding):
    message = Message(body, content_encoding=encoding)
    message.decode_body()
    assert isinstance(message.body, (bytes, str))


@given(text=st.text(max_size=200))
def test_any_text_travels(text):
    received = through(Message(text))
    received.decode_body()
    assert received.body == text
