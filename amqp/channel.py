"""Channels: the AMQP methods of the classes channel, exchange, queue, basic, confirm and tx.

Threads: a channel's publish, ack, nack and reject may be called from any
thread while another drains the connection. For everything else, give each
thread a channel of its own.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable

from . import spec
from .abstract_channel import MethodSig, _WriteFailed
from .basic_message import Message
from .confirm_mode import ConfirmMode
from .confirms import Confirmation
from .deadline import Deadline
from .exceptions import (
    AMQPError,
    ChannelError,
    ConsumerCancelled,
    EncodeError,
    MessageNacked,
    NoRoute,
    UnexpectedFrame,
    error_for_code,
)
from .protocol import basic_return_t, queue_declare_ok_t
from .reopenable_channel import ReopenableChannel
from .states import ChannelState
from .utils import bytes_to_str, get_logger

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar, Literal

    Table = dict[str, Any]
    ConsumerCallback = Callable[[Message], Any]
    CancelCallback = Callable[[str], Any]

__all__ = ('Channel',)

REJECTED_MESSAGE_WITHOUT_CALLBACK = (
    'Requeued message %r of queue consumer %r (exchange=%r routing_key=%r): it has no callback'
)

#: The arguments of basic.publish, and of basic.ack and basic.reject.
PUBLISH_FORMAT = 'Bssbb'
SETTLE_FORMAT = 'Lb'

OPEN = ChannelState.OPEN


class Channel(ReopenableChannel):
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

    _LISTENERS: ClassVar[dict[MethodSig, str]] = {
        **ReopenableChannel._LISTENERS,
        spec.Channel.Flow: '_on_flow',
        spec.Basic.Cancel: '_on_basic_cancel',
        spec.Basic.CancelOk: '_on_basic_cancel_ok',
        spec.Basic.Deliver: '_on_basic_deliver',
        spec.Basic.GetOk: '_on_get_ok',
        spec.Basic.Return: '_on_basic_return',
        spec.Basic.Ack: '_on_basic_ack',
        spec.Basic.Nack: '_on_basic_nack',
    }

    def __init__(
        self,
        connection: Any,
        channel_id: int | None = None,
        auto_decode: bool = True,
        on_open: Callable[[Channel], Any] | None = None,
    ) -> None:
        super().__init__(connection, channel_id, on_open)
        self.auto_decode = auto_decode
        self._consumers.direct = self._is_direct()
        # Whether nobody has put something of his own where methods are sent.
        self._settles_directly = type(self).send_method is Channel.send_method
        #: Whether the peer lets content flow (channel.flow).
        self.active = True
        self.cancel_callbacks: dict[str, CancelCallback] = {}
        #: Tags of the consumers whose messages need no acknowledgement.
        self.no_ack_consumers: set[str] = set()
        # Those of them that were ended without waiting: messages may be under way.
        self._left_behind: set[str] = set()
        #: Sets of callbacks: ``basic_return`` (exc, exchange, routing_key,
        #: message), ``basic_ack`` and ``basic_nack`` (delivery_tag, multiple).
        self.events: dict[str, set[Callable[..., Any]]] = defaultdict(set)
        if connection.confirm_publish:
            self.basic_publish = self.basic_publish_confirm  # type: ignore[method-assign]

    @property
    def auto_decode(self) -> bool:
        """Whether the body of a received message becomes a str where it says how."""
        return self._consumers.auto_decode

    @auto_decode.setter
    def auto_decode(self, auto_decode: bool) -> None:
        self._consumers.auto_decode = auto_decode

    @property
    def callbacks(self) -> dict[str, ConsumerCallback | None]:
        """Callbacks by consumer tag; None for a consumer that has none."""
        return self._consumers.callbacks

    def _is_direct(self) -> bool:
        """Whether nobody has put something of his own between a delivery and its callback."""
        return (
            getattr(self.dispatch_method, '__func__', None) is Channel.dispatch_method
            and getattr(self._on_basic_deliver, '__func__', None) is Channel._on_basic_deliver
        )

    def _renew_locks(self) -> None:
        super()._renew_locks()
        # One that is held in the parent would block for ever here.
        self._confirm_mode = ConfirmMode()

    # -- what its life means for what it carries

    def _lose_state(self, error: BaseException) -> bool:
        self.callbacks.clear()
        self.cancel_callbacks.clear()
        self.no_ack_consumers.clear()
        self._left_behind.clear()
        self.active = True
        publisher_woken = self._confirm_mode.end(error)
        return super()._lose_state(error) or publisher_woken

    def collect(self) -> None:
        """Tear this object down without a word to the broker. Never blocks."""
        super().collect()
        self.events.clear()
        self.__dict__.pop('basic_publish', None)

    def _send(
        self, sig: MethodSig, payload: bytes, content: Any, timeout: float | None = None
    ) -> Confirmation | None:
        if sig != spec.Basic.Publish:
            super()._send(sig, payload, content, timeout)
            if sig == spec.Confirm.Select:
                self._confirm_mode.begin()
            return None
        connection = self._usable_connection()
        confirm_mode = self._confirm_mode
        before, last = connection._octets_given(), confirm_mode.last_tag()
        try:
            confirmation = confirm_mode.number(payload, content)
            super()._send(sig, payload, content, timeout)
        except BaseException as exc:  # not an octet was sent, or the connection is lost
            connection._interrupted(exc, before)
            confirm_mode.withdraw_behind(last)
            raise
        return confirmation

    # -- class channel

    def _on_flow(self, active: bool) -> None:
        self.active = active
        self._answer(spec.Channel.FlowOk, 'b', (active,))

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

    # -- class basic: consuming

    def basic_qos(
        self, prefetch_size: int, prefetch_count: int, a_global: bool, argsig: str = 'lBb'
    ) -> None:
        """Limit what the broker sends ahead of acknowledgements.

        :param prefetch_size: in octets; RabbitMQ knows 0 (no limit) only.
        :param prefetch_count: in messages; 0 is no limit.
        :param a_global: RabbitMQ: False, for each consumer started later; True,
            for all consumers of this channel together.
        """
        self.send_method(
            spec.Basic.Qos, argsig, (prefetch_size, prefetch_count, a_global), wait=spec.Basic.QosOk
        )

    def basic_consume(
        self,
        queue: str = '',
        consumer_tag: str = '',
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: ConsumerCallback | None = None,
        arguments: Table | None = None,
        on_cancel: CancelCallback | None = None,
        argsig: str = 'BssbbbbF',
    ) -> str:
        """Start a consumer and return its tag.

        :param consumer_tag: unique on this channel; made up if empty.
        :param no_local: RabbitMQ ignores it.
        :param no_ack: messages count as acknowledged when they are sent.
        :param exclusive: no other consumer on the queue.
        :param callback: called with each `Message`, in a thread that drains
            the connection. Without one, messages are put back or (no_ack) dropped.
        :param on_cancel: called with the tag when the broker cancels the
            consumer; without one, `ConsumerCancelled` is raised from
            ``drain_events`` then.
        """
        # A tag of the broker's making would come after the first message may
        # (py-amqp#162); one of ours is known before anything is sent.
        if consumer_tag in ('', b''):
            consumer_tag = f'amqp.ctag-{os.urandom(12).hex()}'
        args = (0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments)
        # Before anything is noted down: an argument may be wrong, and
        # reopening the channel forgets its consumers.
        self._encode_arguments(spec.Basic.Consume, argsig, args)
        self._prepare(spec.Basic.Consume)
        consumer_tag = bytes_to_str(consumer_tag)
        self._consumers.direct = self._is_direct()
        self._left_behind.discard(consumer_tag)
        left_behind = self._left_behind.copy()
        self.callbacks[consumer_tag] = callback
        if on_cancel is not None:
            self.cancel_callbacks[consumer_tag] = on_cancel
        if no_ack:
            self.no_ack_consumers.add(consumer_tag)
        try:
            reply = None if nowait else spec.Basic.ConsumeOk
            self.send_method(spec.Basic.Consume, argsig, args, wait=reply)
        except AMQPError:
            self._remove_consumer(consumer_tag)
            raise
        if not nowait:
            # The reply came behind the last messages of consumers ended before.
            left_behind &= self._left_behind
            self._left_behind -= left_behind
            self.no_ack_consumers -= left_behind
        return consumer_tag

    def basic_cancel(
        self, consumer_tag: str, nowait: bool = False, argsig: str = 'sb'
    ) -> str | None:
        """End a consumer; messages on their way still reach its callback.

        Nothing happens on a channel that is closed, for its consumers are gone.
        """
        if self.connection is None or self._state.state is not ChannelState.OPEN:
            return None
        tag: str | None = self.send_method(
            spec.Basic.Cancel,
            argsig,
            (consumer_tag, nowait),
            wait=None if nowait else spec.Basic.CancelOk,
        )
        if nowait:
            # What is under way is put back or, still known as no_ack, dropped.
            consumer_tag = bytes_to_str(consumer_tag)
            self.callbacks.pop(consumer_tag, None)
            self.cancel_callbacks.pop(consumer_tag, None)
            if consumer_tag in self.no_ack_consumers:
                self._left_behind.add(consumer_tag)
        return tag

    def _on_basic_cancel(self, consumer_tag: str, nowait: bool = True) -> None:
        """The broker has ended a consumer: its queue is gone, or has moved."""
        if not nowait:
            self._answer(spec.Basic.CancelOk, 's', (consumer_tag,))
        on_cancel = self._remove_consumer(consumer_tag)
        if on_cancel is not None:
            self._connection_events.add(self, on_cancel, consumer_tag)
        else:
            self._connection_events.add_report(self, self._report_cancel, consumer_tag)

    def _report_cancel(self, consumer_tag: str) -> None:
        raise ConsumerCancelled(consumer_tag, spec.Basic.Cancel)

    def _on_basic_cancel_ok(self, consumer_tag: str) -> None:
        self._remove_consumer(consumer_tag)

    def _remove_consumer(self, consumer_tag: str) -> CancelCallback | None:
        self.callbacks.pop(consumer_tag, None)
        self.no_ack_consumers.discard(consumer_tag)
        self._left_behind.discard(consumer_tag)
        return self.cancel_callbacks.pop(consumer_tag, None)

    def _on_basic_deliver(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        msg: Message,
    ) -> None:
        msg.channel = self
        msg.delivery_info = {
            'consumer_tag': consumer_tag,
            'delivery_tag': delivery_tag,
            'redelivered': redelivered,
            'exchange': exchange,
            'routing_key': routing_key,
        }
        if self.auto_decode:
            msg.decode_body()
        callback = self.callbacks.get(consumer_tag)
        if callback is not None:
            self._connection_events.add(self, callback, msg)
        elif consumer_tag not in self.no_ack_consumers:
            get_logger('amqp').warning(
                REJECTED_MESSAGE_WITHOUT_CALLBACK, delivery_tag, consumer_tag, exchange, routing_key
            )
            self._answer(spec.Basic.Reject, 'Lb', (delivery_tag, True))

    def basic_get(
        self, queue: str = '', no_ack: bool = False, argsig: str = 'Bsb'
    ) -> Message | None:
        """Fetch one message; None if the queue has none ready."""
        args = self.send_method(
            spec.Basic.Get,
            argsig,
            (0, queue, no_ack),
            wait=[spec.Basic.GetOk, spec.Basic.GetEmpty],
            returns_tuple=True,
        )
        message = args[-1]
        return message if isinstance(message, Message) else None

    def _on_get_ok(
        self,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        message_count: int,
        msg: Message,
    ) -> None:
        msg.channel = self
        msg.delivery_info = {
            'delivery_tag': delivery_tag,
            'redelivered': redelivered,
            'exchange': exchange,
            'routing_key': routing_key,
            'message_count': message_count,
        }
        if self.auto_decode:
            msg.decode_body()

    def basic_ack(
        self, delivery_tag: int, multiple: bool = False, argsig: str = SETTLE_FORMAT
    ) -> None:
        """Acknowledge a message; with *multiple* all up to it, 0 then being all. Thread-safe."""
        if argsig is not SETTLE_FORMAT or not self._settle_at_once(
            spec.Basic.Ack, delivery_tag, 1 if multiple else 0
        ):
            self.send_method(spec.Basic.Ack, argsig, (delivery_tag, multiple))

    def basic_nack(
        self,
        delivery_tag: int,
        multiple: bool = False,
        requeue: bool = True,
        argsig: str = 'Lbb',
    ) -> None:
        """Refuse a message, or with *multiple* all up to it (RabbitMQ). Thread-safe.

        :param requeue: put it back; else it is dropped or dead-lettered.
        """
        self.send_method(spec.Basic.Nack, argsig, (delivery_tag, multiple, requeue))

    def basic_reject(self, delivery_tag: int, requeue: bool, argsig: str = SETTLE_FORMAT) -> None:
        """Refuse a message; without *requeue* it is dropped or dead-lettered. Thread-safe."""
        if argsig is not SETTLE_FORMAT or not self._settle_at_once(
            spec.Basic.Reject, delivery_tag, 1 if requeue else 0
        ):
            self.send_method(spec.Basic.Reject, argsig, (delivery_tag, requeue))

    def basic_recover(self, requeue: bool = False) -> None:
        """Have all unacknowledged messages of this channel delivered again.

        RabbitMQ knows ``requeue=True`` only, and refuses the other.
        """
        self.send_method(spec.Basic.Recover, 'b', (requeue,), wait=spec.Basic.RecoverOk)

    def basic_recover_async(self, requeue: bool = False) -> None:
        """As `basic_recover`, without waiting for the reply. Superseded by that."""
        self.send_method(spec.Basic.RecoverAsync, 'b', (requeue,))

    # -- class basic: publishing

    def _basic_publish(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = PUBLISH_FORMAT,
    ) -> Confirmation | None:
        """Publish a message. Thread-safe.

        :param mandatory: have it returned if no queue takes it: to the
            callbacks in ``events['basic_return']``, else `NoRoute` is raised.
        :param immediate: RabbitMQ refuses it.
        :param timeout: seconds for handing it to the operating system.
        :param confirm_timeout: seconds for the broker's confirm, where the
            connection has ``confirm_publish``.

        Raises the error by which the broker has closed the channel or the
        connection meanwhile; `Blocked` if it blocks publishers for longer than
        ``blocked_timeout``; ``socket.timeout`` when *timeout* passed and
        nothing was sent; `EncodeError` for what can't be sent.
        """
        if not isinstance(msg, Message):
            raise EncodeError(f"argument 'msg': {type(msg).__name__} is not a Message")
        if timeout is None and argsig is PUBLISH_FORMAT:
            flags = (1 if mandatory else 0) | (2 if immediate else 0)
            confirmation = self._publish_at_once(msg, exchange, routing_key, flags)
            if confirmation is not False:
                return confirmation
        payload = self._encode_arguments(
            spec.Basic.Publish, argsig, (0, exchange, routing_key, mandatory, immediate)
        )
        deadline = Deadline(timeout, time.monotonic())
        connection = self._usable_connection()
        connection._look_before_publish(self, deadline)
        self._prepare(spec.Basic.Publish)
        try:
            if timeout is not None:
                return self._publish_in_time(payload, msg, deadline)
            with self._send_lock:
                return self._send(spec.Basic.Publish, payload, msg)
        except _WriteFailed as exc:
            raise exc.connection._explain(exc)  # noqa: B904 - it has the cause

    basic_publish = _basic_publish

    def _publish_at_once(
        self, msg: Message, exchange: str, routing_key: str, flags: int
    ) -> Confirmation | Literal[False] | None:
        """Publish the short way; False where something has to be seen to before."""
        connection = self.connection
        if connection is None or connection._frame_writer is not connection._own_writer:
            return False
        outbound, confirm_mode = connection._outbound, self._confirm_mode
        if outbound is None:
            return False
        try:
            with self._send_lock:
                if self._state.state is not OPEN or self._unreported is not None or not self.active:
                    return False
                if not confirm_mode.is_used():
                    sent = outbound.publish(self.channel_id, msg, exchange, routing_key, flags)
                    return None if sent else False
                if flags:
                    return False  # what may be returned is noted down more closely
                before, last = connection._octets_given(), confirm_mode.last_tag()
                try:
                    confirmation = confirm_mode.number()
                    sent = outbound.publish(self.channel_id, msg, exchange, routing_key, flags)
                except BaseException as exc:
                    connection._interrupted(exc, before)
                    confirm_mode.withdraw_behind(last)
                    raise
                if not sent:
                    confirm_mode.withdraw(confirmation)
                return confirmation if sent else False
        except _WriteFailed as exc:
            raise exc.connection._explain(exc)  # noqa: B904 - it has the cause

    def _settle_at_once(self, sig: MethodSig, delivery_tag: int, flags: int) -> bool:
        """Ack, nack or reject the short way; False where something has to be seen to before."""
        connection = self.connection
        if connection is None or connection._frame_writer is not connection._own_writer:
            return False
        outbound = connection._outbound
        if outbound is None or not self._settles_directly:
            return False
        try:
            with self._send_lock:
                if self._state.state is not OPEN or self._unreported is not None:
                    return False
                sent: bool = outbound.settle(self.channel_id, sig, delivery_tag, flags)
                return sent
        except _WriteFailed as exc:
            raise exc.connection._explain(exc)  # noqa: B904 - it has the cause

    def _publish_in_time(
        self, payload: bytes, msg: Message, deadline: Deadline
    ) -> Confirmation | None:
        remaining = deadline.remaining(time.monotonic())
        lock = self._send_lock
        outer = lock._is_owned()
        try:
            if not outer and not lock.acquire(timeout=remaining):
                raise TimeoutError("another thread's publish didn't end in time")
            remaining = deadline.remaining(time.monotonic())
            return self._send(spec.Basic.Publish, payload, msg, remaining)
        finally:
            if not outer and lock._is_owned():
                lock.release()

    def basic_publish_confirm(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = PUBLISH_FORMAT,
    ) -> None:
        """Publish a message and wait until the broker has taken responsibility for it.

        :param confirm_timeout: seconds in all, by default ``rpc_timeout``;
            ``socket.timeout`` after them, with the message's fate unknown.

        Raises `MessageNacked` if the broker refuses it, `NoRoute` if it is
        mandatory, no queue takes it and nobody listens for ``basic_return``;
        beside that, what `basic_publish` raises. Puts the channel into
        confirm mode if it isn't. Thread-safe.
        """
        if not self._confirm_mode.is_on():
            self.confirm_select()
        confirm_mode = self._confirm_mode
        confirm_mode.begin_awaiting()
        try:
            confirmation = self._basic_publish(
                msg, exchange, routing_key, mandatory, immediate, timeout, argsig=argsig
            )
        finally:
            confirm_mode.end_awaiting()
        assert confirmation is not None
        self._wait_for_confirm(confirmation, confirm_timeout)
        if confirmation.error is not None:
            try:
                raise confirmation.error
            finally:
                confirmation.error = None  # its traceback refers to this frame
        if confirmation.returned is not None and not self.events['basic_return']:
            raise _returned_error(confirmation.returned)
        if not confirmation.acknowledged:
            raise MessageNacked(
                'the broker refused the message',
                spec.Basic.Nack,
                message=msg,
                delivery_tag=confirmation.delivery_tag,
            )

    def _wait_for_confirm(self, confirmation: Confirmation, timeout: float | None) -> None:
        if confirmation.settled():
            return
        connection = self._usable_connection()
        if timeout is None:
            timeout = connection._reply_patience()
        deadline = Deadline(timeout, time.monotonic())
        try:
            connection._wait_until(confirmation.settled, deadline)
        except TimeoutError as exc:
            if not deadline.expired(time.monotonic()):
                raise  # a callback's own
            raise TimeoutError(f'no confirm came within {timeout} s') from exc

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Message
    ) -> None:
        message.channel = self
        returned = basic_return_t(reply_code, reply_text, exchange, routing_key, message)
        expected = self._confirm_mode.message_returned(returned)
        if self.auto_decode:
            message.decode_body()
        handlers = list(self.events['basic_return'])
        for handler in handlers:
            error = _returned_error(returned)
            self._connection_events.add(self, handler, error, exchange, routing_key, message)
        if not handlers and not expected:
            self._connection_events.add_report(self, self._report_return, returned)

    def _report_return(self, returned: basic_return_t) -> None:
        raise _returned_error(returned)

    # -- class confirm

    def confirm_select(self, nowait: bool = False) -> None:
        """Have the broker confirm each message published on this channel from now on (RabbitMQ).

        Its acks and nacks reach the callbacks in ``events['basic_ack']`` and
        ``events['basic_nack']``, called with (delivery_tag, multiple).
        """
        self.send_method(
            spec.Confirm.Select, 'b', (nowait,), wait=None if nowait else spec.Confirm.SelectOk
        )

    def _on_basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle(delivery_tag, multiple, True, 'basic_ack')

    def _on_basic_nack(self, delivery_tag: int, multiple: bool, requeue: bool = False) -> None:
        self._settle(delivery_tag, multiple, False, 'basic_nack')

    def _settle(self, delivery_tag: int, multiple: bool, acknowledged: bool, event: str) -> None:
        settled = self._confirm_mode.settle(delivery_tag, multiple, acknowledged)
        if settled is None:
            connection = self.connection
            lost = connection is None or connection._is_lost() or connection.is_closing
            if lost or not self.is_open:
                return  # a subclass had put it aside, and all has been settled meanwhile
            raise UnexpectedFrame(f'{event} on channel {self.channel_id}, not in confirm mode')
        for each in settled:
            if each.returned is not None and not each.awaited and not self.events['basic_return']:
                self._connection_events.add_report(self, self._report_return, each.returned)
        for handler in list(self.events[event]):
            self._connection_events.add(self, handler, delivery_tag, multiple)

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


def _returned_error(returned: basic_return_t) -> AMQPError:
    error = error_for_code(
        returned.reply_code, returned.reply_text, spec.Basic.Return, ChannelError
    )
    if isinstance(error, NoRoute):
        error.message = returned.message
        error.exchange = returned.exchange
        error.routing_key = returned.routing_key
    return error
