"""Hypothesis strategies for AMQP tables: what can be encoded, and how it comes back."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=[]), max_size=20)  # lone surrogates too
int64 = st.integers(-(2**63), 2**63 - 1)
decimals = st.builds(
    lambda mantissa, places: Decimal(mantissa).scaleb(-places),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 255),
)
times = st.datetimes(min_value=datetime(1970, 1, 1)).map(lambda time: time.replace(microsecond=0))
aware_times = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.timezones().filter(lambda zone: zone is not None),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    int64,
    texts,
    st.binary(max_size=20),
    decimals,
    times,
    aware_times,
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(bytearray, st.binary(max_size=5)),
)

keys = texts.filter(lambda key: len(key.encode('utf-8', 'surrogatepass')) < 256)


def containers(children: Any) -> Any:
    return st.one_of(
        st.lists(children, max_size=6),
        st.lists(children, max_size=6).map(tuple),
        st.dictionaries(keys, children, max_size=6),
    )


values = st.recursive(scalars, containers, max_leaves=30)
tables = st.dictionaries(keys, values, max_size=10)


def as_read(value: Any) -> Any:
    """Return what `value` is after it has gone over the wire."""
    if isinstance(value, dict):
        return {as_read(key): as_read(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_read(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode('utf-8', 'surrogatepass')
        except UnicodeDecodeError:
            return bytes(value)
    if isinstance(value, datetime):
        if value.tzinfo:
            value = value.astimezone(timezone.utc).replace(tzinfo=None)
        return value.replace(microsecond=0, fold=0)
    return value
