"""Content: properties, decoded when asked for, and a body in pieces."""

from __future__ import annotations

import struct

import pytest

from amqp.content import GenericContent
from amqp.exceptions import FrameSyntaxError
from amqp.tables import encode_properties


class Content(GenericContent):
    """As Message is: keeps the body."""

    CLASS_ID = 60
    body = None

    def _body_complete(self, body):
        self.body = body


def header(size, properties=None, class_id=60):
    return struct.pack('>HHQ', class_id, 0, size) + encode_properties(properties or {})


def test_content_without_body_is_ready_with_its_header():
    content = Content((60, 60), b'args')
    assert (content.frame_method, content.frame_args) == ((60, 60), b'args')
    assert not content.ready
    data = header(0, {'priority': 7})
    assert content.inbound_header(b'xy' + data, 2) == len(data) + 2
    assert content.ready
    assert content.body == b''
    assert content.properties == {'priority': 7}


@pytest.mark.parametrize('chunks', [[b'abcdef'], [b'ab', b'cdef'], [b'a', b'b', b'c', b'def']])
def test_content_body_in_pieces(chunks):
    content = Content()
    content.inbound_header(header(6))
    for chunk in chunks:
        assert not content.ready
        assert content.body is None
        content.inbound_body(chunk)
    assert content.ready
    assert content.body == b'abcdef'
    assert (content.body_size, content.body_received) == (6, 6)
    assert content._body_buffer is None  # its memory is the body's now


def test_the_base_class_keeps_no_body():
    content = GenericContent()
    content.inbound_header(header(1))
    content.inbound_body(b'x')
    assert content.ready


def test_content_header_cut_short():
    data = header(5, {'content_type': 'text'})
    for length in range(len(data)):
        with pytest.raises(FrameSyntaxError):
            Content().inbound_header(data[:length])


def test_content_of_another_class():
    with pytest.raises(FrameSyntaxError, match='class 90'):
        Content().inbound_header(header(0, class_id=90))


def test_properties_read_as_attributes():
    content = Content(content_type='text', priority=None)
    assert content.content_type == 'text'
    assert content.priority is None
    for name in ('reply_to', '_private', '__deepcopy__'):
        with pytest.raises(AttributeError, match=name):
            getattr(content, name)
    assert content._serialize_properties() == encode_properties({'content_type': 'text'})


def test_a_bare_instance_does_not_recurse():
    # As copy and pickle make it, before its state is there.
    with pytest.raises(AttributeError):
        GenericContent.__new__(GenericContent).content_type  # noqa: B018


# -- properties of received content


PROPERTIES = {
    'content_type': 'text/plain',
    'content_encoding': 'utf-8',
    'application_headers': {'a': 1, 'b': [True, None, {'c': b'\xff'}]},
    'delivery_mode': 2,
    'priority': 7,
    'correlation_id': 'c',
    'reply_to': 'r',
    'expiration': '1000',
    'message_id': 'm',
    'timestamp': 1_700_000_000,
    'type': 't',
    'user_id': 'u',
    'app_id': 'app',
    'cluster_id': 'cl',
}


def received(properties=None, size=0):
    content = Content((60, 60), b'args')
    content.inbound_header(header(size, properties))
    return content


@pytest.mark.parametrize('properties', [{}, {'priority': 0}, PROPERTIES])
def test_received_properties(properties):
    content = received(properties)
    assert content.properties == properties
    assert content.properties is content.properties  # the same dict from now on
    assert received(content.properties).properties == properties


@pytest.mark.parametrize('name', sorted(PROPERTIES))
def test_each_received_property_reads_as_an_attribute(name):
    assert getattr(received(PROPERTIES), name) == PROPERTIES[name]


def test_what_was_not_sent_is_no_attribute():
    content = received({'priority': 1})
    with pytest.raises(AttributeError, match='content_type'):
        content.content_type  # noqa: B018
    with pytest.raises(AttributeError):
        content._unheard_of  # noqa: B018
    assert getattr(content, 'user_id', None) is None


def test_received_properties_can_be_changed():
    content = received(PROPERTIES)
    content.properties['priority'] = 9
    del content.properties['type']
    assert content.priority == 9
    assert not hasattr(content, 'type')
    again = Content()
    again.inbound_header(struct.pack('>HHQ', 60, 0, 0) + content._serialize_properties())
    expected = {**PROPERTIES, 'priority': 9}
    del expected['type']
    assert again.properties == expected


def test_received_properties_can_be_replaced():
    content = received(PROPERTIES)
    content.properties = {'priority': 3}
    assert content.properties == {'priority': 3}
    assert content._serialize_properties() == encode_properties({'priority': 3})


def test_received_properties_are_sent_on_as_they_came():
    assert received(PROPERTIES)._serialize_properties() == encode_properties(PROPERTIES)


MALFORMED = [
    b'\x80\x00',  # a string that isn't there
    b'\x80\x00\x05abc',  # that is cut short
    b'\x20\x00\x00\x00\x00\x09\x01at',  # a table that is cut short
    b'\x20\x00\x00\x00\x00\x03\x01aU',  # a type that is none
    b'\x80\x01\x00\x00',  # flags that go on, and a string that isn't there
    b'\x00\x40\x01',  # a timestamp that is cut short
]


@pytest.mark.parametrize('octets', MALFORMED)
def test_malformed_properties_are_told_on_arrival(octets):
    """Not when a callback looks at them: the connection can't go on."""
    content = Content((60, 60), b'')
    with pytest.raises(FrameSyntaxError):
        content.inbound_header(struct.pack('>HHQ', 60, 0, 0) + octets)


def test_a_body_in_pieces_of_a_buffer():
    """Pieces that were received into place are not copied."""
    content = received(size=6)
    memory = content.body_buffer()
    assert memory is content.body_buffer()
    for piece in (b'abcd', b'ef'):
        room = memory.room(len(piece))
        room[:] = piece
        content.inbound_body(room)
    assert content.ready
    assert content.body == b'abcdef'
    assert type(content.body) is bytes


def test_a_body_in_one_frame_is_taken_as_it_is():
    content = received(size=6)
    body = b'abcdef'
    content.inbound_body(body)
    assert content.body is body


def test_a_view_of_the_whole_body_is_copied():
    content = received(size=3)
    octets = bytearray(b'abc')
    content.inbound_body(memoryview(octets))
    octets[:] = b'xyz'
    assert content.body == b'abc'


def test_attributes_of_ones_own():
    content = Content()
    content.note = 'mine'
    assert content.note == 'mine'
    with pytest.raises(AttributeError):
        Content().note  # noqa: B018
