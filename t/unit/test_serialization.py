"""Content: properties, and a body in pieces; and the names that applications import from here."""

from __future__ import annotations

import struct

import pytest

from amqp import scalars, serialization, spec, tables
from amqp.exceptions import FrameSyntaxError
from amqp.serialization import PROPERTY_CLASSES, GenericContent, encode_properties


def test_the_codecs_names_are_here():
    for name in set(serialization.__all__) - {'PROPERTY_CLASSES', 'GenericContent'}:
        owner = scalars if name.isupper() else tables
        assert getattr(serialization, name) is getattr(owner, name)
    assert PROPERTY_CLASSES == {spec.Basic.CLASS_ID: tables.decode_properties_basic}


# -- content -------------------------------------------------------------------------------------


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
    assert content._pending_chunks == []


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
