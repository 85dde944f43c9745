"""The part of a channel that consumes: consumers, basic.get, and acknowledgements."""

from __future__ import annotations

import os
from collections.abc import Callable

from . import spec
from .abstract_channel import MethodSig, _WriteFailed
from .basic_message import Message
from .confirming_channel import ConfirmingChannel
from .exceptions import AMQPError, ConsumerCancelled, EncodeError
from .reopenable_channel import ReopenableChannel
from .states import ChannelState
from .utils import bytes_to_str, get_logger

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar

    Table = dict[str, Any]
    ConsumerCallback = Callable[[Message], Any]
    CancelCallback = Callable[[str], Any]

__all__ = ('ConsumingChannel',)

REJECTED_MESSAGE_WITHOUT_CALLBACK = (
    'Requeued message %r of queue consumer %r (exchange=%r routing_key=%r): it has no callback'
)

#: The arguments of basic.ack and basic.reject.
SETTLE_FORMAT = 'Lb'

#: Those of basic.consume.
CONSUME_FORMAT = 'BssbbbbF'

ACK, REJECT = spec.Basic.Ack, spec.Basic.Reject


class ConsumingChannel(ConfirmingChannel):
    """A channel that messages come on.

    :param auto_decode: whether the body of a received message becomes a str
        where its content_encoding says how.

    For the other parameters see `ReopenableChannel`.
    """

    _LISTENERS: ClassVar[dict[MethodSig, str]] = {
        **ConfirmingChannel._LISTENERS,
        spec.Basic.Cancel: '_on_basic_cancel',
        spec.Basic.CancelOk: '_on_basic_cancel_ok',
        spec.Basic.Deliver: '_on_basic_deliver',
        spec.Basic.GetOk: '_on_get_ok',
    }

    # Of `no_ack_consumers` those that were ended without waiting: messages may
    # be under way. Made for the first of them.
    _left_behind: set[str] | None = None

    def __init__(
        self,
        connection: Any,
        channel_id: int | None,
        on_open: Callable[[Any], Any] | None,
        auto_decode: bool,
    ) -> None:
        super().__init__(connection, channel_id, on_open)
        self.auto_decode = auto_decode
        self._inbox.direct = self._is_direct()
        self._outbox.settles = type(self).send_method is ConsumingChannel.send_method
        self.cancel_callbacks: dict[str, CancelCallback] = {}
        #: Tags of the consumers whose messages need no acknowledgement.
        self.no_ack_consumers: set[str] = set()

    @property
    def auto_decode(self) -> bool:
        """Whether the body of a received message becomes a str where it says how."""
        return self._inbox.auto_decode

    @auto_decode.setter
    def auto_decode(self, auto_decode: bool) -> None:
        self._inbox.auto_decode = auto_decode

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of the consumers that there are."""
        return list(self.callbacks)

    @property
    def callbacks(self) -> dict[str, ConsumerCallback | None]:
        """Callbacks by consumer tag; None for a consumer that has none."""
        return self._inbox.callbacks

    def _is_direct(self) -> bool:
        """Whether nobody has put something of his own between a delivery and its callback."""
        dispatch = getattr(self.dispatch_method, '__func__', None)
        deliver = getattr(self._on_basic_deliver, '__func__', None)
        return (
            dispatch is ReopenableChannel.dispatch_method
            and deliver is ConsumingChannel._on_basic_deliver
        )

    def _lose_state(self, error: BaseException) -> bool:
        self.callbacks.clear()
        self.cancel_callbacks.clear()
        self.no_ack_consumers.clear()
        self._left_behind = None
        return super()._lose_state(error)

    # -- consumers

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
        argsig: str = CONSUME_FORMAT,
    ) -> str:
        """Start a consumer and return its tag.

        :param consumer_tag: unique on this channel, else `EncodeError`; made up if empty.
        :param no_local: RabbitMQ ignores it.
        :param no_ack: messages count as acknowledged when they are sent.
        :param exclusive: no other consumer on the queue.
        :param callback: called with each `Message`, in a thread that drains
            the connection. Without one, messages are put back or (no_ack) dropped.
        :param on_cancel: called with the tag when the broker cancels the
            consumer; without one, and without any in ``events['cancel']``,
            `ConsumerCancelled` is raised from ``drain_events`` then.
        """
        # A tag of the broker's making would come after the first message may
        # (py-amqp#162); one of ours is known before anything is sent.
        if consumer_tag in ('', b''):
            consumer_tag = f'amqp.ctag-{os.urandom(12).hex()}'
        args = (0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments)
        # Before anything is noted down: an argument may be wrong, and
        # reopening the channel forgets its consumers.
        self._encode_arguments(spec.Basic.Consume, argsig, args)
        consumer_tag = bytes_to_str(consumer_tag)
        if consumer_tag in self.callbacks:  # RabbitMQ would end the connection
            text = f"argument 'consumer_tag': {consumer_tag!r} is in use on this channel"
            raise EncodeError(text, spec.Basic.Consume)
        self._prepare(spec.Basic.Consume)
        self._inbox.direct = self._is_direct()
        left_behind = set(self._left_behind or ()) - {consumer_tag}
        self._arrived({consumer_tag})
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
            left_behind &= self._left_behind or set()
            self._arrived(left_behind)
            self.no_ack_consumers -= left_behind
        return consumer_tag

    def _arrived(self, consumer_tags: set[str]) -> None:
        """No messages of these consumers are under way."""
        if self._left_behind is not None:
            self._left_behind.difference_update(consumer_tags)

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
            self._end_stream(consumer_tag)
            if consumer_tag in self.no_ack_consumers:
                if self._left_behind is None:
                    self._left_behind = set()
                self._left_behind.add(consumer_tag)
        return tag

    def _on_basic_cancel(self, consumer_tag: str, nowait: bool = True) -> None:
        """The broker has ended a consumer: its queue is gone, or has moved."""
        if not nowait:
            self._answer(spec.Basic.CancelOk, 's', (consumer_tag,))
        ends_a_loop = self._end_stream(consumer_tag)
        on_cancel = self._remove_consumer(consumer_tag)
        callbacks = list(self.events.get('cancel', ()))
        if on_cancel is not None:
            callbacks.insert(0, on_cancel)
        for callback in callbacks:
            self._connection_events.add(self, callback, consumer_tag)
        if not callbacks and not ends_a_loop:
            self._connection_events.add_report(self, self._report_cancel, consumer_tag)

    def _report_cancel(self, consumer_tag: str) -> None:
        raise ConsumerCancelled(consumer_tag, spec.Basic.Cancel)

    def _on_basic_cancel_ok(self, consumer_tag: str) -> None:
        self._remove_consumer(consumer_tag)

    def _remove_consumer(self, consumer_tag: str) -> CancelCallback | None:
        self.callbacks.pop(consumer_tag, None)
        self.no_ack_consumers.discard(consumer_tag)
        self._arrived({consumer_tag})
        self._end_stream(consumer_tag)
        return self.cancel_callbacks.pop(consumer_tag, None)

    def _end_stream(self, consumer_tag: str) -> bool:
        """A consumer has ended: so does the loop over its messages, if there is one."""
        streams = self._inbox.streams
        feed = None if streams is None else streams.pop(consumer_tag, None)
        if feed is not None:
            feed.end()
        return feed is not None

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
        feed = None if self._inbox.streams is None else self._inbox.streams.get(consumer_tag)
        if callback is not None:
            self._connection_events.add(self, callback, msg)
        elif feed is not None:
            feed.put(msg)
        elif consumer_tag not in self.no_ack_consumers:
            get_logger('amqp').warning(
                REJECTED_MESSAGE_WITHOUT_CALLBACK, delivery_tag, consumer_tag, exchange, routing_key
            )
            self._answer(spec.Basic.Reject, 'Lb', (delivery_tag, True))

    # -- fetching one by one

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

    # -- acknowledgements

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

    def basic_recover(self, requeue: bool = False) -> None:
        """Have all unacknowledged messages of this channel delivered again.

        RabbitMQ knows ``requeue=True`` only, and refuses the other.
        """
        self.send_method(spec.Basic.Recover, 'b', (requeue,), wait=spec.Basic.RecoverOk)

    def basic_recover_async(self, requeue: bool = False) -> None:
        """As `basic_recover`, without waiting for the reply. Superseded by that."""
        self.send_method(spec.Basic.RecoverAsync, 'b', (requeue,))
        self._forget_deliveries()

    def _forget_deliveries(self) -> None:
        """The broker has taken all that is unsettled back, and delivers it again."""

    def basic_ack(
        self, delivery_tag: int, multiple: bool = False, argsig: str = SETTLE_FORMAT
    ) -> None:
        """Acknowledge a message; with *multiple* all up to it, 0 then being all. Thread-safe."""
        try:
            if argsig is SETTLE_FORMAT and self._outbox.settle(ACK, delivery_tag, multiple):
                return
        except _WriteFailed as exc:
            raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        self._settle_by_method(ACK, argsig, (delivery_tag, multiple), multiple)

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
        args = (delivery_tag, multiple, requeue)
        self._settle_by_method(spec.Basic.Nack, argsig, args, multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool, argsig: str = SETTLE_FORMAT) -> None:
        """Refuse a message; without *requeue* it is dropped or dead-lettered. Thread-safe."""
        try:
            if argsig is SETTLE_FORMAT and self._outbox.settle(REJECT, delivery_tag, requeue):
                return
        except _WriteFailed as exc:
            raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        self._settle_by_method(REJECT, argsig, (delivery_tag, requeue), False)

    def _settle_by_method(
        self, sig: MethodSig, argsig: str, args: tuple[Any, ...], multiple: bool
    ) -> None:
        """Ack, nack or reject; with *multiple*, all up to the tag that *args* begin with."""
        self.send_method(sig, argsig, args)
