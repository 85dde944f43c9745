"""All frames of a method and its content in one step: as frame by frame, or not at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp.assembly import next_method, take_arguments, take_message
from amqp.method_framing import frame_handler
from amqp.read_buffer import ReadBuffer
from amqp.serialization import dumps, encode_properties, loads
from amqp.spec import Basic, Queue

FRAME_MAX = 4096
LIMIT = 2**40
HEADERS = {'content_type': 'text', 'application_headers': {'a': [1, None]}, 'timestamp': 5}


def frame(kind, channel, payload, end=206):
    return struct.pack('>BHI', kind, channel, len(payload)) + payload + bytes([end])


def method(tag='tag', delivery_tag=7, exchange='x', routing_key='key', redelivered=True):
    return struct.pack('>HH', *Basic.Deliver) + dumps(
        'sLbss', (tag, delivery_tag, redelivered, exchange, routing_key)
    )


def header(size, properties=b'\x00\x00', class_id=60, weight=0):
    return struct.pack('>HHQ', class_id, weight, size) + properties


def delivery(body=b'body', properties=None, channel=3, **arguments):
    octets = encode_properties(properties or {})
    frames = [
        frame(1, channel, method(**arguments)),
        frame(2, channel, header(len(body), octets)),
    ]
    return b''.join(frames) + (frame(3, channel, body) if body else b'')


def get_ok(body=b'body', properties=None, channel=3, exchange='x', routing_key='key', extra=b''):
    args = dumps('Lbssl', (7, True, exchange, routing_key, 2)) + extra
    frames = [
        frame(1, channel, struct.pack('>HH', *Basic.GetOk) + args),
        frame(2, channel, header(len(body), encode_properties(properties or {}))),
    ]
    return b''.join(frames) + (frame(3, channel, body) if body else b'')


def holding(stream, frame_max=FRAME_MAX):
    buffer = ReadBuffer(frame_max)
    while stream:
        space = buffer.space()
        piece = stream[: len(space)]
        space[: len(piece)] = piece
        buffer.received(len(piece))
        stream = stream[len(piece) :]
    return buffer


def rest(buffer):
    return bytes(buffer.data[buffer.start : buffer.end])


class Connection:
    """What frames are taken in for."""

    max_message_size = LIMIT
    channels = dict.fromkeys(range(65536))


def frame_by_frame(buffer):
    """The first method with its content, as it is read otherwise; None if it isn't there."""
    found = []
    handle = frame_handler(Connection(), lambda *args: found.append(args))
    while not found:
        one = buffer.next_frame()
        if one is None:
            return None
        handle(one)
    return found[0]


def attributes(message):
    return (
        message.frame_method,
        message.frame_args,
        message.body,
        message.body_size,
        message.body_received,
        message.header_received,
        message.ready,
        repr(message.properties),
        message.channel,
    )


def same_as_frame_by_frame(stream):
    """Take a message both ways; whether it was taken in one step."""
    buffer, other = holding(stream), holding(stream)
    message = take_message(buffer, LIMIT)
    if message is None:
        assert rest(buffer) == stream
        assert buffer.frames_read == 0
        return False
    channel, sig, payload, expected = frame_by_frame(other)
    assert (sig, payload) == (message.frame_method, message.frame_args)
    assert attributes(message) == attributes(expected)
    assert buffer.channel_id == channel
    if sig == Basic.Deliver:
        values, end = loads('sLbss', payload, 4)
        assert end == len(payload)
        assert buffer.consumer_tag == values[0]
        assert message.delivery_tag == values[1]
        assert list(message.delivery_info.values()) == values
    else:
        assert sig == Basic.GetOk
        assert loads('Lbssl', payload, 4)[1] == len(payload)
        assert message.delivery_info is None
    assert rest(buffer) == rest(other)
    assert (buffer.start, buffer.frames_read) == (other.start, other.frames_read)
    assert buffer.messages_read == other.messages_read == 1
    return True


