"""The codec's public names: import them from here."""

from __future__ import annotations

from .content import PROPERTY_CLASSES, GenericContent
from .scalars import BASIC_PROPERTIES, MAX_DEPTH
from .tables import (
    _read_item,
    _write_array,
    _write_item,
    _write_table,
    decode_properties_basic,
    dumps,
    encode_properties,
    loads,
    take_properties,
)

__all__ = (
    'BASIC_PROPERTIES',
    'MAX_DEPTH',
    'PROPERTY_CLASSES',
    'GenericContent',
    '_read_item',
    '_write_array',
    '_write_item',
    '_write_table',
    'decode_properties_basic',
    'dumps',
    'encode_properties',
    'loads',
    'take_properties',
)
