"""The field codec. The invariant: bytes or `EncodeError`, a value or `FrameSyntaxError`."""

from __future__ import annotations

import copy
import enum
import io
import pickle
import random
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections import OrderedDict, namedtuple
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import amqp
from amqp import spec
from amqp import tables as module
from amqp.exceptions import EncodeError, FrameSyntaxError
from amqp.scalars import BASIC_PROPERTIES, MAX_DEPTH
from amqp.tables import (
    _read_item,
    _write_array,
    _write_item,
    _write_table,
    decode_properties_basic,
    dumps,
    encode_properties,
    loads,
    read_longlong,
    take_properties,
)
from t.helpers import tables
from t.helpers.vectors import load_vectors


def written(function, value):
    out = io.BytesIO()
    function(value, out.write, [])
    return out.getvalue()


def strict(value):
    """Tell apart what == does not: 1, 1.0 and True; 0.0 and -0.0; str and its subclasses."""
    return repr(value)


# -- golden bytes --------------------------------------------------------------------------------

TABLE_TYPES = load_vectors('table_types')
BASIC = load_vectors('basic_properties')


@pytest.mark.parametrize('vector', TABLE_TYPES, ids=lambda vector: vector['name'])
def test_table_type_is_read(vector):
    wire = vector['wire']
    value, end = _read_item(wire, 0)
    assert strict(value) == strict(vector['value'])
    assert end == len(wire)


@pytest.mark.parametrize(
    'vector', [each for each in TABLE_TYPES if each['encode']], ids=lambda vector: vector['name']
)
def test_table_type_is_written(vector):
    assert written(_write_item, vector['value']) == vector['wire']


@pytest.mark.parametrize('vector', TABLE_TYPES, ids=lambda vector: vector['name'])
def test_table_type_within_table_and_array(vector):
    entry = b'\x01v' + vector['wire']
    data = struct.pack('>I', len(entry)) + entry
    assert strict(loads('F', data, 0)) == strict(([{'v': vector['value']}], len(data)))
    data = struct.pack('>I', len(vector['wire'])) + vector['wire']
    assert strict(loads('A', data, 0)) == strict(([[vector['value']]], len(data)))


@pytest.mark.parametrize('vector', TABLE_TYPES, ids=lambda vector: vector['name'])
def test_table_type_cut_short(vector):
    for length in range(len(vector['wire'])):
        with pytest.raises(FrameSyntaxError):
            _read_item(vector['wire'][:length], 0)


def test_every_tag_has_a_vector():
    assert {chr(vector['wire'][0]) for vector in TABLE_TYPES} == set('tbBsuIilLfdDSxAFTV')


@pytest.mark.parametrize('tag', sorted(set(range(256)) - set(b'tbBsuIilLfdDSxAFTV')))
def test_unknown_tag(tag):
    data = bytes((tag,)) + bytes(20)
    with pytest.raises(FrameSyntaxError, match='unknown type'):
        _read_item(data, 0)


@pytest.mark.parametrize('vector', BASIC, ids=lambda vector: vector['name'])
def test_basic_properties(vector):
    assert encode_properties(vector['value']) == vector['wire']
    assert decode_properties_basic(vector['wire'], 0) == (vector['value'], len(vector['wire']))
    assert decode_properties_basic(b'ab' + vector['wire'], 2) == (
        vector['value'],
        len(vector['wire']) + 2,
    )


@pytest.mark.parametrize('vector', load_vectors('captured'), ids=lambda vector: vector['name'])
def test_what_a_broker_sent(vector):
    wire = vector['wire']
    if vector['format'] == 'properties':
        assert decode_properties_basic(wire, 0) == (vector['value'], len(wire))
    else:
        assert loads(vector['format'], wire, 0) == (vector['value'], len(wire))


# -- arguments -----------------------------------------------------------------------------------

