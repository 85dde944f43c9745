"""The messages of a consumer as something to iterate over: what `Channel.consume` returns.

What has come is put aside by the thread that reads, whichever that is, so that
it stays in order; the thread that iterates takes it from there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from types import BuiltinFunctionType, TracebackType

from .basic_message import Message
from .deadline import Deadline
from .exceptions import AMQPError
from .garbage import is_collecting_here, note_collections
from .unsettled import Unsettled

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('Feed', 'MessageStream')


class Feed:
    """What comes for a stream. The channel knows this, and not the stream, which may be let go of.

    :param unsettled: where to note what comes; None for messages that need no
        acknowledgement.
    """

    __slots__ = (
        '_cancelling',
        'channel',
        'connection',
        'consumer_tag',
        'error',
        'incarnation',
        'is_over',
        'is_stopped',
        'is_waited_for',
        'messages',
        'unsettled',
        'user',
    )

    def __init__(self, channel: Any, consumer_tag: str, unsettled: Unsettled | None) -> None:
        self.channel = channel
        self.connection = channel.connection
        self.consumer_tag = consumer_tag
        self.incarnation: int = channel.incarnation
        self.unsettled = unsettled
        #: What has come and hasn't been yielded.
        self.messages: deque[Message] = deque()
        #: Whether no more will come; whether nothing is to be yielded any more.
        self.is_over = False
        self.is_stopped = False
        #: Why the channel was lost, if it was.
        self.error: BaseException | None = None
        #: Whether a thread waits in the stream.
        self.is_waited_for = False
        #: The thread that was the last to wait, or has begun it.
        self.user = threading.get_ident()
        # Taken by the one thread that cancels.
        self._cancelling = [consumer_tag]

    # -- in the thread that reads

    def put(self, message: Message) -> None:
        """A message has come."""
        if self.unsettled is not None:
            tag = message.delivery_tag
            assert tag is not None
            self.unsettled.add(tag, self)
        self.messages.append(message)

    def end(self) -> None:
        """No more will come: the consumer was cancelled."""
        self._cancelling.clear()
        self.is_over = True
        if self.is_waited_for:  # perhaps by a thread that waits for the socket
            self.connection._wake_drainers()

    def fail(self, error: BaseException) -> None:
        """The channel is lost. What needs no acknowledgement may be yielded still."""
        self.error = error
        if self.unsettled is not None:
            self.is_stopped = True
            self.messages.clear()
        self.end()

    # -- in the thread that iterates

    def is_ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.is_over or self.is_stopped or bool(self.messages)

    def next_message(self, deadline: Deadline | None) -> Message | None:
        """The next one; None at the deadline. StopIteration at the end; raises what was the end."""
        while True:
            if not self.is_stopped:
                with suppress(IndexError):
                    return self.messages.popleft()
            if self.error is not None:
                self.channel._report_to_stream(self.error)
            if self.is_stopped or self.is_over:
                raise StopIteration
            self.is_waited_for = True
            self.user = threading.get_ident()
            try:
                if not self.connection._drain_until(self.is_ready, deadline):
                    return None
            finally:
                self.is_waited_for = False

    # -- in any thread

    def cancel(self) -> None:
        """End the consumer, and give back what hasn't been yielded."""
        self.is_stopped = self.unsettled is not None
        try:
            consumer_tag = self._cancelling.pop()
        except IndexError:
            pass  # another thread does, or it was done before
        else:
            self.channel.basic_cancel(consumer_tag)
            self.end()  # on a channel that is closed nothing else tells
        if self.unsettled is not None:
            unyielded = []
            with suppress(IndexError):
                while True:
                    unyielded.append(self.messages.popleft().delivery_tag)
            self._give_back(unyielded)

    def close(self) -> None:
        """The stream is let go of: give back what was yielded and isn't settled, too."""
        self.cancel()
        if self.unsettled is not None:
            self._give_back(self.unsettled.of(self))

    def close_quietly(self) -> None:
        """As `close`. An error has lost the channel, whose messages are back then."""
        with suppress(AMQPError, OSError):
            self.close()

    def is_let_go_by_a_loop(self) -> bool:
        """Whether this may be the event loop of gevent or eventlet, which must not wait.

        It lets go of what a greenlet's last wait was made with: it isn't the user.
        """
        return self.user != threading.get_ident() and not isinstance(
            threading.get_ident, BuiltinFunctionType
        )

    def close_later(self) -> None:
        """Close when the connection is drained next. Takes no lock."""
        self.channel._connection_events.postpone(self.channel, self.close_quietly)

    def is_closed(self) -> bool:
        """Whether there is nothing to close."""
        if self.channel.incarnation != self.incarnation:
            return True
        return self.is_over and (self.unsettled is None or not self.unsettled.of(self))

    def _give_back(self, delivery_tags: list[Any]) -> None:
        channel = self.channel
        assert self.unsettled is not None
        if not delivery_tags or channel.incarnation != self.incarnation:
            return
        with self.connection.batch():
            for tag in delivery_tags:
                if self.unsettled.take(tag):
                    channel.basic_reject(tag, requeue=True)


class MessageStream:
    """Yields the messages of a consumer; `Channel.consume` makes it.

    Thread-safe. When it is let go of, by a loop that ends in whatever way or at
    the end of a ``with`` block, the consumer is cancelled, and what came of it
    and was neither acknowledged nor rejected goes back to the queue.
    """

    __slots__ = ('__weakref__', '_feed', '_inactivity_timeout')

    def __init__(self, feed: Feed, inactivity_timeout: float | None) -> None:
        self._feed = feed
        self._inactivity_timeout = inactivity_timeout
        note_collections()

    def __repr__(self) -> str:
        state = 'over' if self._feed.is_over else 'open'
        return f'<MessageStream of {self._feed.consumer_tag} ({state})>'

    @property
    def consumer_tag(self) -> str:
        """The consumer's tag."""
        return self._feed.consumer_tag

    def __iter__(self) -> MessageStream:
        return self

    def __next__(self) -> Message | None:
        feed = self._feed
        if not feed.is_stopped:
            try:
                return feed.messages.popleft()
            except IndexError:
                pass
        timeout = self._inactivity_timeout
        deadline = None if timeout is None else Deadline(timeout, time.monotonic())
        return feed.next_message(deadline)

    def cancel(self) -> None:
        """End the consumer and the loop, and give back what the loop hasn't got yet.

        Messages that need no acknowledgement are yielded still. From within
        the loop, from a callback, or from another thread; nothing happens if
        it has ended.
        """
        self._feed.cancel()

    def __enter__(self) -> MessageStream:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self._feed.close()
        else:
            self._feed.close_quietly()

    def __del__(self) -> None:
        feed: Feed | None = getattr(self, '_feed', None)
        if feed is None or feed.is_closed() or sys.is_finalizing():
            return
        if is_collecting_here() or feed.is_let_go_by_a_loop():
            # Any lock may be held at this point, and no callback is expected to run.
            feed.close_later()
        else:
            feed.close_quietly()
