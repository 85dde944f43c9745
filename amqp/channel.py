"""Channels: the AMQP methods of the classes channel, exchange, queue, basic and tx.

Threads: a channel's publish, ack, nack and reject may be called from any
thread while another drains the connection. For everything else, give each
thread a channel of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from . import spec
from .abstract_channel import MethodSig
from .protocol import queue_declare_ok_t
from .streaming_channel import StreamingChannel

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar

    Table = dict[str, Any]

__all__ = ('Channel',)


class Channel(StreamingChannel):
    """A channel of *connection*; `Connection.channel` makes and opens one.

    :param channel_id: the number to use; by default a free one.
    :param auto_decode: whether the body of a received message becomes a str
        where its content_encoding says how.
    :param on_open: called with this channel when it has been opened.

    A channel that the broker closed because of an error is opened again by the
    next use of this object; its consumers, its prefetch limit and its
    unacknowledged messages are gone then. Once the connection is lost, or
    `close` was called, ``connection`` is None and every method raises
    `RecoverableConnectionError`.
    """

    _METHODS: ClassVar[dict[MethodSig, spec.method_t]] = {
        sig: spec.method(sig, method.format or None, method.content)
        for sig, method in spec.METHODS.items()
        if sig[0] != spec.Connection.CLASS_ID and method.direction != 'client'
    }

    def __init__(
        self,
        connection: Any,
        channel_id: int | None = None,
        auto_decode: bool = True,
        on_open: Callable[[Channel], Any] | None = None,
    ) -> None:
        super().__init__(connection, channel_id, on_open, auto_decode)
        # When all of it is there, for another thread may end the connection now.
        connection.channels[self.channel_id] = self

    # -- class channel

    def flow(self, active: bool) -> Any:
        """Ask the broker to pause (False) or resume (True) deliveries on this channel.

        RabbitMQ refuses to pause: `AMQPNotImplementedError`. Use `basic_qos`.
        """
        return self.send_method(spec.Channel.Flow, 'b', (active,), wait=spec.Channel.FlowOk)

    # -- class exchange

    def exchange_declare(
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BssbbbbbF',
        internal: bool = False,
    ) -> None:
        """Create an exchange, or check that it is there as described.

        :param type: ``direct``, ``fanout``, ``topic``, ``headers``, or one
            that a plugin adds.
        :param passive: only check that it exists (`NotFound` if not).
        :param durable: keep it over a restart of the broker.
        :param auto_delete: delete it after its last binding has gone.
        :param internal: take messages from other exchanges only (RabbitMQ).
        :param nowait: don't wait for the reply; an error closes the channel.
        """
        self.send_method(
            spec.Exchange.Declare,
            argsig,
            (0, exchange, type, passive, durable, auto_delete, internal, nowait, arguments),
            wait=None if nowait else spec.Exchange.DeclareOk,
        )

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False, argsig: str = 'Bsbb'
    ) -> None:
        """Delete an exchange; with *if_unused* only one without bindings."""
        self.send_method(
            spec.Exchange.Delete,
            argsig,
            (0, exchange, if_unused, nowait),
            wait=None if nowait else spec.Exchange.DeleteOk,
        )

    def exchange_bind(
        self,
        destination: str,
        source: str = '',
        routing_key: str = '',
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BsssbF',
    ) -> None:
        """Route what *source* gets for *routing_key* to *destination*, an exchange (RabbitMQ)."""
        self.send_method(
            spec.Exchange.Bind,
            argsig,
            (0, destination, source, routing_key, nowait, arguments),
            wait=None if nowait else spec.Exchange.BindOk,
        )

    def exchange_unbind(
        self,
        destination: str,
        source: str = '',
        routing_key: str = '',
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BsssbF',
    ) -> None:
        """Undo `exchange_bind` with the same arguments (RabbitMQ)."""
        self.send_method(
            spec.Exchange.Unbind,
            argsig,
            (0, destination, source, routing_key, nowait, arguments),
            wait=None if nowait else spec.Exchange.UnbindOk,
        )

    # -- class queue

    def queue_bind(
        self,
        queue: str,
        exchange: str = '',
        routing_key: str = '',
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BsssbF',
    ) -> None:
        """Route what *exchange* gets for *routing_key* to *queue*."""
        self.send_method(
            spec.Queue.Bind,
            argsig,
            (0, queue, exchange, routing_key, nowait, arguments),
            wait=None if nowait else spec.Queue.BindOk,
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = '',
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BsssF',
    ) -> None:
        """Undo `queue_bind` with the same arguments.

        The protocol has no *nowait* here: the broker replies, and nobody waits.
        """
        args = (0, queue, exchange, routing_key, arguments)
        if not nowait:
            self.send_method(spec.Queue.Unbind, argsig, args, wait=spec.Queue.UnbindOk)
            return
        payload = self._encode_arguments(spec.Queue.Unbind, argsig, args)
        self._prepare(spec.Queue.Unbind)
        self._request(spec.Queue.Unbind, payload, None, spec.Queue.UnbindOk)

    def queue_declare(
        self,
        queue: str = '',
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Table | None = None,
        argsig: str = 'BsbbbbbF',
    ) -> queue_declare_ok_t | None:
        """Create a queue, or check that it is there as described.

        :param queue: its name; the broker makes one up for an empty one.
        :param passive: only check that it exists (`NotFound` if not).
        :param durable: keep it over a restart of the broker.
        :param exclusive: for this connection only, and deleted with it.
        :param auto_delete: delete it after its last consumer has gone.
        :param arguments: such as ``x-queue-type``.

        Returns its name, its messages ready, its consumers; None with *nowait*.
        """
        declared = self.send_method(
            spec.Queue.Declare,
            argsig,
            (0, queue, passive, durable, exclusive, auto_delete, nowait, arguments),
            wait=None if nowait else spec.Queue.DeclareOk,
            returns_tuple=True,
        )
        return None if nowait else queue_declare_ok_t(*declared)

    def queue_delete(
        self,
        queue: str = '',
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        argsig: str = 'Bsbbb',
    ) -> int | None:
        """Delete a queue; the number of messages that went with it, None with *nowait*."""
        count: int | None = self.send_method(
            spec.Queue.Delete,
            argsig,
            (0, queue, if_unused, if_empty, nowait),
            wait=None if nowait else spec.Queue.DeleteOk,
        )
        return count

    def queue_purge(self, queue: str = '', nowait: bool = False, argsig: str = 'Bsb') -> int | None:
        """Drop the messages of a queue that are ready; their number, None with *nowait*."""
        count: int | None = self.send_method(
            spec.Queue.Purge,
            argsig,
            (0, queue, nowait),
            wait=None if nowait else spec.Queue.PurgeOk,
        )
        return count

    # -- class tx

    def tx_select(self) -> None:
        """Make this channel transactional: publishes and acks take effect at `tx_commit`."""
        self.send_method(spec.Tx.Select, wait=spec.Tx.SelectOk)

    def tx_commit(self) -> None:
        """Commit what was published and acknowledged since the last commit or rollback."""
        self.send_method(spec.Tx.Commit, wait=spec.Tx.CommitOk)

    def tx_rollback(self) -> None:
        """Drop what was published and acknowledged since the last commit or rollback."""
        self.send_method(spec.Tx.Rollback, wait=spec.Tx.RollbackOk)