ARGUMENTS = [
    ('', [], ''),
    ('bbbo', [True, False, True, 5], '0505'),
    ('b', ['any'], '01'),
    ('b', [None], '00'),
    ('b' * 8, [1] * 8, 'ff'),
    ('b' * 9, [0] * 8 + [1], '0001'),
    ('b' * 9 + 'o', [1] * 9 + [7], 'ff0107'),
    ('bob', [1, 2, 1], '010201'),
    ('o', [255], 'ff'),
    ('B', [65535], 'ffff'),
    ('l', [2**32 - 1], 'ffffffff'),
    ('L', [2**64 - 1], 'ffffffffffffffff'),
    ('L', [True], '0000000000000001'),
    ('s', ['é'], '02c3a9'),
    ('s', [b'\xff'], '01ff'),
    ('s', [bytearray(b'x')], '0178'),
    ('s', [None], '00'),
    ('s', ['\ud800'], '03eda080'),
    ('s', ['x' * 255], 'ff' + '78' * 255),
    ('S', ['é'], '00000002c3a9'),
    ('S', [b'\xff'], '00000001ff'),
    ('S', [bytearray(b'\xff')], '00000001ff'),
    ('S', [None], '00000000'),
    ('x', [b'ab'], '000000026162'),
    ('x', ['a'], '0000000161'),
    ('F', [None], '00000000'),
    ('F', [{}], '00000000'),
    ('F', [{'a': {'b': True}}], '0000000b' + '016146' + '00000004' + '01627401'),
    ('A', [None], '00000000'),
    ('A', [()], '00000000'),
    ('A', [[1]], '00000005' + '4900000001'),
    ('T', [datetime(2020, 1, 1)], '000000005e0be100'),
    ('T', [253402300800], '0000003afff44180'),
    ('Bssbb', (0, 'x', 'k', True, False), '0000' + '0178' + '016b' + '01'),
]


@pytest.mark.parametrize(('format', 'values', 'wire'), ARGUMENTS)
def test_dumps(format, values, wire):
    result = dumps(format, values)
    assert type(result) is bytes
    assert result.hex() == wire


@pytest.mark.parametrize(
    ('format', 'wire', 'values'),
    [
        ('', '', []),
        ('bbB', '050001', [True, False, 1]),
        ('b' * 9, 'ff01', [True] * 9),
        ('bob', '010201', [True, 2, True]),
        ('o', '05', [5]),
        ('B', 'ffff', [65535]),
        ('l', 'ffffffff', [2**32 - 1]),
        ('L', 'f' * 16, [2**64 - 1]),
        ('s', '02c3a9', ['é']),
        ('s', '01ff', [b'\xff']),
        ('s', '03eda080', ['\ud800']),
        ('S', '00000002c3a9', ['é']),
        ('S', '00000001ff', [b'\xff']),
        ('x', '0000000161', [b'a']),
        ('F', '00000000', [{}]),
        ('A', '00000005490000000a', [[10]]),
        ('T', '000000005e0be100', [datetime(2020, 1, 1)]),
        ('T', '0000003afff44180', [253402300800]),
        ('sLbss', '0174' + '0' * 15 + '5' + '01' + '0178' + '016b', ['t', 5, True, 'x', 'k']),
    ],
)
@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_loads(format, wire, values, kind):
    data = bytes.fromhex(wire)
    assert strict(loads(format, kind(data), 0)) == strict((values, len(data)))
    # Amidst other bytes.
    assert loads(format, kind(b'abc' + data + b'd'), 3) == (values, len(data) + 3)


@pytest.mark.parametrize(('format', 'values', 'wire'), ARGUMENTS)
def test_arguments_cut_short(format, values, wire):
    data = bytes.fromhex(wire)
    for length in range(len(data)):
        with pytest.raises(FrameSyntaxError):
            loads(format, data[:length], 0)


def test_other_views_of_memory():
    data = dumps('sL', ['abc', 7])
    assert loads('sL', memoryview(b''.join(bytes((each, 0)) for each in data))[::2], 0)[0] == [
        'abc',
        7,
    ]


@pytest.mark.parametrize('offset', [-1, 4])
@pytest.mark.parametrize(
    'read', [lambda data, offset: loads('o', data, offset), _read_item, decode_properties_basic]
)
def test_offset_outside(read, offset):
    with pytest.raises(FrameSyntaxError):
        read(b'abc', offset)


def test_unknown_letters():
    with pytest.raises(EncodeError, match="'q' is not a format letter") as caught:
        dumps('bq', [1, 1])
    assert caught.value.position == 1
    with pytest.raises(FrameSyntaxError, match="'q' is not a format letter"):
        loads('q', b'\x00', 0)


@pytest.mark.parametrize('values', [[1], [1, 2, 3], []])
def test_wrong_number_of_values(values):
    with pytest.raises(EncodeError, match='takes 2 values'):
        dumps('oo', values)


