"""Channels, over real bytes: what each method sends and returns, and what becomes of a channel."""

from __future__ import annotations

import pytest
from pamqp import commands

import amqp
from amqp.protocol import queue_declare_ok_t
from t.helpers.threads import Background, until

from .support import scripted

# -- every method: its bytes, its result

TABLE = {'x': 1}


@pytest.mark.parametrize(
    ('call', 'kind', 'fields', 'result'),
    [
        (
            lambda c: c.exchange_declare('e', 'topic'),
            commands.Exchange.Declare,
            {
                'exchange': 'e',
                'exchange_type': 'topic',
                'passive': False,
                'durable': False,
                'auto_delete': True,
                'internal': False,
                'nowait': False,
                'arguments': {},
            },
            None,
        ),
        (
            lambda c: c.exchange_declare(
                'e', 'fanout', True, True, False, False, TABLE, internal=True
            ),
            commands.Exchange.Declare,
            {
                'passive': True,
                'durable': True,
                'auto_delete': False,
                'internal': True,
                'arguments': TABLE,
            },
            None,
        ),
        (
            lambda c: c.exchange_delete('e', True),
            commands.Exchange.Delete,
            {'exchange': 'e', 'if_unused': True, 'nowait': False},
            None,
        ),
        (
            lambda c: c.exchange_bind('d', 's', 'k', arguments=TABLE),
            commands.Exchange.Bind,
            {'destination': 'd', 'source': 's', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.exchange_unbind('d', 's', 'k', arguments=TABLE),
            commands.Exchange.Unbind,
            {'destination': 'd', 'source': 's', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.queue_declare(),
            commands.Queue.Declare,
            {
                'queue': '',
                'passive': False,
                'durable': False,
                'exclusive': False,
                'auto_delete': True,
                'nowait': False,
            },
            queue_declare_ok_t('amq.gen', 0, 0),
        ),
        (
            lambda c: c.queue_declare('q', True, True, True, False, False, TABLE),
            commands.Queue.Declare,
            {
                'queue': 'q',
                'passive': True,
                'durable': True,
                'exclusive': True,
                'auto_delete': False,
                'arguments': TABLE,
            },
            ('q', 0, 0),
        ),
        (
            lambda c: c.queue_bind('q', 'e', 'k', arguments=TABLE),
            commands.Queue.Bind,
            {'queue': 'q', 'exchange': 'e', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (
            lambda c: c.queue_unbind('q', 'e', 'k', arguments=TABLE),
            commands.Queue.Unbind,
            {'queue': 'q', 'exchange': 'e', 'routing_key': 'k', 'arguments': TABLE},
            None,
        ),
        (lambda c: c.queue_purge('q'), commands.Queue.Purge, {'queue': 'q'}, 0),
        (
            lambda c: c.queue_delete('q', True, True),
            commands.Queue.Delete,
            {'queue': 'q', 'if_unused': True, 'if_empty': True},
            0,
        ),
        (
            lambda c: c.basic_qos(0, 10, True),
            commands.Basic.Qos,
            {'prefetch_size': 0, 'prefetch_count': 10, 'global_': True},
            None,
        ),
        (
            lambda c: c.basic_consume('q', 'tag', True, False, True, arguments=TABLE),
            commands.Basic.Consume,
            {
                'queue': 'q',
                'consumer_tag': 'tag',
                'no_local': True,
                'no_ack': False,
                'exclusive': True,
                'arguments': TABLE,
            },
            'tag',
        ),
        (
            lambda c: c.basic_get('q', True),
            commands.Basic.Get,
            {'queue': 'q', 'no_ack': True},
            None,
        ),
        (lambda c: c.basic_recover(True), commands.Basic.Recover, {'requeue': True}, None),
        (lambda c: c.flow(True), commands.Channel.Flow, {'active': True}, True),
        (lambda c: c.confirm_select(), commands.Confirm.Select, {'nowait': False}, None),
        (lambda c: c.tx_select(), commands.Tx.Select, {}, None),
        (lambda c: c.tx_commit(), commands.Tx.Commit, {}, None),
        (lambda c: c.tx_rollback(), commands.Tx.Rollback, {}, None),
    ],
)
def test_methods_with_a_reply(channel, wire, call, kind, fields, result):
    assert call(channel) == result
    (sent,) = wire.seen(kind)
    for name, value in fields.items():
        assert getattr(sent, name) == value, name


@pytest.mark.parametrize(
    ('call', 'kind'),
    [
        (lambda c: c.exchange_declare('e', 'direct', nowait=True), commands.Exchange.Declare),
        (lambda c: c.exchange_delete('e', nowait=True), commands.Exchange.Delete),
        (lambda c: c.exchange_bind('d', 's', nowait=True), commands.Exchange.Bind),
        (lambda c: c.exchange_unbind('d', 's', nowait=True), commands.Exchange.Unbind),
        (lambda c: c.queue_declare('q', nowait=True), commands.Queue.Declare),
        (lambda c: c.queue_bind('q', 'e', nowait=True), commands.Queue.Bind),
        (lambda c: c.queue_purge('q', nowait=True), commands.Queue.Purge),
        (lambda c: c.queue_delete('q', nowait=True), commands.Queue.Delete),
        (lambda c: c.confirm_select(nowait=True), commands.Confirm.Select),
    ],
)
def test_methods_that_wait_for_no_reply(channel, wire, call, kind):
    assert call(channel) is None
    assert wire.seen(kind)[0].nowait is True


def test_an_unbind_that_nobody_waits_for_takes_its_own_reply(peer, connect):
    """The protocol has no nowait there: the reply comes, and must not be the next unbind's."""
    channel = scripted(peer, connect, mute=[commands.Queue.Unbind])
    wire = peer.wire()
    channel.queue_unbind('q', 'e', 'first', nowait=True)
    second = Background(channel.queue_unbind, 'q', 'e', 'second')
    wire.seen(commands.Queue.Unbind, 2)
    wire.send(1, commands.Queue.UnbindOk())
    until(lambda: len(channel._replies) == 1)
    wire.send(1, commands.Queue.UnbindOk())
    second.result()


@pytest.mark.parametrize(
    ('call', 'kind', 'fields'),
    [
        (
            lambda c: c.basic_ack(7, multiple=True),
            commands.Basic.Ack,
            {'delivery_tag': 7, 'multiple': True},
        ),
        (
            lambda c: c.basic_nack(2**40, True, False),
            commands.Basic.Nack,
            {'delivery_tag': 2**40, 'multiple': True, 'requeue': False},
        ),
        (
            lambda c: c.basic_reject(7, requeue=True),
            commands.Basic.Reject,
            {'delivery_tag': 7, 'requeue': True},
        ),
    ],
)
def test_methods_without_a_reply(channel, wire, call, kind, fields):
    assert call(channel) is None
    (sent,) = wire.seen(kind)
    for name, value in fields.items():
        assert getattr(sent, name) == value


@pytest.mark.filterwarnings('ignore:This command is deprecated')
def test_recover_async(channel, wire):
    channel.basic_recover_async(True)
    assert wire.seen(commands.Basic.RecoverAsync)[0].requeue is True


def test_a_connection_that_ends_while_a_channel_is_made(connection):
    """By another thread: it tears down what it knows of, and that must be whole."""

    class Slow(amqp.Channel):
        def _is_direct(self):
            Background(connection.collect).result()
            return super()._is_direct()

    connection.Channel = Slow
    with pytest.raises(amqp.RecoverableConnectionError):
        connection.channel()
    assert not connection.channels