@pytest.mark.parametrize('body', [b'', b'x', b'body' * 1000, bytes(range(256))])
@pytest.mark.parametrize('properties', [{}, HEADERS, {'cluster_id': ''}])
@pytest.mark.parametrize('behind', [b'', b'\x01', delivery()])
def test_a_delivery(body, properties, behind):
    stream = delivery(body, properties)
    buffer = holding(stream + behind)
    message = take_message(buffer, LIMIT)
    assert message.body == body
    assert type(message.body) is bytes
    assert message.properties == properties
    assert message.delivery_info == {
        'consumer_tag': 'tag',
        'delivery_tag': 7,
        'redelivered': True,
        'exchange': 'x',
        'routing_key': 'key',
    }
    assert message.channel is None
    assert (buffer.channel_id, buffer.consumer_tag) == (3, 'tag')
    assert buffer.frames_read == (3 if body else 2)
    assert rest(buffer) == behind
    assert same_as_frame_by_frame(stream + behind)


@pytest.mark.parametrize('body', [b'', b'x', b'body' * 1000])
@pytest.mark.parametrize('properties', [{}, HEADERS])
@pytest.mark.parametrize('names', [('', ''), ('x' * 255, 'ü')])
def test_one_that_was_fetched(body, properties, names):
    stream = get_ok(body, properties, exchange=names[0], routing_key=names[1])
    buffer = holding(stream)
    assert take_message(buffer, LIMIT).body == body
    assert (buffer.channel_id, buffer.consumer_tag) == (3, '')
    assert same_as_frame_by_frame(stream + delivery())


def test_one_that_was_fetched_with_arguments_that_do_not_end_there():
    stream = get_ok()
    size = len(stream)
    for cut in range(size):
        assert not same_as_frame_by_frame(stream[:cut])
    buffer = holding(get_ok(extra=b'\0'))
    assert take_message(buffer, LIMIT) is None
    assert buffer.frames_read == 0


DECLARE_OK = frame(1, 5, struct.pack('>HH', *Queue.DeclareOk) + dumps('sll', ('q', 1, 2)))


@pytest.mark.parametrize('behind', [b'', b'\x01', delivery(), DECLARE_OK])
def test_a_method_without_content(behind):
    buffer = holding(DECLARE_OK + behind)
    class_id, method_id = Queue.DeclareOk
    assert next_method(buffer) == class_id << 16 | method_id
    assert buffer.channel_id == 5
    assert buffer.frames_read == 0
    assert take_arguments(buffer, 'sll') == ('q', 1, 2)
    assert buffer.frames_read == 1
    assert rest(buffer) == behind


def test_a_method_without_arguments():
    buffer = holding(frame(1, 5, struct.pack('>HH', *Queue.BindOk)))
    assert next_method(buffer) == Queue.BindOk[0] << 16 | Queue.BindOk[1]
    assert take_arguments(buffer, '') == ()
    assert not buffer


@pytest.mark.parametrize('letters', ['s', 'sl', 'slll', 'F'])
def test_arguments_that_are_not_in_due_form_are_left_where_they_are(letters):
    buffer = holding(DECLARE_OK)
    assert next_method(buffer)
    assert take_arguments(buffer, letters) is None
    assert rest(buffer) == DECLARE_OK
    assert buffer.frames_read == 0


@pytest.mark.parametrize(
    'stream',
    [
        *(DECLARE_OK[:size] for size in range(len(DECLARE_OK))),
        DECLARE_OK[:-1] + b'\xcd',
        frame(8, 0, b''),
        frame(1, 0, struct.pack('>HH', 10, 60)),
        frame(1, 5, b'\0\x32\0'),
        frame(2, 5, struct.pack('>HH', *Queue.BindOk)),
        struct.pack('>BHI', 1, 5, 2**32 - 1) + DECLARE_OK[7:],
    ],
)
def test_no_method_in_due_form(stream):
    assert next_method(holding(stream)) == 0


def test_a_method_above_frame_max_is_none():
    assert next_method(holding(DECLARE_OK, len(DECLARE_OK)))
    assert next_method(holding(DECLARE_OK, len(DECLARE_OK) - 1)) == 0


def test_one_behind_the_other():
    buffer = holding(b''.join(delivery(b'%d' % each) for each in range(30)))
    bodies = [take_message(buffer, LIMIT).body for _ in range(30)]
    assert bodies == [b'%d' % each for each in range(30)]
    assert take_message(buffer, LIMIT) is None
    assert (buffer.start, buffer.end, bool(buffer)) == (0, 0, False)