@pytest.mark.parametrize(
    ('letter', 'value', 'text'),
    [
        ('o', 256, 'integer out of range for an octet (0 to 255)'),
        ('o', -1, 'integer out of range for an octet (0 to 255)'),
        ('o', '1', 'str does not fit an octet (0 to 255)'),
        ('o', None, 'NoneType does not fit an octet (0 to 255)'),
        ('B', 65536, 'integer out of range for a short (0 to 65535)'),
        ('B', 1.0, 'float does not fit a short (0 to 65535)'),
        ('l', 2**32, 'integer out of range for a long (0 to 2**32 - 1)'),
        ('l', -1, 'integer out of range for a long (0 to 2**32 - 1)'),
        ('L', 2**64, 'integer out of range for a longlong (0 to 2**64 - 1)'),
        pytest.param(
            'L', 10**5000, 'integer out of range for a longlong (0 to 2**64 - 1)', id='huge'
        ),
        ('L', -1, 'integer out of range for a longlong (0 to 2**64 - 1)'),
        ('s', 'x' * 256, 'a short string has at most 255 bytes, not 256'),
        ('s', 'é' * 128, 'a short string has at most 255 bytes, not 256'),
        ('s', 5, 'a short string must be str or bytes, not int'),
        ('S', 5, 'a long string must be str or bytes, not int'),
        ('x', [], 'a long string must be str or bytes, not list'),
        ('F', [], 'a table must be a dict, not list'),
        ('F', 'a', 'a table must be a dict, not str'),
        ('A', {}, 'an array must be a list or a tuple, not dict'),
        (
            'T',
            -1,
            'integer out of range for a timestamp (a datetime, or seconds from 0 to 2**64 - 1)',
        ),
        ('T', 'now', 'str does not fit a timestamp (a datetime, or seconds from 0 to 2**64 - 1)'),
        ('T', datetime(1969, 12, 31, 23, 59, 59, 999999), 'a timestamp cannot be before 1970'),
    ],
)
def test_bad_argument(letter, value, text):
    # The error tells which one: not the bits before it, not the octet after it.
    with pytest.raises(EncodeError) as caught:
        dumps(f'bo{letter}o', [1, 2, value, 3])
    assert caught.value.position == 2
    assert str(caught.value) == text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# -- tables: what can be written -----------------------------------------------------------------


class Number(enum.IntEnum):
    SEVEN = 7


class Colour(str, enum.Enum):
    RED = 'red'

    def __str__(self):
        return 'a colour'

    def encode(self, *args):
        return b'a trap'


class Text(str):
    __slots__ = ()


class Moment(datetime):
    pass


Point = namedtuple('Point', 'x y')

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ('value', 'back'),
    [
        (Number.SEVEN, 7),
        (Colour.RED, 'red'),
        (Text('é'), 'é'),
        (type('Float', (float,), {})(1.5), 1.5),
        (type('Bytes', (bytes,), {})(b'\xff'), b'\xff'),
        (type('Dec', (Decimal,), {})('1.5'), Decimal('1.5')),
        (bytearray(b'\xff'), b'\xff'),
        (b'abc', 'abc'),
        (Moment(2020, 1, 1), datetime(2020, 1, 1)),
        (datetime(2020, 1, 1, 5, 30, tzinfo=EAST), datetime(2020, 1, 1)),
        (datetime(2020, 1, 1, 0, 0, 0, 999999), datetime(2020, 1, 1)),
        (Point(1, 2), [1, 2]),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(b=1, a=2), {'b': 1, 'a': 2}),
        (type('Dict', (dict,), {})(a=1), {'a': 1}),
        (type('List', (list,), {})([1]), [1]),
        (Decimal('1E+3'), Decimal(1000)),
        (Decimal('0E+99999'), Decimal(0)),
        (Decimal('-0.0'), Decimal('0.0')),
        (Decimal('2E+9'), Decimal(2000000000)),
    ],
)
def test_values_and_what_comes_back(value, back):
    data = dumps('F', [{'v': value, 'after': 1}])
    assert strict(loads('F', data, 0)[0][0]) == strict({'v': back, 'after': 1})
    item = written(_write_item, value)
    assert strict(_read_item(item, 0)) == strict((back, len(item)))


def test_keys_may_be_bytes():
    data = dumps('F', [{b'a': 1, b'\xff': 2, Text('t'): 3}])
    assert strict(loads('F', data, 0)[0][0]) == strict({'a': 1, b'\xff': 2, 't': 3})


def test_decimals_do_not_depend_on_the_callers_context():
    with localcontext() as context:
        context.prec = 2
        data = dumps('F', [{'v': Decimal('123.4567')}])
        assert loads('F', data, 0)[0][0] == {'v': Decimal('123.4567')}


def test_more_keys_than_are_remembered():
    table = {f'key-{number}': number for number in range(5000)}
    for _ in range(2):
        assert loads('F', dumps('F', [table]), 0)[0][0] == table


def test_remembered_keys_do_not_confuse_equal_ones():
    for key in ('1', Text('1'), b'1', Colour.RED, 'red'):
        assert dumps('F', [{key: None}])[5:-1] in (b'1', b'red')
    for _ in range(2):  # the second time as remembered
        with pytest.raises(EncodeError):
            dumps('F', [{1: None}])


def test_str_and_bytes_are_never_compared():
    code = (
        'from amqp.tables import dumps, loads\n'
        'for table in ({"a": 1}, {b"a": 1}, {"a": 2}):\n'
        '    data = dumps("F", [table])\n'
        '    assert loads("F", data, 0)[0][0] == {"a": data[-1]}\n'
    )
    subprocess.run([sys.executable, '-bb', '-c', code], check=True)


