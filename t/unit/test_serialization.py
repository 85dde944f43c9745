"""The names that applications import from here."""

from __future__ import annotations

from amqp import content, scalars, serialization, spec, tables
from amqp.serialization import PROPERTY_CLASSES, GenericContent


def test_the_codecs_names_are_here():
    for name in set(serialization.__all__) - {'PROPERTY_CLASSES', 'GenericContent'}:
        owner = scalars if name.isupper() else tables
        assert getattr(serialization, name) is getattr(owner, name)
    assert PROPERTY_CLASSES == {spec.Basic.CLASS_ID: tables.decode_properties_basic}


def test_content_is_here_too():
    assert GenericContent is content.GenericContent
    assert PROPERTY_CLASSES is content.PROPERTY_CLASSES