@pytest.mark.parametrize('tag', ['', 'x' * 255, 'ü', b'\xff\xfe'])
def test_consumer_tags(tag):
    assert same_as_frame_by_frame(delivery(tag=tag, routing_key='ü', exchange=''))


@pytest.mark.parametrize('tag', [0, 1, 2**32, 2**63, 2**64 - 1])
def test_delivery_tags(tag):
    buffer = holding(delivery(delivery_tag=tag))
    assert take_message(buffer, LIMIT).delivery_tag == tag


def test_any_cut_leaves_it_where_it_is():
    stream = delivery(properties=HEADERS)
    for size in range(len(stream)):
        assert not same_as_frame_by_frame(stream[:size])


METHOD, HEADER, BODY = method(), header(4), b'body'
NOT_IN_DUE_FORM = {
    'nothing': b'',
    'a heartbeat': frame(8, 0, b''),
    'a heartbeat before': frame(8, 0, b'') + delivery(),
    'another method': frame(1, 3, struct.pack('>HHQB', 60, 80, 1, 0)),
    'a method of another class': delivery().replace(b'\x00\x3c\x00\x3c', b'\x00\x3d\x00\x3c', 1),
    'a method without arguments': frame(1, 3, struct.pack('>HH', 60, 60))
    + frame(2, 3, HEADER)
    + frame(3, 3, BODY),
    'half a method': frame(1, 3, b'\x00\x3c\x00') + frame(2, 3, HEADER) + frame(3, 3, BODY),
    'another type first': frame(2, 3, METHOD) + frame(2, 3, HEADER) + frame(3, 3, BODY),
    'no header': frame(1, 3, METHOD) + frame(3, 3, BODY) * 9,
    'a heartbeat instead of the header': frame(1, 3, METHOD) + frame(8, 0, b'') * 9,
    'a heartbeat instead of the body': frame(1, 3, METHOD) + frame(2, 3, HEADER) + frame(8, 0, b''),
    'a header of another channel': frame(1, 3, METHOD) + frame(2, 4, HEADER) + frame(3, 3, BODY),
    'a body of another channel': frame(1, 3, METHOD) + frame(2, 3, HEADER) + frame(3, 4, BODY),
    'channel 0': delivery(channel=0),
    'a short body': frame(1, 3, METHOD) + frame(2, 3, HEADER) + frame(3, 3, b'bod'),
    'a long body': frame(1, 3, METHOD) + frame(2, 3, HEADER) + frame(3, 3, b'bodyy'),
    'a body in two': frame(1, 3, METHOD)
    + frame(2, 3, HEADER)
    + frame(3, 3, b'bo')
    + frame(3, 3, b'dy'),
    'an empty piece first': frame(1, 3, METHOD)
    + frame(2, 3, HEADER)
    + frame(3, 3, b'')
    + frame(3, 3, BODY),
    'a header of another class': frame(1, 3, METHOD) + frame(2, 3, header(0, class_id=90)),
    'a header with a weight': frame(1, 3, METHOD) + frame(2, 3, header(0, weight=1)),
    'a header without flags': frame(1, 3, METHOD) + frame(2, 3, header(0, b'')) + delivery(),
    'a header with half its flags': frame(1, 3, METHOD)
    + frame(2, 3, header(0, b'\0'))
    + delivery(),
    'malformed properties': frame(1, 3, METHOD) + frame(2, 3, header(0, b'\x80\x00\x09a')),
    'an unheard-of body': frame(1, 3, METHOD) + frame(2, 3, header(2**64 - 1)) + frame(3, 3, BODY),
    'a wrong end of the method': frame(1, 3, METHOD, 1) + frame(2, 3, header(0)),
    'a wrong end of the header': frame(1, 3, METHOD) + frame(2, 3, header(0), 1),
    'a wrong end of the body': frame(1, 3, METHOD) + frame(2, 3, HEADER) + frame(3, 3, BODY, 1),
    'octets behind the arguments': frame(1, 3, METHOD + b'\0') + frame(2, 3, header(0)),
    'arguments cut short': frame(1, 3, METHOD[:-1]) + frame(2, 3, header(0)),
    'a tag beyond the end': frame(1, 3, METHOD[:4] + b'\xff' + METHOD[5:]) + frame(2, 3, header(0)),
    'sizes beyond the end': struct.pack('>BHI', 1, 3, 2**32 - 1) + delivery()[7:],
    'sizes beyond any end': delivery()[: len(frame(1, 3, METHOD))]
    + struct.pack('>BHI', 2, 3, 2**32 - 1)
    + header(0),
}