def test_threads_that_meet_new_keys_together():
    tables_read = []

    def read(start):
        start.wait()
        for number in range(300):
            data = dumps('F', [{f'met-{number}-{index}': index for index in range(4)}])
            tables_read.append(loads('F', data, 0)[0][0])

    start = threading.Barrier(4)
    threads = [threading.Thread(target=read, args=[start]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables_read) == 1200
    for table in tables_read:
        [number] = {key.split('-')[1] for key in table}
        assert table == {f'met-{number}-{index}': index for index in range(4)}


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 254, 255])
def test_keys_that_differ_in_one_octet(size):
    """Whatever a memory of keys compares, it must be every octet."""
    for place in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        for letter in 'xyz':
            key = 'k' * place + letter + 'k' * (size - place - 1)
            for _ in range(2):
                assert loads('F', dumps('F', [{key: None}]), 0)[0] == [{key: None}]


@pytest.mark.skipif(amqp.speedups == 'compiled', reason='hidden when compiled')
def test_a_peer_cannot_make_the_memory_of_keys_grow():
    for number in range(5000):
        loads('F', dumps('F', [{f'other-{number}': None}]), 0)
    assert len(module._decoded_keys) <= module._MAX_REMEMBERED
    assert len(module._encoded_keys) <= module._MAX_REMEMBERED


def test_signatures_of_the_writers_that_others_use():
    assert written(_write_table, {'a': True}) == b'\x00\x00\x00\x04\x01at\x01'
    assert written(_write_table, None) == b'\x00\x00\x00\x00'
    assert written(_write_array, [1]) == b'\x00\x00\x00\x05I\x00\x00\x00\x01'
    assert written(_write_array, None) == b'\x00\x00\x00\x00'


# -- tables: what can not ------------------------------------------------------------------------

BAD_VALUES = [
    (float('nan'), 'a float must be finite'),
    (float('inf'), 'a float must be finite'),
    (float('-inf'), 'a float must be finite'),
    (2**63, 'an integer must fit in 64 bits'),
    (-(2**63) - 1, 'an integer must fit in 64 bits'),
    pytest.param(10**5000, 'an integer must fit in 64 bits', id='huge'),
    (Decimal('NaN'), 'a decimal must be finite'),
    (Decimal('sNaN'), 'a decimal must be finite'),
    (Decimal('-Infinity'), 'a decimal must be finite'),
    (Decimal(2**31), '32 bits'),
    (Decimal(-(2**31) - 1), '32 bits'),
    (Decimal('1E+10'), '32 bits'),
    (Decimal('1E+999999'), '32 bits'),
    (Decimal('1E-256'), '255 places'),
    (Decimal('0E-256'), '255 places'),
    (Decimal('1.' + '0' * 100000), '32 bits'),
    (datetime(1969, 12, 31), 'a timestamp cannot be before 1970'),
    (datetime(1, 1, 1, tzinfo=EAST), 'a timestamp cannot be before 1970'),
    (date(2020, 1, 1), 'date is not a type of AMQP tables'),
    (timedelta(1), 'timedelta is not a type'),
    (object(), 'object is not a type'),
    ({1}, 'set is not a type'),
    (memoryview(b''), 'memoryview is not a type'),
    (1j, 'complex is not a type'),
    (iter([]), 'list_iterator is not a type'),
    ({5: 1}, "a table's keys must be str, not int"),
    ({None: 1}, "a table's keys must be str, not NoneType"),
    ({True: 1}, "a table's keys must be str, not bool"),
    ({'x' * 256: 1}, 'a short string has at most 255 bytes, not 256'),
    ({b'\xff' * 256: 1}, 'a short string has at most 255 bytes, not 256'),
    ({'é' * 128: 1}, 'a short string has at most 255 bytes, not 256'),
]


@pytest.mark.parametrize(('value', 'text'), BAD_VALUES)
def test_bad_value_is_refused_and_the_key_named(value, text):
    with pytest.raises(EncodeError, match='key') as caught:
        dumps('sF', ['x', {'good': 1, 'a': {'b': [1, {}, value]}}])
    assert str(caught.value).startswith("key 'a.b[2]")
    assert text in str(caught.value)
    assert caught.value.position == 1
    assert len(str(caught.value)) < 250
    with pytest.raises(EncodeError):
        written(_write_item, value)


def test_nothing_is_written_before_the_error():
    for write, value in ((_write_table, {'a': 1, 'b': object()}), (_write_array, [1, object()])):
        parts = []
        with pytest.raises(EncodeError):
            write(value, parts.append, [])
        assert parts == []


