"""What two sides agree on: values in, values out."""

from __future__ import annotations

import pytest

from amqp.exceptions import FrameError
from amqp.negotiation import (
    agreed_capabilities,
    agreed_frame_max,
    largest_frame_accepted,
    lower_limit,
    words,
)


@pytest.mark.parametrize(
    ('ours', 'theirs', 'agreed'),
    [(0, 0, 0), (0, 7, 7), (7, 0, 7), (3, 7, 3), (7, 3, 3), (7, 7, 7)],
)
def test_lower_limit(ours, theirs, agreed):
    assert lower_limit(ours, theirs) == agreed


@pytest.mark.parametrize(
    ('ours', 'theirs', 'agreed'),
    [
        (131_072, 131_072, 131_072),
        (131_072, 4096, 4096),
        (4096, 131_072, 4096),
        (0, 8192, 8192),
        (8192, 0, 8192),
        (0, 0, 0),
    ],
)
def test_frame_max(ours, theirs, agreed):
    assert agreed_frame_max(ours, theirs) == agreed


@pytest.mark.parametrize('theirs', [1, 4095])
def test_frame_max_below_what_every_peer_takes(theirs):
    with pytest.raises(FrameError, match=f'{theirs} is below 4096'):
        agreed_frame_max(131_072, theirs)


@pytest.mark.parametrize(
    ('frame_max', 'max_message_size', 'accepted'),
    [
        (4096, 100, 4096),
        (4096, 0, 4096),
        (0, 100, 108),
        (0, 0, 2**32 + 8),
    ],
)
def test_largest_frame_accepted(frame_max, max_message_size, accepted):
    assert largest_frame_accepted(frame_max, max_message_size) == accepted


def test_only_what_is_offered_is_answered():
    wanted = {'a': True, 'b': False, 'c': True}
    assert agreed_capabilities(wanted, {'a': True, 'b': True, 'x': True}, None) == {
        'a': True,
        'b': False,
    }


def test_the_application_has_the_last_word():
    assert agreed_capabilities({'a': True}, {'a': True}, {'a': False, 'z': True}) == {
        'a': False,
        'z': True,
    }


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('PLAIN AMQPLAIN', ['PLAIN', 'AMQPLAIN']),
        (' en_US  de ', ['en_US', 'de']),
        ('', []),
        (b'PLAIN \xff', ['PLAIN', '\xff']),
    ],
)
def test_words(text, found):
    assert words(text) == found
