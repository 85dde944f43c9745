"""pamqp reads what we write, and we read what it writes.

pamqp is another implementation of the same tables, by other people. Where it differs:

- it reads a long string as str, or as bytes where that is not UTF-8, as we do; but a lone surrogate
  is bytes to it, and a short string or key that is not UTF-8 raises;
- it reads a timestamp as an aware datetime in UTC, we as a naive one, and takes those after 2106
  (beyond 32 bits) for milliseconds;
- it writes an int by the smallest type that fits, and a float as f, with 32 bits;
- its decimals hold no negative numbers: it reads the digits as unsigned, RabbitMQ as signed; and
  one that Python prints with an exponent (1E-7) it writes as 0;
- pamqp 3, which Python 3.10 gets, cannot write every negative int.
"""

from __future__ import annotations

import struct
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pamqp import commands, decode, encode

from amqp import spec
from amqp.scalars import BASIC_PROPERTIES
from amqp.tables import (
    _read_item,
    decode_properties_basic,
    dumps,
    encode_properties,
    loads,
)
from t.helpers.vectors import load_vectors

texts = st.text(max_size=20)  # without surrogates
keys = st.text(max_size=20)
times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2106, 1, 1)).map(
    lambda time: time.replace(microsecond=0, fold=0)
)
decimals = st.builds(
    lambda mantissa, places: Decimal(mantissa).scaleb(-places),
    st.integers(0, 2**31 - 1),
    st.integers(0, 20),
).filter(lambda number: 'E' not in str(number))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    texts,
    times,
    decimals,
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
values = st.recursive(
    scalars,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(keys, each, max_size=4),
    max_leaves=15,
)
tables = st.dictionaries(keys, values, max_size=8)


def as_pamqp_reads(value):
    if isinstance(value, dict):
        return {key: as_pamqp_reads(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_pamqp_reads(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc)
    return value


def by_pamqp(write, *args):
    """Return what pamqp writes, or give the example up where it cannot."""
    try:
        return write(*args)
    except struct.error:
        reject()


@given(tables)
def test_pamqp_reads_what_we_write(table):
    data = dumps('F', [table])
    assert decode.field_table(data) == (len(data), as_pamqp_reads(table))


@given(tables)
def test_we_read_what_pamqp_writes(table):
    data = by_pamqp(encode.field_table, as_pamqp_reads(table))
    assert loads('F', data, 0) == ([table], len(data))


def readable_by_pamqp(vector):
    value = vector['value']
    if isinstance(value, Decimal):
        return value >= 0
    if isinstance(value, int) and vector['wire'][:1] == b'T':
        return False
    if isinstance(value, datetime) and value.year > 2105:
        return False
    # As above: keys that are not UTF-8, lone surrogates.
    return 'not UTF-8' not in vector['name'] and 'surrogate' not in vector['name']


@pytest.mark.parametrize(
    'vector',
    list(filter(readable_by_pamqp, load_vectors('table_types'))),
    ids=lambda vector: vector['name'],
)
def test_golden_bytes(vector):
    wire = vector['wire']
    theirs = decode.embedded_value(wire)
    ours = _read_item(wire, 0)
    if wire[:1] == b'x':
        theirs = theirs[0], bytes(theirs[1])
    assert (ours[1], as_pamqp_reads(ours[0])) == theirs


ARGUMENTS = {
    'b': st.booleans(),
    'o': st.integers(0, 255),
    'B': st.integers(0, 65535),
    'l': st.integers(0, 2**32 - 1),
    'L': st.integers(0, 2**63 - 1),
    's': texts,
    'S': texts,
    'F': tables,
}


@given(st.data())
def test_methods(data):
    """The whole of a method's arguments: among them how bits are packed."""
    sig = data.draw(st.sampled_from(sorted(spec.METHODS)))
    method = spec.METHODS[sig]
    values = [data.draw(ARGUMENTS[letter]) for letter in method.format]
    wire = dumps(method.format, values)
    theirs = commands.INDEX_MAPPING[sig[0] << 16 | sig[1]]
    # Past its constructor, which checks more than the encoding (deprecated arguments, names).
    frame = theirs.__new__(theirs)
    frame.unmarshal(wire)
    assert [getattr(frame, name) for name in theirs.__slots__] == [
        as_pamqp_reads(value) for value in values
    ]
    try:
        back = by_pamqp(frame.marshal)
    except ValueError:
        return  # its checks again
    assert loads(method.format, back, 0) == (values, len(back))


PROPERTY_VALUES = {
    's': texts,
    'F': tables.filter(bool),
    'o': st.integers(0, 255),
    'L': st.integers(0, 2**31),
}
NAMES_OF_PAMQP = {'application_headers': 'headers', 'type': 'message_type'}


@given(
    st.fixed_dictionaries(
        {}, optional={name: PROPERTY_VALUES[letter] for name, letter in BASIC_PROPERTIES}
    )
)
def test_basic_properties(properties):
    wire = encode_properties(properties)
    theirs = commands.Basic.Properties()
    theirs.unmarshal(int.from_bytes(wire[:2], 'big'), wire[2:])
    for name, _ in BASIC_PROPERTIES:
        want = properties.get(name)
        if name == 'timestamp' and want is not None:
            want = datetime.fromtimestamp(want, timezone.utc)
        got = getattr(theirs, NAMES_OF_PAMQP.get(name, name))
        assert (got or None) == (as_pamqp_reads(want) or None)
    # pamqp does not write what is empty.
    assert decode_properties_basic(by_pamqp(theirs.marshal), 0)[0] == {
        name: value for name, value in properties.items() if value != ''
    }