@pytest.mark.parametrize(
    ('table', 'path'),
    [
        ({'a': object()}, 'a'),
        ({'': object()}, ''),
        ({'a': [[object()]]}, 'a[0][0]'),
        ({'a': [0, {'b': object()}]}, 'a[1].b'),
        ({Colour.RED: object()}, 'red'),
        ({'x' * 100: object()}, 'x' * 61 + '...'),
        ({'a': {5: 1}}, 'a.<int>'),
        ({'a': {10**5000: 1}}, 'a.<int>'),
        ({b'a\xff': object()}, 'a\ufffd'),
    ],
)
def test_key_path(table, path):
    with pytest.raises(EncodeError) as caught:
        dumps('F', [table])
    assert str(caught.value).startswith(f'key {path!r}: ')


def test_key_path_of_an_array():
    with pytest.raises(EncodeError, match=r"^key '\[1\]': object is not"):
        dumps('A', [[1, object()]])


def test_the_path_goes_on_after_a_nested_table():
    with pytest.raises(EncodeError, match=r"^key 'a\.c': "):
        dumps('F', [{'a': {'b': {'x': [1]}, 'c': object()}}])


@pytest.mark.parametrize('name', [name for name, _ in BASIC_PROPERTIES])
def test_bad_property_is_named(name):
    with pytest.raises(EncodeError, match=f"^property '{name}': .*object"):
        encode_properties({'content_type': 'ok', name: object()})


@pytest.mark.parametrize(
    ('properties', 'text'),
    [
        ({'priority': 256}, "property 'priority': integer out of range for an octet (0 to 255)"),
        ({'delivery_mode': '2'}, "property 'delivery_mode': str does not fit an octet (0 to 255)"),
        (
            {'timestamp': -1},
            "property 'timestamp': integer out of range for a longlong (0 to 2**64 - 1)",
        ),
        (
            {'timestamp': 1.5},
            "property 'timestamp': float does not fit a longlong (0 to 2**64 - 1)",
        ),
        (
            {'timestamp': datetime(1969, 1, 1)},
            "property 'timestamp': a timestamp cannot be before 1970",
        ),
        (
            {'expiration': 5000},
            "property 'expiration': a short string must be str or bytes, not int",
        ),
        (
            {'application_headers': {'a': [object()]}},
            "property 'application_headers': key 'a[0]': object is not a type of AMQP tables",
        ),
        (
            {'application_headers': 'a'},
            "property 'application_headers': a table must be a dict, not str",
        ),
    ],
)
def test_bad_properties(properties, text):
    with pytest.raises(EncodeError) as caught:
        encode_properties(properties)
    assert str(caught.value) == text


def test_properties_that_are_none_or_foreign_are_left_out():
    assert encode_properties({'content_type': None, 'delivery_mode': 0, 'foreign': object()}) == (
        b'\x10\x00\x00'
    )


def test_timestamp_property_may_be_a_datetime():
    data = encode_properties({'timestamp': datetime(2020, 1, 1, 5, 30, tzinfo=EAST)})
    assert decode_properties_basic(data, 0)[0] == {'timestamp': 1577836800}


def test_properties_may_be_a_subclass_of_dict():
    assert encode_properties(OrderedDict(priority=1)) == b'\x08\x00\x01'


# -- nesting -------------------------------------------------------------------------------------


def nested(depth, keyed=False):
    value = {} if keyed else []
    for _ in range(depth - 1):
        value = {'k': value} if keyed else [value]
    return value


def nested_bytes(depth, keyed):
    """Return a container of `depth` levels, without its tag: built by hand, unlike the encoder."""
    data = bytes(4)
    for _ in range(depth - 1):
        data = (b'\x01kF' if keyed else b'A') + data
        data = struct.pack('>I', len(data)) + data
    return data


@pytest.mark.parametrize('keyed', [False, True])
def test_deepest_nesting(keyed):
    letter = 'F' if keyed else 'A'
    value, data = nested(MAX_DEPTH, keyed), nested_bytes(MAX_DEPTH, keyed)
    assert dumps(letter, [value]) == data
    assert loads(letter, data, 0) == ([value], len(data))
    assert written(_write_item, value) == letter.encode() + data
    assert _read_item(letter.encode() + data, 0) == (value, len(data) + 1)


@pytest.mark.parametrize('keyed', [False, True])
@pytest.mark.parametrize('depth', [MAX_DEPTH + 1, 1000, 20000])
def test_nested_too_deep(keyed, depth):
    letter = 'F' if keyed else 'A'
    with pytest.raises(EncodeError, match='nested deeper than 128') as caught:
        dumps(letter, [nested(depth, keyed)])
    assert len(str(caught.value)) < 1000
    data = nested_bytes(min(depth, 5000), keyed)
    with pytest.raises(FrameSyntaxError, match='nested deeper than 128'):
        loads(letter, data, 0)
    with pytest.raises(FrameSyntaxError, match='nested deeper than 128'):
        _read_item(letter.encode() + data, 0)


