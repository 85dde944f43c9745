"""Arguments of queues, spelled out."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta, timezone

import pytest

from amqp import queue_arguments
from amqp.queue_arguments import (
    consumer_priority,
    dead_letter,
    expires,
    lazy,
    max_length,
    max_priority,
    message_ttl,
    quorum,
    single_active_consumer,
    stream,
    stream_offset,
)
from amqp.serialization import dumps, loads

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
NAN = float('nan')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (quorum(), {'x-queue-type': 'quorum'}),
        (
            quorum(delivery_limit=5, group_size=3, leader_locator='balanced'),
            {
                'x-queue-type': 'quorum',
                'x-delivery-limit': 5,
                'x-quorum-initial-group-size': 3,
                'x-queue-leader-locator': 'balanced',
            },
        ),
        (quorum(delivery_limit=0), {'x-queue-type': 'quorum', 'x-delivery-limit': 0}),
        (quorum(delivery_limit=-1), {'x-queue-type': 'quorum', 'x-delivery-limit': -1}),
        (stream(), {'x-queue-type': 'stream'}),
        (
            stream(
                max_bytes=10**10,
                max_age=86_400 * 7,
                segment_bytes=10**6,
                group_size=1,
                leader_locator='client-local',
            ),
            {
                'x-queue-type': 'stream',
                'x-max-length-bytes': 10**10,
                'x-max-age': '7D',
                'x-stream-max-segment-size-bytes': 10**6,
                'x-initial-cluster-size': 1,
                'x-queue-leader-locator': 'client-local',
            },
        ),
        (stream_offset('first'), {'x-stream-offset': 'first'}),
        (stream_offset('last'), {'x-stream-offset': 'last'}),
        (stream_offset('next'), {'x-stream-offset': 'next'}),
        (stream_offset(0), {'x-stream-offset': 0}),
        (stream_offset(2**40), {'x-stream-offset': 2**40}),
        (stream_offset(NOON), {'x-stream-offset': NOON}),
        (dead_letter('dlx'), {'x-dead-letter-exchange': 'dlx'}),
        (
            dead_letter('', 'failed'),
            {'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'failed'},
        ),
        (
            dead_letter(routing_key='', strategy='at-least-once'),
            {
                'x-dead-letter-exchange': '',
                'x-dead-letter-routing-key': '',
                'x-dead-letter-strategy': 'at-least-once',
            },
        ),
        (message_ttl(1.5), {'x-message-ttl': 1500}),
        (message_ttl(0), {'x-message-ttl': 0}),
        (message_ttl(4_294_967.295), {'x-message-ttl': 2**32 - 1}),
        (message_ttl(1.001), {'x-message-ttl': 1001}),  # 1.001 * 1000 is a little less
        (expires(0.001), {'x-expires': 1}),
        (expires(1800), {'x-expires': 1_800_000}),
        (max_length(10), {'x-max-length': 10}),
        (max_length(0, overflow='drop-head'), {'x-max-length': 0, 'x-overflow': 'drop-head'}),
        (
            max_length(1, max_bytes=2, overflow='reject-publish-dlx'),
            {'x-max-length': 1, 'x-max-length-bytes': 2, 'x-overflow': 'reject-publish-dlx'},
        ),
        (max_length(max_bytes=5), {'x-max-length-bytes': 5}),
        (max_priority(10), {'x-max-priority': 10}),
        (single_active_consumer(), {'x-single-active-consumer': True}),
        (lazy(), {'x-queue-mode': 'lazy'}),
        (consumer_priority(-3), {'x-priority': -3}),
    ],
)
def test_arguments(arguments, expected):
    assert arguments == expected
    # Each value can be sent.
    [received], _ = loads('F', dumps('F', [arguments]), 0)
    assert received.keys() == expected.keys()


@pytest.mark.parametrize(
    ('seconds', 'age'),
    [
        (1, '1s'),
        (59, '59s'),
        (60, '1m'),
        (90, '90s'),
        (7200, '2h'),
        (86_400, '1D'),
        (90_000, '25h'),
    ],
)
def test_ages(seconds, age):
    assert stream(max_age=seconds)['x-max-age'] == age


def test_they_are_joined_by_a_bar():
    assert quorum() | dead_letter('dlx') | max_length(5) == {
        'x-queue-type': 'quorum',
        'x-dead-letter-exchange': 'dlx',
        'x-max-length': 5,
    }


@pytest.mark.parametrize(
    ('function', 'arguments', 'named'),
    [
        (quorum, {'delivery_limit': -2}, 'delivery_limit -2'),
        (quorum, {'delivery_limit': 1.0}, 'delivery_limit 1.0'),
        (quorum, {'delivery_limit': True}, 'delivery_limit True'),
        (quorum, {'group_size': 0}, 'group_size 0'),
        (quorum, {'leader_locator': 'here'}, "leader_locator 'here'"),
        (stream, {'max_bytes': 0}, 'max_bytes 0'),
        (stream, {'max_age': 0}, 'max_age 0'),
        (stream, {'max_age': 1.5}, 'max_age 1.5'),
        (stream, {'max_age': NAN}, 'max_age nan'),
        (stream, {'max_age': '7D'}, "max_age '7D'"),
        (stream, {'segment_bytes': -1}, 'segment_bytes -1'),
        (stream, {'group_size': '3'}, "group_size '3'"),
        (stream, {'leader_locator': ''}, "leader_locator ''"),
        (stream_offset, {'offset': 'begin'}, "offset 'begin'"),
        (stream_offset, {'offset': -1}, 'offset -1'),
        (stream_offset, {'offset': 2**63}, f'offset {2**63}'),
        (stream_offset, {'offset': datetime(2026, 1, 1)}, 'offset datetime'),
        (stream_offset, {'offset': timedelta(1)}, 'offset datetime.timedelta'),
        (dead_letter, {'exchange': None}, 'exchange None'),
        (dead_letter, {'routing_key': 5}, 'routing_key 5'),
        (dead_letter, {'strategy': 'twice'}, "strategy 'twice'"),
        (message_ttl, {'seconds': -1}, 'seconds -1'),
        (message_ttl, {'seconds': 4_294_968}, 'seconds 4294968'),
        (message_ttl, {'seconds': '60'}, "seconds '60'"),
        (message_ttl, {'seconds': NAN}, 'seconds nan'),
        (message_ttl, {'seconds': True}, 'seconds True'),
        (expires, {'seconds': 0}, 'seconds 0'),
        (max_length, {}, 'neither messages nor max_bytes'),
        (max_length, {'overflow': 'drop-head'}, 'neither messages nor max_bytes'),
        (max_length, {'messages': -1}, 'messages -1'),
        (max_length, {'max_bytes': 1.5}, 'max_bytes 1.5'),
        (max_length, {'messages': 1, 'overflow': 'drop'}, "overflow 'drop'"),
        (max_priority, {'highest': 0}, 'highest 0'),
        (max_priority, {'highest': 256}, 'highest 256'),
        (consumer_priority, {'priority': 2**31}, f'priority {2**31}'),
    ],
)
def test_what_cannot_be_right_is_named(function, arguments, named):
    with pytest.raises(ValueError) as caught:
        function(**arguments)
    assert str(caught.value).startswith(named)


def test_none_is_not_a_number_that_has_to_be_given():
    for function in (max_priority, consumer_priority, stream_offset):
        with pytest.raises(ValueError, match='None'):
            function(None)
    for function in (message_ttl, expires):
        with pytest.raises(ValueError, match='None'):
            function(None)


def test_every_function_is_public():
    functions = {
        name
        for name, value in vars(queue_arguments).items()
        if inspect.isfunction(value) and not name.startswith('_')
    }
    assert functions == set(queue_arguments.__all__)
