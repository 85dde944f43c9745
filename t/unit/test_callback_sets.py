"""Sets of callbacks, made when they are asked for."""

from __future__ import annotations

import pytest

from amqp.callback_sets import ChannelCallbacks, ConnectionCallbacks


def test_a_set_is_made_once():
    sets = ChannelCallbacks()
    assert sets.get('close') is None
    sets['close'].add(print)
    assert sets['close'] == {print}
    assert list(sets) == ['close']


@pytest.mark.parametrize(
    ('sets', 'names'),
    [
        (ConnectionCallbacks(), 'blocked, close, unblocked'),
        (ChannelCallbacks(), 'basic_ack, basic_nack, basic_return, cancel, close, flow'),
    ],
)
def test_another_name_is_refused(sets, names):
    with pytest.raises(KeyError, match=f"no event 'closed', but: {names}"):
        sets['closed'].add(print)
    assert not sets
    for name in names.split(', '):
        assert sets[name] == set()