def test_what_is_read_can_be_printed_copied_and_pickled():
    value = loads('F', nested_bytes(MAX_DEPTH, True), 0)[0][0]
    assert repr(copy.deepcopy(value)) == repr(pickle.loads(pickle.dumps(value))) == repr(value)


def test_inside_itself():
    table, array = {}, []
    table['k'] = table
    array.append(array)
    for value in (table, array, {'a': [table]}):
        with pytest.raises(EncodeError, match='inside itself'):
            dumps('F' if isinstance(value, dict) else 'A', [value])


def test_after_a_nested_container_the_outer_one_goes_on():
    table = {'a': {'b': [[1], [2, {}], {'c': []}], 'd': 1}, 'e': [], 'f': 2}
    assert loads('F', dumps('F', [table]), 0)[0][0] == table


def test_a_caller_deep_in_recursion():
    """Neither direction may need more of the stack for a deep table than for a flat one."""
    deep, flat = nested(MAX_DEPTH, True), {'k': 1}
    deep_data, flat_data = dumps('F', [deep]), dumps('F', [flat])
    results = {}

    def descend(call):
        try:
            return descend(call)
        except RecursionError:
            # As deep as that call gets, and then up again until it succeeds.
            return call()

    def run():
        for name, call in {
            'flat': lambda: (dumps('F', [flat]), loads('F', flat_data, 0)[0][0]),
            'deep': lambda: (dumps('F', [deep]), loads('F', deep_data, 0)[0][0]),
        }.items():
            calls = []

            def counted(call=call, calls=calls):
                calls.append(1)
                return call()

            value = descend(counted)
            results[name] = value, len(calls)

    # In a thread of its own: the test runner's frames do not count.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results['flat'][0] == (flat_data, flat)
    assert results['deep'][0] == (deep_data, deep)
    # It took the same number of attempts, and hence of frames.
    assert results['deep'][1] - results['flat'][1] <= 1
    assert results['deep'][1] < 20 < MAX_DEPTH < sys.getrecursionlimit()


# -- containers that are not what they seem ------------------------------------------------------


class Proxy:
    """As celery.local.Proxy: passes for what it stands for."""

    def __init__(self, target):
        object.__setattr__(self, 'target', target)

    @property
    def __class__(self):
        return type(self.target)

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, 'target'), name)

    def __iter__(self):
        return iter(self.target)


def test_proxies_of_containers():
    table = {'a': [1, {'b': 2}]}
    assert dumps('F', [Proxy(table)]) == dumps('F', [table])
    assert dumps('F', [{'a': Proxy([1, Proxy({'b': 2})])}]) == dumps('F', [table])
    assert dumps('A', [Proxy([1])]) == dumps('A', [[1]])
    assert written(_write_item, Proxy({'a': 1})) == written(_write_item, {'a': 1})
    with pytest.raises(EncodeError, match=r"^key 'a\[1\]\.b': object is not"):
        dumps('F', [Proxy({'a': Proxy([1, Proxy({'b': object()})])})])


class Zone(tzinfo):
    """A time zone that does something when it is asked."""

    def __init__(self, act):
        self.act = act

    def utcoffset(self, moment):
        self.act()
        return timedelta(0)


@pytest.mark.parametrize('entries', [1, 2, 50])
@pytest.mark.parametrize('act', ['add', 'remove', 'clear'])
def test_a_table_that_changes_while_it_is_encoded(entries, act):
    table = {}
    acts = {
        'add': lambda: table.update({'new': 1, 'newer': 2}),
        'remove': lambda: table.pop('time', None),
        'clear': table.clear,
    }
    table['time'] = datetime(2020, 1, 1, tzinfo=Zone(acts[act]))
    table |= {f'k{number}': [number] for number in range(entries - 1)}
    with pytest.raises(RuntimeError, match=r'^dictionary changed size during iteration$'):
        dumps('F', [table])
    # An array may grow and shrink: what is there when its turn comes is sent.
    array = []
    array += [datetime(2020, 1, 1, tzinfo=Zone(array.clear)), 1, 2]
    assert loads('A', dumps('A', [array]), 0)[0] == [[datetime(2020, 1, 1)]]


def test_a_table_whose_values_are_replaced_while_it_is_encoded():
    table = {}
    moment = datetime(2020, 1, 1, tzinfo=Zone(lambda: table.update(time=1, last='other' * 9)))
    table |= {'time': moment, 'last': 'one'}
    assert loads('F', dumps('F', [table]), 0)[0] == [
        {'time': datetime(2020, 1, 1), 'last': 'other' * 9}
    ]


