"""The part of a channel that loops over messages, and knows which of them are settled."""

from __future__ import annotations

import os

from . import spec
from .abstract_channel import MethodSig, _WriteFailed
from .basic_message import Message
from .consuming_channel import CONSUME_FORMAT, SETTLE_FORMAT, ConsumingChannel
from .deadline import checked_seconds
from .exceptions import AMQPError, without_traceback
from .message_processing import Processing
from .unsettled import Unsettled

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from .message_stream import Feed, MessageStream

    Table = dict[str, Any]

__all__ = ('StreamingChannel',)

MAX_PREFETCH = 2**16 - 1

#: What the tags of those consumers begin with whose messages are iterated over.
STREAM_TAG = 'amqp.stag-'


class StreamingChannel(ConsumingChannel):
    """A channel whose messages can be iterated over; for its parameters see `ConsumingChannel`."""

    _LISTENERS: ClassVar[dict[MethodSig, str]] = {
        **ConsumingChannel._LISTENERS,
        spec.Basic.RecoverOk: '_forget_deliveries',
    }

    # Made when somebody first wants to know of a message whether it is settled.
    _unsettled: Unsettled | None = None
    # Whether acknowledgements may leave by the short way, once they have been noted.
    _settles_directly = False
    # In `start_consuming`: what it drains, and why the channel was lost meanwhile.
    _drained: Any = None
    _loop_error: BaseException | None = None

    # -- loops

    def consume(
        self,
        queue: str,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Table | None = None,
        inactivity_timeout: float | None = None,
        prefetch: int | None = None,
    ) -> MessageStream:
        """Start a consumer, and iterate over its messages.

        :param no_ack: messages count as acknowledged when they are sent.
        :param exclusive: no other consumer on the queue.
        :param inactivity_timeout: seconds without a message after which None is
            yielded instead of one.
        :param prefetch: the most messages that the broker sends ahead of
            acknowledgements; 0 is no limit. It holds for consumers that are
            started on this channel later, too: see `basic_qos`.

        The loop drains the connection. It ends when the consumer is cancelled,
        by whichever side, and raises what closes the channel or the
        connection. However it is left, the consumer is cancelled, and what
        came of it and isn't settled by then goes back to the queue.
        """
        from .message_stream import Feed, MessageStream  # by those who use it

        if inactivity_timeout is not None:
            inactivity_timeout = checked_seconds('inactivity_timeout', inactivity_timeout)
        if prefetch is not None:
            _check_prefetch(prefetch)
        tag = f'{STREAM_TAG}{os.urandom(12).hex()}'
        # Before anything is sent: an argument may be wrong.
        self._encode_arguments(
            spec.Basic.Consume,
            CONSUME_FORMAT,
            (0, queue, tag, False, no_ack, exclusive, False, arguments),
        )
        if prefetch is not None:
            self.basic_qos(0, prefetch, False)
        self._prepare(spec.Basic.Consume)
        feed = Feed(self, tag, None if no_ack else self._track())
        self._streams()[tag] = feed
        try:
            self.basic_consume(queue, tag, no_ack=no_ack, exclusive=exclusive, arguments=arguments)
        except AMQPError:
            self._end_stream(tag)
            raise
        except BaseException:  # it may have been started
            feed.close_quietly()
            raise
        return MessageStream(feed, inactivity_timeout)

    def _streams(self) -> dict[str, Feed]:
        inbox = self._inbox
        if inbox.streams is None:
            inbox.streams = {}
        return inbox.streams

    def start_consuming(self) -> None:
        """Drain the connection until this channel has no consumer left.

        That is after `stop_consuming`, or when the broker has cancelled them.
        Raises what `drain_events` does, and what closes the channel.
        """
        connection = self._usable_connection()
        self._loop_error = None
        self._drained = connection
        try:
            connection._drain_until(self._has_no_consumer, None)
        finally:
            self._drained = None
        self._raise_loop_error(connection)

    def _raise_loop_error(self, connection: Any) -> None:
        error, self._loop_error = self._loop_error, None
        if error is not None:
            connection._check_usable()
            if self.connection is not None:  # or else it was closed by this program
                raise without_traceback(error)

    def _has_no_consumer(self) -> bool:
        return not self.callbacks

    def stop_consuming(self, consumer_tag: str | None = None) -> None:
        """Cancel a consumer, or all of this channel, so that `start_consuming` returns.

        From a callback or from another thread. Nothing happens where there is none.
        """
        tags = self.consumer_tags if consumer_tag is None else [consumer_tag]
        for tag in tags:
            feed = (self._inbox.streams or {}).get(tag)
            if feed is not None:
                feed.cancel()
            elif tag in self.callbacks:
                self.basic_cancel(tag)

    # -- what is settled

    def _track(self) -> Unsettled:
        """What is unsettled; acknowledgements on this channel are noted from now on."""
        if self._unsettled is None:
            self._settles_directly, self._outbox.settles = self._outbox.settles, False
            self._unsettled = Unsettled()
        return self._unsettled

    def _settle_by_method(
        self, sig: MethodSig, argsig: str, args: tuple[Any, ...], multiple: bool
    ) -> None:
        unsettled = self._unsettled
        if unsettled is None:
            super()._settle_by_method(sig, argsig, args, multiple)
            return
        settled = unsettled.settle(args[0], multiple)
        try:
            if (
                not self._settles_directly
                or argsig is not SETTLE_FORMAT
                or not self._outbox.send_settlement(sig, *args)
            ):
                super()._settle_by_method(sig, argsig, args, multiple)
        except _WriteFailed as exc:
            raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        except BaseException:
            unsettled.restore(settled)  # not an octet was sent, or the connection is lost
            raise

    def _process(self, message: Message, requeue: bool) -> Processing:
        """See `Message.process`."""
        delivery_tag = message.delivery_tag
        if delivery_tag is None:
            raise ValueError('the message was not delivered: there is nothing to acknowledge')
        unsettled = self._track()
        if delivery_tag not in unsettled:
            consumer_tag = str((message.delivery_info or {}).get('consumer_tag', ''))
            if consumer_tag in self.no_ack_consumers:
                return Processing(self, message, requeue, None)
            if not consumer_tag.startswith(STREAM_TAG):  # of those it is known
                unsettled.watch(delivery_tag)
        return Processing(self, message, requeue, unsettled)

    def _forget_deliveries(self) -> None:
        """The broker has taken all that is unsettled back, and delivers it again."""
        if self._unsettled is not None:
            self._unsettled.clear()
        for feed in list((self._inbox.streams or {}).values()):
            if feed.unsettled is not None:
                feed.messages.clear()

    def _lose_state(self, error: BaseException) -> bool:
        streams, self._inbox.streams = self._inbox.streams, None
        drained = self._drained
        woken = drained is not None
        if drained is not None:
            self._loop_error = self._loop_error or error
        for feed in list((streams or {}).values()):
            woken = woken or feed.is_waited_for
            feed.fail(error)
        if self._unsettled is not None:
            self._unsettled.clear()
        woken = super()._lose_state(error) or woken
        if drained is not None:
            drained._wake_drainers()
        return woken

    def _report_to_stream(self, error: BaseException) -> None:
        """Raise what has ended a loop; no other call is to raise it then."""
        self._usable_connection()
        if self._unreported is error:
            self._unreported = None
        raise without_traceback(error)


def _check_prefetch(prefetch: int) -> None:
    if isinstance(prefetch, bool) or not isinstance(prefetch, int):
        raise TypeError(f"argument 'prefetch': {prefetch!r} is no number of messages")
    if not 0 <= prefetch <= MAX_PREFETCH:
        raise ValueError(f"argument 'prefetch': {prefetch} is not within 0 to {MAX_PREFETCH}")