@pytest.mark.parametrize('stream', NOT_IN_DUE_FORM.values(), ids=NOT_IN_DUE_FORM)
def test_what_is_not_in_due_form_is_left_where_it_is(stream):
    assert not same_as_frame_by_frame(stream)


def test_a_body_above_the_limit_is_left_where_it_is():
    stream = delivery(b'x' * 100)
    assert take_message(holding(stream), 100).body == b'x' * 100
    buffer = holding(stream)
    assert take_message(buffer, 99) is None
    assert rest(buffer) == stream


@pytest.mark.parametrize('which', [0, 1, 2])
def test_a_frame_above_frame_max_is_left_where_it_is(which):
    """Method, header or body; whether or not the others are smaller."""
    arguments = [{}, {}, {}]
    sizes = {
        0: {'routing_key': 'k' * 200},
        1: {'properties': {'user_id': 'u' * 200}},
        2: {'body': b'b' * 300},
    }
    arguments[which] = sizes[which]
    stream = delivery(**arguments[which])
    largest, at = 0, 0
    while at < len(stream):
        size = struct.unpack_from('>I', stream, at + 3)[0] + 8
        largest, at = max(largest, size), at + size
    assert take_message(holding(stream, largest), LIMIT) is not None
    assert take_message(holding(stream, largest - 1), LIMIT) is None


def test_the_end_of_a_large_frame_is_no_beginning():
    """Its end octet is to be looked at first, whatever it is."""
    buffer = ReadBuffer(200_000)
    for octets in (frame(1, 1, b'x' * 100_000)[:-1], delivery()):
        while octets:
            assert buffer.next_frame() is None
            space = buffer.space()
            piece = octets[: len(space)]
            space[: len(piece)] = piece
            buffer.received(len(piece))
            octets = octets[len(piece) :]
    assert take_message(buffer, LIMIT) is None


def test_many_consumer_tags_are_not_remembered_for_ever():
    for number in range(3000):
        buffer = holding(delivery(tag=f'tag-{number}'))
        take_message(buffer, LIMIT)
        assert buffer.consumer_tag == f'tag-{number}'


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(['flip', 'set', 'cut', 'insert', 'size']),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    max_size=4,
)


def mutated(stream, mutations):
    for way, where, value in mutations:
        at = int(where * len(stream))
        if way == 'flip' and stream:
            stream = stream[:at] + bytes([stream[at] ^ (1 << value % 8)]) + stream[at + 1 :]
        elif way == 'set' and stream:
            stream = stream[:at] + bytes([value]) + stream[at + 1 :]
        elif way == 'cut':
            stream = stream[:at]
        elif way == 'insert':
            stream = stream[:at] + bytes([value]) + stream[at:]
        elif way == 'size':
            size = (0, 1, 5, 200, 2**31 - 1, 2**31, 2**32 - 1)[value % 7]
            stream = stream[:at] + struct.pack('>I', size) + stream[at + 4 :]
    return stream


@settings(deadline=None, max_examples=1000)
@given(
    body=st.binary(max_size=40),
    properties=st.sampled_from([{}, {'priority': 1}, HEADERS]),
    tag=st.sampled_from(['', 'tag', 'ü']),
    behind=st.sampled_from([b'', b'\x01\x00', delivery(b'next')]),
    mutations=MUTATIONS,
)
def test_as_frame_by_frame_or_not_at_all(body, properties, tag, behind, mutations):
    stream = mutated(delivery(body, properties, tag=tag) + behind, mutations)
    taken = same_as_frame_by_frame(stream)
    if not mutations:
        assert taken