def test_a_table_that_swaps_keys_while_it_is_encoded():
    table = {}

    def swap():
        del table['time']
        table[f'new{len(seen)}'] = datetime(2020, 1, 1, tzinfo=Zone(swap))
        seen.append(1)
        table['time'] = table.pop(f'new{len(seen) - 1}')

    seen = []
    table['time'] = datetime(2020, 1, 1, tzinfo=Zone(swap))
    with pytest.raises(RuntimeError, match=r'^dictionary keys changed during iteration$'):
        dumps('F', [table])


def test_values_are_asked_for_as_from_any_sequence():
    class Values:
        def __len__(self):
            return 2

        def __getitem__(self, position):
            if position == 1:
                raise KeyError('mine')
            return 5

    with pytest.raises(KeyError, match='mine'):
        dumps('oo', Values())


# -- checking without decoding -------------------------------------------------------------------


@pytest.mark.parametrize('vector', BASIC, ids=lambda vector: vector['name'])
def test_properties_that_are_fine_are_taken(vector):
    assert take_properties(vector['wire'], 0) in (None, vector['value'])
    assert take_properties(bytearray(b'ab' + vector['wire']), 2) in (None, vector['value'])


def fate(read, *args):
    try:
        read(*args)
    except FrameSyntaxError as exc:
        return str(exc)
    return ''


def test_properties_are_refused_just_where_they_cannot_be_decoded():
    rng = random.Random(7)
    fates = set()
    for number in range(6000):
        data = bytearray(RICH_PROPERTIES)
        if number % 2:
            data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            del data[rng.randrange(len(data)) :]
        offset = rng.randrange(-1, 3)
        data[0:0] = bytes(max(offset, 0))
        expected = fate(decode_properties_basic, data, offset)
        assert fate(take_properties, data, offset) == expected
        fates.add(expected.partition(' at ')[0])
    assert len(fates) > 8


