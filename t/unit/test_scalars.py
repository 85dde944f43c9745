"""Single values and refusals. How they look on the wire, test_tables.py tests on both builds."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from struct import error as struct_error

import pytest

from amqp import scalars
from amqp.exceptions import EncodeError, FrameSyntaxError


@pytest.mark.parametrize(
    ('path', 'place'),
    [
        ([(True, 'a')], 'a'),
        ([(False, 0)], '[0]'),
        ([(True, 'a'), (False, 2), (True, 'b'), (True, 'c')], 'a[2].b.c'),
        ([(False, 1), (True, 'a')], '[1].a'),
        ([(True, b'\xffa')], '\ufffda'),
        ([(True, 5)], '<int>'),
        ([(True, 'x' * 65)], 'x' * 61 + '...'),
    ],
)
def test_the_place_of_an_error(path, place):
    error = scalars.at_key(path, EncodeError('it is bad'))
    assert (type(error), str(error)) == (EncodeError, f'key {place!r}: it is bad')


@pytest.mark.parametrize('letter', sorted(scalars.ARGUMENT_ENCODERS.keys() - set('sSx')))
def test_every_misfit_is_explained(letter):
    for value in (-1, 1 << 64, 'text', None):
        with pytest.raises(struct_error):
            scalars.encode_argument(letter, value)
        assert 'length' not in str(scalars.misfit(letter, value))


def test_seconds_and_what_they_stand_for():
    assert scalars.to_datetime(0) == datetime(1970, 1, 1)
    last = scalars.to_datetime(253402300799)
    assert last == datetime(9999, 12, 31, 23, 59, 59)
    assert scalars.seconds(last) == 253402300799
    assert scalars.to_datetime(253402300800) == 253402300800


def test_decimals_keep_their_places():
    assert str(scalars.to_decimal(3, -1500)) == '-1.500'
    assert scalars.to_decimal(255, 1) == Decimal('1E-255')


@pytest.mark.parametrize(
    ('buf', 'offset'), [(b'', 0), (b'ab', 2), (bytearray(b'ab'), 1), (memoryview(b'ab'), 0)]
)
def test_whatever_holds_bytes_is_read(buf, offset):
    data = scalars.to_bytes(buf, offset)
    assert type(data) is bytes
    assert data == buf


@pytest.mark.parametrize('offset', [-1, 3])
def test_an_offset_outside_is_refused(offset):
    with pytest.raises(FrameSyntaxError, match='outside of 2 bytes'):
        scalars.to_bytes(b'ab', offset)
