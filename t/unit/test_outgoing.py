"""What is sent in one run: octet for octet what the writer of frames sends step by step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amqp
from amqp import spec
from amqp.basic_message import Message
from amqp.exceptions import EncodeError
from amqp.method_framing import frame_writer
from amqp.outgoing import encode_publish, encode_settlement
from amqp.serialization import dumps

SETTLEMENTS = (spec.Basic.Ack, spec.Basic.Reject)


def step_by_step(frame_max, channel, sig, letters, args, content=None):
    """The octets that the writer of frames sends, or the error that it raises."""
    sent = []
    transport = SimpleNamespace(write_all=lambda parts, deadline: sent.extend(parts))
    writer = frame_writer(SimpleNamespace(frame_max=frame_max), transport)
    try:
        writer(spec.FRAME_METHOD, channel, sig, dumps(letters, args), content)
    except EncodeError as exc:
        return exc
    return b''.join(sent)


def published(channel, message, exchange, routing_key, flags, frame_max):
    args = (0, exchange, routing_key, bool(flags & 1), bool(flags & 2))
    return step_by_step(frame_max, channel, spec.Basic.Publish, 'Bssbb', args, message)


class Shouting(Message):
    """Has a body of its own."""

    def encoded_body(self):
        return super().encoded_body().tobytes().upper() if self.body else b'?'


class Stamped(Message):
    """Has properties of its own."""

    def _serialize_properties(self):
        self.properties = {**self.properties, 'type': 'stamped'}
        return super()._serialize_properties()


class Plain(Message):
    """Adds nothing."""


names = st.one_of(
    st.none(),
    st.text(max_size=80),
    st.binary(max_size=80),
    st.sampled_from(['x' * 255, 'x' * 256, b'\xff' * 255, b'\xff' * 256, '\ud800', 5, 1.5, []]),
)
octets = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda size: b'b' * size,
        st.sampled_from([0, 1, 4087, 4088, 4089, 8184, 8185, 32767, 32768, 32769, 40960, 131065]),
    ),
)
bodies = st.one_of(
    octets,
    octets.map(bytearray),
    octets.map(memoryview),
    st.text(max_size=100),
    st.sampled_from([None, 5, object, '\ud800']),
    st.builds(lambda: memoryview(b'abcdef').cast('H')),
)
properties = st.fixed_dictionaries(
    {},
    optional={
        'content_type': st.text(max_size=40),
        'content_encoding': st.sampled_from(
            [None, 'utf-8', 'latin-1', 'utf-16', 'ascii', 'base64', 'no such', 5]
        ),
        'application_headers': st.one_of(
            st.none(),
            st.dictionaries(
                st.text(max_size=8),
                st.sampled_from([1, 'text', None, True, [1, 'x'], {'k': 2.5}, b'x' * 5000, object]),
                max_size=4,
            ),
        ),
        'delivery_mode': st.sampled_from([1, 2, 256, 'two']),
        'correlation_id': st.sampled_from(['id', 'i' * 255, 'i' * 256]),
        'reply_to': names,
        'timestamp': st.integers(-1, 2**64),
        'unknown': st.just(object),
    },
)


@given(
    cls=st.sampled_from([Message, Plain, Stamped]),
    body=bodies,
    properties=properties,
    exchange=names,
    routing_key=names,
    flags=st.integers(0, 3),
    channel=st.sampled_from([1, 255, 256, 65535]),
    frame_max=st.sampled_from([0, 4096, 8192, 131072]),
)
def test_a_message_is_the_same_or_takes_a_closer_look(
    cls, body, properties, exchange, routing_key, flags, channel, frame_max
):
    rest = (exchange, routing_key, flags, frame_max)
    expected = published(channel, cls(body, **properties), *rest)
    message = cls(body, **properties)
    parts = encode_publish(channel, message, *rest)
    if isinstance(expected, EncodeError):
        assert parts is None
    elif parts is None:
        assert frame_max
        assert len(message.encoded_body()) + spec.FRAME_OVERHEAD > frame_max
    else:
        assert b''.join(parts) == expected
        # Again: nothing of the message was used up.
        assert b''.join(encode_publish(channel, message, *rest)) == expected


@pytest.mark.parametrize('frame_max', [0, 4096, 8192, 131072])
@pytest.mark.parametrize('over', [-1, 0, 1])
def test_a_body_at_the_limit_of_a_frame(frame_max, over):
    message = Message(b'b' * ((frame_max or 300_000) - spec.FRAME_OVERHEAD + over))
    parts = encode_publish(1, message, 'e', 'k', 0, frame_max)
    if frame_max and over > 0:
        assert parts is None
    else:
        assert b''.join(parts) == published(1, message, 'e', 'k', 0, frame_max)


def test_a_large_body_is_not_copied():
    body = b'b' * 100_000
    _, part, _ = encode_publish(1, Message(body), 'e', 'k', 0, 131072)
    assert part is body
    assert len(encode_publish(1, Message(body[:32768]), 'e', 'k', 0, 131072)) == 1
    assert len(encode_publish(1, Message(b''), 'e', 'k', 0, 131072)) == 1


def test_a_body_of_its_own():
    message = Shouting(memoryview(b'quiet'))
    octets = b''.join(encode_publish(1, message, 'e', 'k', 0, 0))
    assert b'QUIET' in octets
    assert octets == published(1, message, 'e', 'k', 0, 0)


@pytest.mark.parametrize('decoded', [False, True])
def test_a_received_message_goes_on_as_it_came(decoded):
    message = Message(frame_method=spec.Basic.Deliver, frame_args=b'')
    original = Message(b'body', content_type='text/plain', application_headers={'k': [1, 'x']})
    header = b'\x00\x3c\x00\x00' + (4).to_bytes(8, 'big') + original._serialize_properties()
    message.inbound_header(header)
    message.inbound_body(b'body')
    if decoded:
        message.decode_body()
        assert message.properties['content_type'] == 'text/plain'
    octets = b''.join(encode_publish(1, message, 'e', 'k', 0, 0))
    assert octets == published(1, original, 'e', 'k', 0, 0)


@pytest.mark.parametrize('error', [KeyError('mine'), KeyboardInterrupt()])
def test_what_a_message_raises_by_itself_is_raised(error):
    class Wrong(Message):
        def encoded_body(self):
            raise error

    with pytest.raises(type(error)):
        encode_publish(1, Wrong(b''), 'e', 'k', 0, 0)


@pytest.mark.parametrize('message', [None, 'text', b'octets', 5, object()])
def test_what_is_no_message(message):
    with pytest.raises((TypeError, AttributeError)):
        encode_publish(1, message, 'e', 'k', 0, 0)


tags = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, True, False]),
)


@given(st.sampled_from([1, 256, 65535]), st.sampled_from(SETTLEMENTS), tags, st.booleans())
def test_a_settlement_is_the_same(channel, sig, tag, flag):
    expected = step_by_step(0, channel, sig, 'Lb', (tag, flag))
    assert encode_settlement(channel, sig, tag, int(flag)) == expected


class Indexed:
    def __index__(self):
        return 5


class WrongIndex:
    def __index__(self):
        raise KeyError('mine')


@pytest.mark.parametrize(
    'tag', [-1, -(2**63), 2**64, 2**100, 1.0, 1.5, '1', b'1', None, [], Indexed(), WrongIndex()]
)
def test_a_tag_that_takes_a_closer_look(tag):
    assert encode_settlement(1, spec.Basic.Ack, tag, 0) is None


# -- on a channel: what can't be sent is told, and nothing is sent

BAD = {
    "argument 'exchange'": (Message(b''), 'x' * 256, 'k'),
    "argument 'routing_key'": (Message(b''), 'e', 'x' * 256),
    "argument 'msg'": ('text', 'e', 'k'),
    'body': (Message(5), 'e', 'k'),
    "body: content_encoding 'ascii'": (Message('é', content_encoding='ascii'), 'e', 'k'),
    'correlation_id': (Message(b'', correlation_id='i' * 256), 'e', 'k'),
    'frame_max 4096': (Message(b'', application_headers={'k': 'x' * 5000}), 'e', 'k'),
}


@pytest.mark.parametrize('text', BAD)
@pytest.mark.parametrize('confirming', [False, True])
def test_what_cannot_be_sent_is_named(peer, connect, text, confirming):
    peer.serve(handshake={'frame_max': 4096})
    connection = connect()
    channel = connection.channel()
    if confirming:
        channel.confirm_select()
    channel.basic_publish(Message(b'first'), '', 'k')
    before = connection.bytes_sent
    with pytest.raises(EncodeError) as caught:
        channel.basic_publish(*BAD[text])
    assert text in str(caught.value)
    assert connection.bytes_sent == before
    channel.basic_publish(Message(b'last'), '', 'k')
    assert [message.body for message in peer.wire().messages(2)] == [b'first', b'last']
    if confirming:
        assert channel.basic_publish_confirm(Message(b'sure'), '', 'k') is None


@pytest.mark.parametrize('tag', [-1, 2**64, 1.5, '1', None])
@pytest.mark.parametrize('name', ['basic_ack', 'basic_reject'])
def test_a_tag_that_cannot_be_sent_is_named(peer, connect, name, tag):
    peer.serve()
    connection = connect()
    channel = connection.channel()
    before = connection.bytes_sent
    with pytest.raises(EncodeError, match='delivery_tag'):
        getattr(channel, name)(tag, False)
    assert connection.bytes_sent == before
    getattr(channel, name)(True, False)  # as ever, a bool is a number
    assert channel.queue_purge('q') == 0


def test_what_the_short_way_sends_is_what_the_long_way_sends(peer, connect):
    """The same calls on a connection with its own writer and on one with a caller's."""
    streams = []
    for number in range(2):
        peer.serve()
        options = {}
        if number:
            options['frame_writer'] = lambda connection, transport: (
                lambda *frame: amqp.method_framing.frame_writer(connection, transport)(*frame)
            )
        connection = connect(**options)
        channel = connection.channel()
        assert (connection._own_writer is None) == bool(number)
        for size in (0, 1, 5000, 40_000, 131_064, 131_065, 300_000):
            channel.basic_publish(Message(b'b' * size, priority=3), 'e', 'k')
            channel.basic_publish(Message('ü' * (size // 2)), 'e', 'k', mandatory=True)
        channel.basic_ack(5, multiple=True)
        channel.basic_reject(2**64 - 1, requeue=True)
        channel.basic_nack(7)
        assert channel.queue_purge('q') == 0
        wire = peer.wire(number)
        start = wire.received_bytes.index(b'\x00\x14\x00\x0a')  # channel.open
        streams.append(bytes(wire.received_bytes[start:]))
    assert streams[0] == streams[1]