@pytest.mark.parametrize('depth', [1, MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize('keyed', [False, True])
def test_properties_with_deep_headers_are_checked(depth, keyed):
    inner = nested_bytes(depth - 1, keyed) if depth > 1 else b''
    data = (b'\x01k' + (b'F' if keyed else b'A') + inner) if inner else b''
    data = b'\x20\x00' + struct.pack('>I', len(data)) + data
    assert fate(take_properties, data, 0) == fate(decode_properties_basic, data, 0)
    assert bool(fate(take_properties, data, 0)) == (depth > MAX_DEPTH)


# -- hostile bytes -------------------------------------------------------------------------------

RICH = {
    'text': 'héllo',
    'bytes': b'\xff\xfe',
    'void': None,
    'true': True,
    'int': -5,
    'long': 2**40,
    'float': 1.5,
    'decimal': Decimal('-1.55'),
    'time': datetime(2020, 1, 1),
    b'\xff': 'key',
    'array': [1, 'two', [3, []], {'four': 4}],
    'table': {'nested': {'deep': [None, True]}},
}
RICH_DATA = dumps('F', [RICH])
RICH_PROPERTIES = encode_properties(
    {
        name: RICH if letter == 'F' else 7 if letter in 'oL' else 'text'
        for name, letter in BASIC_PROPERTIES
    }
)


def test_rich_table():
    assert loads('F', RICH_DATA, 0) == ([RICH], len(RICH_DATA))


def only_syntax_errors(read, *args):
    """Call and return the value, or None for a FrameSyntaxError; anything else goes up."""
    try:
        return read(*args)
    except FrameSyntaxError as exc:
        assert not isinstance(exc, EncodeError)  # noqa: PT017
        return None


def test_cut_at_every_offset():
    for length in range(len(RICH_DATA)):
        assert only_syntax_errors(loads, 'F', RICH_DATA[:length], 0) is None
        # With the outer length made right: still cut in the middle of something, or shorter.
        data = struct.pack('>I', max(length - 4, 0)) + RICH_DATA[4:length]
        result = only_syntax_errors(loads, 'F', data, 0)
        assert result is None or result[1] == len(data)
    for length in range(len(RICH_PROPERTIES)):
        assert only_syntax_errors(decode_properties_basic, RICH_PROPERTIES[:length], 0) is None


def test_contents_must_end_where_they_say():
    # An inner length beyond its container, and a value that runs over the container's end.
    for data in (
        '00000007' + '016b46' + '00000005' + '01617401',
        '00000004' + '016b4900000001',
        '00000001' + '00',
        '00000003' + '026b74',
        '00000002' + '0500' + '00' * 9,
    ):
        with pytest.raises(FrameSyntaxError):
            loads('F', bytes.fromhex(data), 0)


@pytest.mark.parametrize('size', [5, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize('format', ['S', 'x', 'F', 'A'])
def test_huge_declared_length_takes_no_memory(format, size):
    data = struct.pack('>I', size) + b'abc'
    wrapped = struct.pack('>I', len(data) + 3) + b'\x01k' + format.encode() + data
    tracemalloc.start()
    try:
        for args in ((format, data, 0), ('F', wrapped, 0)):
            with pytest.raises(FrameSyntaxError, match='past the end'):
                loads(*args)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('flags', [0x0001, 0x0002, 0x8001, 0xFFFF])
def test_unknown_property_flags(flags):
    with pytest.raises(FrameSyntaxError, match='unknown property flags'):
        decode_properties_basic(struct.pack('>H', flags) + bytes(100), 0)


def test_single_bytes_changed():
    for offset in range(len(RICH_DATA)):
        for octet in (0, 1, 0x7F, 0x80, 0xFF, RICH_DATA[offset] ^ 1, *b'AFSVtx'):
            data = bytearray(RICH_DATA)
            data[offset] = octet
            only_syntax_errors(loads, 'F', bytes(data), 0)


def test_random_mutations():
    rng = random.Random(20200101)
    for _ in range(5000):
        data = bytearray(rng.choice((RICH_DATA, RICH_PROPERTIES)))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.randrange(len(data)) + 1 :]
        only_syntax_errors(loads, 'F', data, 0)
        only_syntax_errors(decode_properties_basic, data, 0)
        only_syntax_errors(_read_item, data, 0)


FORMATS = sorted({method.format for method in spec.METHODS.values()} | {'A', 'T', 'x', 'bbbbbbbbb'})


@given(st.sampled_from(FORMATS), st.binary(max_size=100))
def test_random_bytes(format, data):
    result = only_syntax_errors(loads, format, data, 0)
    if result is not None:
        values, end = result
        assert len(values) == len(format)
        assert 0 <= end <= len(data)


# -- round trips ---------------------------------------------------------------------------------


@given(tables.tables)
def test_what_is_written_is_read(table):
    data = dumps('F', [table])
    assert strict(loads('F', data, 0)) == strict(([tables.as_read(table)], len(data)))


@given(tables.values)
def test_items(value):
    item = written(_write_item, value)
    assert strict(_read_item(item, 0)) == strict((tables.as_read(value), len(item)))


STRATEGIES = {
    'b': st.booleans(),
    'o': st.integers(0, 255),
    'B': st.integers(0, 65535),
    'l': st.integers(0, 2**32 - 1),
    'L': st.integers(0, 2**64 - 1),
    's': tables.keys,
    'S': tables.texts,
    'F': tables.tables,
}


@given(st.data())
def test_arguments_of_every_method(data):
    method = data.draw(st.sampled_from(sorted(spec.METHODS.values())))
    values = [data.draw(STRATEGIES[letter]) for letter in method.format]
    wire = dumps(method.format, values)
    assert loads(method.format, wire, 0) == (tables.as_read(values), len(wire))


@given(
    st.fixed_dictionaries(
        {}, optional={name: STRATEGIES[letter] for name, letter in BASIC_PROPERTIES}
    )
)
def test_properties(properties):
    wire = encode_properties(properties)
    read, end = decode_properties_basic(wire, 0)
    assert read == tables.as_read(properties)
    assert end == len(wire)
    assert list(read) == [name for name, _ in BASIC_PROPERTIES if name in properties]


@example(580, b'x')  # bytes, of type x: written as a long string, they come back as text
@given(st.integers(0, 2**16), st.binary(max_size=60))
def test_what_is_read_can_be_written_and_read_again(seed, noise):
    """Whatever a peer sent and we accepted, we can send on; NaN and T beyond 9999 aside."""
    rng = random.Random(seed)
    data = bytearray(RICH_DATA)
    for octet in noise[:6]:
        data[rng.randrange(4, len(data))] = octet
    result = only_syntax_errors(loads, 'F', bytes(data), 0)
    if result is None:
        return
    try:
        again = dumps('F', result[0])
    except EncodeError as exc:
        assert 'finite' in str(exc) or '64 bits' in str(exc)  # noqa: PT017
        return
    assert strict(loads('F', again, 0)[0]) == strict(tables.as_read(result[0]))


@pytest.mark.parametrize('number', [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_number_at_a_place(number):
    octets = b'xyz' + number.to_bytes(8, 'big') + b'z'
    assert read_longlong(octets, 3) == number == loads('L', octets, 3)[0][0]


@pytest.mark.parametrize('offset', [-9, -1, 1, 8, 9, 2**40])
def test_no_number_where_octets_are_missing(offset):
    with pytest.raises(FrameSyntaxError, match=f'value of 8 bytes at offset {offset} runs past'):
        read_longlong(bytes(8), offset)
