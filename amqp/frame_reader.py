"""Reading a connection, for whichever thread needs a frame.

The reader takes in one method at a time, so that the role passes on as soon as
somebody's wait is over, and gives it up before callbacks run. Heartbeats are
kept up by whoever waits for the socket.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress

from .abstract_transport import _AbstractTransport
from .assembly import next_method, take_arguments, take_message
from .basic_message import Message
from .deadline import Deadline
from .events import EventQueue
from .exceptions import AMQPError
from .inbox import Inbox
from .method_framing import Inbound
from .read_buffer import ReadBuffer
from .spec import METHODS, Basic, Channel, Connection
from .states import ChannelState
from .thread_roles import ReaderRole
from .utils import fork_generation

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('FATAL_ERRORS', 'FrameReader')

#: Where they come from reading or writing, the connection is over.
FATAL_ERRORS = (OSError, AMQPError)

OPEN = ChannelState.OPEN

#: A deadline that has passed: look, and don't wait.
NOW = Deadline(0, 0.0)

#: Events that one wait or drain handles beyond its own, at most.
UNSEEN_LIMIT = 1_000

#: Seconds that a thread whose write has failed leaves to one that reads.
LAST_WORDS_PATIENCE = 0.5

#: What a channel hears of first, by the name of its method.
LISTENERS = {Basic.Ack: '_on_basic_ack', Basic.Nack: '_on_basic_nack'}

#: Replies that mean more than an answer to who awaits them.
MOMENTOUS = frozenset(
    (Channel.OpenOk, Channel.CloseOk, Basic.CancelOk, Basic.GetOk, Basic.RecoverOk)
)


def _simple_methods() -> dict[int, tuple[tuple[int, int], str]]:
    """Methods that go straight to who awaits them or listens, by their ids as in `next_method`."""
    replies = {reply for method in METHODS.values() for reply in method.replies}
    return {
        class_id << 16 | method_id: ((class_id, method_id), METHODS[class_id, method_id].format)
        for class_id, method_id in replies.difference(MOMENTOUS).union(LISTENERS)
        if class_id != Connection.CLASS_ID
    }


SIMPLE_METHODS = _simple_methods()


def _never() -> bool:
    return False


class FrameReader:
    """Reads the frames of *connection* and hands them to its ``on_inbound_frame``.

    Thread-safe: see `ReaderRole`.
    """

    def __init__(self, connection: Any, events: EventQueue) -> None:
        from weakref import ref  # with the first connection; see `amqp.utils`

        # Weak, for a lost connection is freed at once: see `Connection.collect`.
        self._connection: Callable[[], Any] = ref(connection)
        self._events = events
        self._role = ReaderRole()
        self._fork_generation = fork_generation()
        # How many of the frames that the buffer has handed out have been acted upon.
        self._frames_taken = 0
        self._transport: _AbstractTransport | None = None
        self._buffer: ReadBuffer | None = None
        #: Whether the connection may have something to do that the broker doesn't
        #: send, timers or credentials that expire: then it says what is first.
        self.has_chores = False
        # What takes frames in, if it is this library's own.
        self._inbound: Inbound | None = None
        self._max_message_size = 0
        # Whether a delivery may go straight to its callback.
        self._is_direct = False
        # The channel that the last delivery went to.
        self._last: Inbox | None = None
        # Whether there is nothing to read any more.
        self._is_over = False

    def attach(self, transport: Any, direct: bool) -> None:
        """Read *transport* from now on.

        :param direct: whether deliveries may go straight to their callbacks,
            because nobody has put something of his own in the way.
        """
        self._transport = transport
        self._buffer = transport._read_buffer
        self._is_direct = direct
        self._is_over = False
        self._share_bodies()

    def use(self, frame_handler: Any) -> None:
        """Frames are taken in by that: deliveries by a shorter way, if it is our own."""
        inbound = getattr(frame_handler, '__self__', None)
        self._inbound = inbound if isinstance(inbound, Inbound) else None
        self._share_bodies()

    def _share_bodies(self) -> None:
        """Large bodies are received into place, unless something of the caller's takes frames."""
        inbound = self._inbound
        if self._buffer is not None:
            self._buffer.bodies = {} if inbound is None else inbound.bodies

    def detach(self) -> None:
        """There is nothing to read any more.

        What a thread reads just now is its own to let go of.
        """
        self._is_direct = False
        self._is_over = True
        if self._role.try_take():
            self._step_down()

    def _step_down(self) -> None:
        """Give the role up."""
        if self._is_over:
            self._let_go()
        self._role.step_down()

    def _step_down_again(self) -> None:
        """A signal handler raised while the role was given up: whether it was isn't known."""
        self._step_down()
        self._role.wake_all()

    def _let_go(self) -> None:
        """Keep nothing of what there was to read, for it keeps the connection."""
        if self._role.is_mine():
            self._transport = self._buffer = self._inbound = self._last = None

    def limit_messages(self, max_message_size: int) -> None:
        """The largest body to take in, in octets; 0 is no limit."""
        self._max_message_size = min(max_message_size or sys.maxsize, sys.maxsize)

    def renew_role(self) -> None:
        """In a forked child: the reader may be a thread that isn't there."""
        role, self._role = self._role, ReaderRole()
        role.wake_all()  # greenlets, unlike threads, are there and wait on

    def wake_all(self) -> None:
        """Have all who wait look whether their wait is over."""
        self._role.wake_all()

    def wait_until(self, ready: Callable[[], bool], deadline: Deadline) -> None:
        """Take in what comes until *ready*; ``socket.timeout`` at the deadline.

        Callbacks run meanwhile, unless they are another thread's to run.
        """
        while not ready():
            if not self._events.may_run_here() or not self._events.run_next():
                try:
                    self.advance(ready, deadline)
                except TimeoutError:
                    if not ready():  # by another thread, at the last moment
                        raise
        self.leave_nothing_unseen()

    def advance(self, ready: Callable[[], bool], deadline: Deadline) -> bool:
        """Read one method, or wait until another thread has; whether it was this one."""
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.try_take() and not self._take_or_wait(ready, deadline):
                return False
            if ready():
                return False
            while not self._read_frame(deadline):
                pass
            return True
        finally:
            if not outer:
                try:
                    self._step_down()
                except BaseException:
                    self._step_down_again()
                    raise

    def _take_or_wait(self, ready: Callable[[], bool], deadline: Deadline) -> bool:
        """See `ReaderRole`; who waits for another thread's reading has sent everything before.

        The reader itself does so when it waits for the socket.
        """
        connection = self._connection()
        connection._flush(deadline)
        taken = self._role.take_or_wait(lambda: ready() or connection._is_lost(), deadline)
        if not taken:
            connection._usable_transport()
        return taken

    def deliver_next(self, polls: bool) -> bool:
        """Run the callback of the next delivery, if it is the next thing to be done.

        This is the short way from the socket to a callback. False: it isn't
        that simple, or nothing has come; `advance` tells.

        :param polls: see `EventQueue.note_drainer`.
        """
        if not self._is_at_hand():
            return False
        try:
            # Only who has the role adds events: there are none before the next delivery now.
            if not self._role.try_take() or self._events.pending():
                return False
            self._events.note_drainer(polls)
            transport, buffer, inbound = self._transport, self._buffer, self._inbound
            if transport is None or buffer is None or inbound is None:
                return False
            message = self._next_message(transport, buffer, inbound)
            if message is None and not self._take_method(buffer):
                return False
            callback = self._find_callback(buffer, message)
            if message is not None and callback is None:
                self._put_aside(buffer, inbound, message)
            if buffer.start == buffer.end:
                transport.give_back()
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._failure(exc)  # noqa: B904 - it is or has the cause
        finally:
            try:
                self._step_down()
            except BaseException:
                self._step_down_again()
                raise
        if callback is not None:
            self._events.run(callback, message)
        else:
            self._events.run_any()
        return True

    def _usable_transport(self) -> Any:
        """The transport, or the error that says why there is none to use."""
        if self._is_over or self._transport is None or self._fork_generation != fork_generation():
            return self._connection()._usable_transport()
        return self._transport

    def _is_at_hand(self) -> bool:
        """Whether the short way may be tried: not in a forked child, nor by who reads already."""
        return (
            self._is_direct
            and self._fork_generation == fork_generation()
            and not self._role.is_mine()
        )

    def wait_for_more(self, ready: Callable[[], bool], deadline: Deadline) -> bool:
        """Have something come, for `deliver_next`; False where that isn't the way.

        Raises ``socket.timeout`` at the deadline.

        :param ready: whether there is something else to do.
        """
        if not self._is_direct or self._role.is_mine():
            return False
        try:
            # Asked under the role: what another thread has read is seen.
            if not self._role.try_take() or ready():
                return False
            buffer, connection = self._buffer, self._connection()
            if buffer is None or buffer.has_frame():
                return False
            self._fill(connection, self._usable_transport(), deadline)
            return True
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._failure(exc)  # noqa: B904 - it is or has the cause
        finally:
            self._step_down()

    def _next_message(
        self, transport: _AbstractTransport, buffer: ReadBuffer, inbound: Inbound
    ) -> Message | None:
        """The next delivery, from the buffer or from what the kernel has."""
        if inbound.awaited:
            return None
        message = take_message(buffer, self._max_message_size)
        if message is None:
            if transport.is_drained or buffer.has_frame():
                return None
            received = transport.fill_now()
            self._keep_heartbeat(transport)
            if not received:
                return None
            message = take_message(buffer, self._max_message_size)
        return message

    def _inbox_of(self, channel_id: int) -> Inbox | None:
        """The inbox of an open channel that nobody has put something of his own in the way of."""
        inbox = self._last
        if inbox is None or inbox.channel_id != channel_id:
            channel = self._connection().channels.get(channel_id)
            inbox = self._last = getattr(channel, '_inbox', None)
        if inbox is None or not inbox.direct:
            return None
        if inbox.state.state is not OPEN:
            self._last = None  # another channel may have its number by now
            return None
        return inbox

    def _find_callback(self, buffer: ReadBuffer, message: Message | None) -> Any:
        """The callback of a delivery, which it is made ready for; None: there is more to it."""
        if message is None or not message._is_delivered:
            return None
        inbox = self._inbox_of(buffer.channel_id)
        if inbox is None:
            return None
        callback = inbox.callbacks.get(buffer.consumer_tag)
        channel = inbox.channel
        if callback is not None and channel is not None:
            message.channel = channel
            message._is_text = inbox.auto_decode
            self._frames_taken = buffer.frames_read
            return callback
        return None

    def _take_method(self, buffer: ReadBuffer) -> bool:
        """Act upon the reply or the confirm that *buffer* begins with; False: it isn't that simple.

        The same as `AbstractChannel.dispatch_method`, the listener first.
        """
        ids = next_method(buffer)
        if not ids:
            return False
        simple = SIMPLE_METHODS.get(ids)
        if simple is None:
            return False
        inbox = self._inbox_of(buffer.channel_id)
        if inbox is None:
            return False
        method_sig, letters = simple
        args = take_arguments(buffer, letters)
        if args is None:
            return False
        listener = LISTENERS.get(method_sig)
        if listener is not None:
            outer = self._events.begin_collecting()
            try:
                getattr(inbox.channel, listener)(*args)
            finally:
                self._events.end_collecting(outer)
        inbox.replies.succeed(method_sig, args)
        self._frames_taken = buffer.frames_read
        return True

    def _put_aside(self, buffer: ReadBuffer, inbound: Inbound, message: Message | None) -> None:
        """Keep a delivery for those who iterate over its consumer's, or pass it on.

        If it is kept, so are those behind it: nothing is to be run in between.
        """
        while message is not None and self._feed(buffer, message):
            message = take_message(buffer, self._max_message_size)
            if message is not None and self._find_callback(buffer, message) is not None:
                break
        if message is not None:
            self._pass_on(buffer, inbound, message)

    def _feed(self, buffer: ReadBuffer, message: Message) -> bool:
        """Keep a delivery for those who iterate; whether somebody does."""
        inbox = self._inbox_of(buffer.channel_id) if message._is_delivered else None
        if inbox is None or inbox.streams is None:
            return False
        feed, channel = inbox.streams.get(buffer.consumer_tag), inbox.channel
        if feed is None or channel is None:
            return False
        message.channel = channel
        message._is_text = inbox.auto_decode
        # Within the reader's role, so that the next one can't come before it.
        feed.put(message)
        self._frames_taken = buffer.frames_read
        return True

    def _pass_on(self, buffer: ReadBuffer, inbound: Inbound, message: Message) -> None:
        """Dispatch a message as any other method."""
        outer = self._events.begin_collecting()
        try:
            inbound.callback(
                buffer.channel_id,
                message.frame_method or Basic.Deliver,
                message.frame_args or b'',
                message,
            )
        finally:
            self._events.end_collecting(outer)
        self._frames_taken = buffer.frames_read

    def read_one(self, deadline: Deadline) -> bool:
        """Read one frame; whether it completed a method."""
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.try_take() and not self._take_or_wait(_never, deadline):
                return False
            return self._take_frame(deadline)
        finally:
            if not outer:
                try:
                    self._step_down()
                except BaseException:
                    self._step_down_again()
                    raise

    def may_hide(self, polls: bool) -> bool:
        """Whether what an event loop can't see may have been read.

        :param polls: whether the call comes from what may be one.
        """
        transport = self._transport
        return transport is not None and not self._is_over and (polls or transport.watched)

    def leave_nothing_unseen(self, reports: bool = False) -> None:
        """Handle what has left the kernel: an event loop can't see it.

        Kombu's hub sleeps between two calls of ``drain_events`` unless the
        socket is readable. Within a callback all is left to the drain that
        called it. An end is set to it, for callbacks that publish or call may
        have ever more taken in.

        :param reports: whether errors are raised too.
        """
        left = UNSEEN_LIMIT
        while left and self._events.may_run_here():
            left -= 1
            if self._events.run_next() or (reports and self._events.raise_next()):
                continue
            if not self.look(1, kernel=False):
                return

    def look(self, limit: int, kernel: bool = True) -> int:
        """Take in methods that are there, at most *limit*; their number.

        :param kernel: whether to ask the kernel for more.
        """
        count = 0
        outer = self._role.is_mine()
        try:
            if not outer and not self._role.try_take():
                return 0
            transport = self._usable_transport()
            while count < limit and (kernel or transport.has_unseen_frame()):
                count += self._read_frame(NOW)
        except TimeoutError:
            pass  # nothing more is there
        finally:
            if not outer:
                try:
                    self._step_down()
                except BaseException:
                    self._step_down_again()
                    raise
        return count

    def hear_last_words(self, limit: int) -> None:
        """The stream is dead: raise what the peer said before, if it did.

        Another thread that reads finds it, for its wait has ended too; it is
        given a moment to do so.
        """
        connection = self._connection()
        deadline = Deadline(LAST_WORDS_PATIENCE, time.monotonic())
        with suppress(TimeoutError):
            while not connection._is_lost():
                outer = self._role.is_mine()
                try:
                    if outer or self._role.take_or_wait(connection._is_lost, deadline):
                        self.look(limit)
                        return
                finally:
                    if not outer:
                        try:
                            self._step_down()
                        except BaseException:
                            self._step_down_again()
                            raise

    def _read_frame(self, deadline: Deadline) -> bool:
        connection = self._connection()
        if connection._read_overridden:
            completed: bool = connection.blocking_read(deadline.remaining(time.monotonic()))
            return completed
        return self._take_frame(deadline)

    def _take_frame(self, deadline: Deadline) -> bool:
        """Read a frame, or all frames of a delivery; whether that completed a method.

        An exception that falls between reading and acting upon it, a signal
        handler's say, would lose the frame: the count tells, and the
        connection is broken then.
        """
        connection = self._connection()
        transport = self._usable_transport()
        buffer = transport._read_buffer
        try:
            while True:
                inbound = self._inbound
                if inbound is not None and not inbound.awaited:
                    message = take_message(buffer, self._max_message_size)
                    if message is not None:
                        self._pass_on(buffer, inbound, message)
                        completed = True
                        break
                    if self._is_direct and self._take_method(buffer):
                        completed = True
                        break
                frame = buffer.next_frame()
                if frame is not None:
                    outer = self._events.begin_collecting()
                    try:
                        completed = connection.on_inbound_frame(frame)
                    finally:
                        self._events.end_collecting(outer)
                    self._frames_taken += 1
                    break
                self._fill(connection, transport, deadline)
            if buffer.start == buffer.end:
                transport.give_back()
            return completed
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._failure(exc)  # noqa: B904 - it is or has the cause

    def _fill(self, connection: Any, transport: Any, deadline: Deadline) -> None:
        """Have more come; heartbeats are kept up meanwhile."""
        while True:
            heartbeat = connection._heartbeat
            look = deadline.no_later_than(heartbeat.next_look())
            try:
                transport.fill(look)
            except TimeoutError:
                if look is deadline or not look.expired(time.monotonic()):
                    raise
                connection._keep_heartbeat(transport)
            else:
                self._keep_heartbeat(transport)
                return

    def _keep_heartbeat(self, transport: Any) -> None:
        """Show signs of life even where one receive follows the other."""
        connection = self._connection()
        heartbeat = connection._heartbeat
        if heartbeat.next_look() <= time.monotonic():
            connection._keep_heartbeat(transport)

    def _failure(self, exc: BaseException) -> BaseException:
        """What to raise for *exc*, which breaks the connection unless the stream is whole."""
        transport, buffer = self._transport, self._buffer
        if (
            transport is not None
            and not transport.read_torn
            and buffer is not None
            and buffer.frames_read == self._frames_taken
            and (
                isinstance(exc, TimeoutError)
                # Before a wait it sends what has been put off, which may be cut off too.
                or not (isinstance(exc, FATAL_ERRORS) or transport.write_torn)
            )
        ):
            return exc
        failure: BaseException = self._connection()._fail(exc)
        return failure
