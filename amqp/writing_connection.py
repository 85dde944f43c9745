"""Writing on a connection: for any thread, and what keeps the stream alive meanwhile.

A write that fails is told from one that never began: the first ends the
connection, the second leaves it whole. What the broker said last, a reason
for closing above all, is heard before an error is raised.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from . import spec
from .abstract_channel import MethodSig, _WriteFailed
from .abstract_transport import _AbstractTransport, _EarlierFrameCutOff
from .deadline import Deadline
from .exceptions import (
    Blocked,
    ConnectionForced,
    EncodeError,
    RecoverableConnectionError,
)
from .frame_reader import FATAL_ERRORS
from .heartbeat import Heartbeat
from .heartbeat_thread import HeartbeatThread
from .single_use_connection import SingleUseConnection
from .utils import get_logger

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('WritingConnection',)

HEARTBEAT_LOGGER = 'amqp.connection.Connection.heartbeat_tick'

#: Seconds within which a publish doesn't look again at the socket.
LOOK_INTERVAL = 0.005
#: Methods that one such look reads at most, and callbacks that may pile up
#: before it leaves the rest to the kernel.
LOOK_LIMIT = 100
BACKLOG_LIMIT = 10_000

#: Seconds for writing an answer to the broker: who reads must not be held up.
ANSWER_PATIENCE = 1.0


class _Block:
    """A block of code within which writes are put off."""


class WritingConnection(SingleUseConnection):
    """What a connection sends.

    :param channel_max: the highest number of a channel.
    :param timed_writer: whether ``frame_writer`` takes a timeout: a maker that
        a caller brings knows none.
    """

    blocked_timeout: float | None
    on_blocked: Callable[[str], Any] | None
    on_unblocked: Callable[[], Any] | None
    heartbeat: float | None

    def __init__(self, channel_max: int, timed_writer: bool) -> None:
        self._timed_writer = timed_writer
        self._blocked_reason: str | None = None
        self._next_look = 0.0
        self._heartbeat = Heartbeat(0, 0.0)
        # Re-entrant for a signal handler that ticks.
        self._verdict_lock = threading.RLock()
        self._prev_sent = self._prev_recv = 0
        super().__init__(channel_max)

    def _wait_until(self, ready: Callable[[], bool], deadline: Deadline) -> None:
        """Handle what comes until *ready*; ``socket.timeout`` at the deadline."""
        raise NotImplementedError

    def _renew_secret(self) -> bool:
        """Hand in another secret, if it is time; whether it was."""
        raise NotImplementedError

    # -- writing

    def _write_method(
        self,
        channel_id: int,
        sig: MethodSig,
        payload: bytes,
        content: Any,
        timeout: float | None = None,
    ) -> None:
        """Send a method through `frame_writer`, under a ``_send_lock``.

        Raises `_WriteFailed` where the stream is dead: see `_explain`.
        """
        transport = self._usable_transport()
        self._try_frame(transport, timeout, spec.FRAME_METHOD, channel_id, sig, payload, content)

    def _answer(self, channel_id: int, sig: MethodSig, payload: bytes) -> None:
        """Send a method that the thread which reads owes the broker, without waiting long.

        Raises `RecoverableConnectionError` where the broker doesn't take it.
        """
        transport = self._usable_transport()
        frame = (spec.FRAME_METHOD, channel_id, sig, payload, None)
        try:
            self._write_frame(transport, ANSWER_PATIENCE, *frame)
        except TimeoutError as exc:
            raise RecoverableConnectionError(f"the broker doesn't take our answer: {exc}") from exc

    def _octets_given(self) -> int:
        """How many the transport has been given: sent, or put off by a batch."""
        transport = self._transport
        return 0 if transport is None else transport.octets_given()

    def _interrupted(self, exc: BaseException, before: int) -> None:
        """Something was raised while a request was sent: break the connection, if it has left.

        For what a signal handler raises. The stream may be whole then, but
        nobody would take the reply.

        :param before: what `_octets_given` was.
        """
        if not isinstance(exc, FATAL_ERRORS) and self._octets_given() != before:
            self._fail(exc)

    def _write_frame(
        self, transport: _AbstractTransport, timeout: float | None, *frame: Any
    ) -> None:
        try:
            self._try_frame(transport, timeout, *frame)
        except _WriteFailed as exc:
            raise self._explain(exc)  # noqa: B904 - it has the cause

    def _explain(self, failed: _WriteFailed) -> BaseException:
        """End the connection after a failed write: the error to raise.

        If the broker said why before it went, this raises it. Another thread
        may be reading that, and waiting for a ``_send_lock`` to act upon it.
        """
        self._reader.hear_last_words(LOOK_LIMIT)
        assert failed.__cause__ is not None
        return self._fail(failed.__cause__)

    def _explain_loss(self, failed: _WriteFailed) -> BaseException:
        """As `_explain`, for a call of the user's, which has to tell others of the loss, too."""
        try:
            return self._explain(failed)
        finally:
            self._run_behind_loss()

    def _run_behind_loss(self) -> None:
        """Run what has to be told where the connection is lost."""
        raise NotImplementedError

    def _try_frame(self, transport: _AbstractTransport, timeout: float | None, *frame: Any) -> None:
        """Write a frame, and see whether the stream survives it."""
        try:
            self._put_frame(timeout, *frame)
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._write_error(transport, exc)  # noqa: B904 - it is or has the cause

    def _write_error(self, transport: _AbstractTransport, exc: BaseException) -> BaseException:
        """What to raise for an exception while writing, which the stream may not survive."""
        if not transport.write_torn and (
            isinstance(exc, (TimeoutError, EncodeError)) or not isinstance(exc, FATAL_ERRORS)
        ):
            return exc  # not an octet was sent
        dead = isinstance(exc, (OSError, _EarlierFrameCutOff))
        if dead and not self._events.is_collecting_here():
            failed = _WriteFailed(self, exc)
            failed.__cause__ = exc
            return failed
        return self._fail(exc)

    def _put_frame(self, timeout: float | None, *frame: Any) -> None:
        if timeout is None or not self._timed_writer:
            self.frame_writer(*frame)
        else:
            self.frame_writer(*frame, timeout)

    def _look_before_publish(self, channel: Any, deadline: Deadline) -> None:
        """See what the broker has said: a close, a block; wait while it blocks publishers.

        What is in user space is always seen; the kernel is asked when the
        last time was a while ago, for that is a system call.
        """
        self._check_usable()
        now = time.monotonic()
        if now >= self._next_look or self._usable_transport().holds_data():
            if len(self._events) < BACKLOG_LIMIT:
                self._look()
            self._next_look = now + LOOK_INTERVAL
            outbound = self._outbound  # another thread may end the connection
            if outbound is not None and self._blocked_reason is None:
                outbound.next_look = self._next_look
            self._check_usable()
        if self._blocked_reason is not None or not channel.active:
            self._wait_unblocked(channel, deadline)

    def _look(self) -> None:
        try:
            self._reader.look(LOOK_LIMIT)
            self._reader.leave_nothing_unseen()
        except BaseException:
            self._run_behind_loss()
            raise

    def _wait_unblocked(self, channel: Any, deadline: Deadline) -> None:
        def unblocked() -> bool:
            self._check_usable()
            return self._blocked_reason is None and channel.active

        limit = Deadline(self.blocked_timeout, time.monotonic())
        try:
            self._wait_until(unblocked, limit.no_later_than(deadline.at))
        except TimeoutError:
            now = time.monotonic()
            reason = self._blocked_reason
            text = f'the broker takes no messages: {reason or "channel.flow"}'
            if limit.expired(now):
                text += f' (waited {self.blocked_timeout} s)'
                raise Blocked(text, reason=reason) from None
            if deadline.expired(now):
                raise TimeoutError(text) from None
            raise  # a callback's own

    def _on_blocked(self, reason: str) -> None:
        self._blocked_reason = reason
        outbound = self._outbound
        if outbound is not None:
            outbound.next_look = 0.0
        if self.on_blocked is not None:
            self._events.add(self, self.on_blocked, reason)
        for callback in list(self.events.get('blocked', ())):
            self._events.add(self, callback, reason)

    def _on_unblocked(self) -> None:
        self._blocked_reason = None
        if self.on_unblocked is not None:
            self._events.add(self, self.on_unblocked)
        for callback in list(self.events.get('unblocked', ())):
            self._events.add(self, callback)

    def batch(self) -> AbstractContextManager[None]:
        """Within the block, what is sent is put off and sent together.

        At the latest at its end, at 64 KiB, and before anything is waited
        for: acks and publishes cost a fraction then. For all threads that use
        the connection meanwhile; blocks may overlap and nest.

        A write that fails does so then. `RecoverableConnectionError`: what
        calls have returned for may be lost with the connection, as ever
        without confirms. ``socket.timeout``: what the broker hasn't taken
        within ``write_timeout`` stays put off, and goes out before anything
        that is sent later. Where the block itself raises, its error is raised.
        """
        return self._batching(self._usable_transport())

    @contextmanager
    def _batching(self, transport: _AbstractTransport) -> Iterator[None]:
        from weakref import ref  # with the first batch; see `amqp.utils`

        block = _Block()
        # Without an end of its own, for what a signal handler raises may fall
        # anywhere, it ends with this frame.
        batch = ref(block, transport._batches.discard)
        try:
            try:
                transport.begin_batch(batch)
                yield
            except BaseException:
                with suppress(*FATAL_ERRORS):  # what has led to this comes first
                    self._end_batch(transport, batch)
                raise
            self._end_batch(transport, batch)
        finally:
            # What a signal handler raises may have kept it from its end.
            transport.forget_batch(batch)

    def _end_batch(self, transport: _AbstractTransport, batch: object) -> None:
        try:
            transport.end_batch(batch)
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._explained(self._write_error(transport, exc))  # noqa: B904

    def _flush(self, deadline: Deadline | None) -> None:
        """Send what a batch has put off: nothing may be waited for before.

        What the broker doesn't take by the deadline stays put off.
        """
        transport = self._transport
        if transport is None or not transport._batch:
            return
        try:
            transport.flush(deadline)
        except TimeoutError:
            pass
        except BaseException as exc:  # noqa: BLE001 - none is swallowed
            raise self._explained(self._write_error(transport, exc))  # noqa: B904

    def _explained(self, error: BaseException) -> BaseException:
        """What to raise for the outcome of `_write_error`, outside the locks."""
        return self._explain(error) if isinstance(error, _WriteFailed) else error

    # -- heartbeats (specification 4.2.7)

    def send_heartbeat(self) -> None:
        """Send a heartbeat now; an error tells that the connection is lost. Thread-safe."""
        try:
            self._write_heartbeat(self._usable_transport(), None)
        except BaseException:
            self._run_behind_loss()
            raise

    def _write_heartbeat(self, transport: _AbstractTransport, timeout: float | None) -> None:
        self._write_frame(transport, timeout, spec.FRAME_HEARTBEAT, 0, None, None, None)
        self._flush(None if timeout is None else Deadline(timeout, time.monotonic()))

    def heartbeat_tick(self, rate: int = 2) -> None:
        """Send a heartbeat if one is due, and check the broker's.

        Call it about once a second, from any thread; waits do it by
        themselves. Data counts as a sign of life when it comes, and may be
        left unread.

        :param rate: without effect.

        Raises `ConnectionForced` after two silent intervals; after up to four
        where something that was sent before lies unread.
        """
        self._renew_secret()
        if not self.heartbeat:
            return
        get_logger(HEARTBEAT_LOGGER).debug('heartbeat_tick of %r', self)
        self._check_usable()
        try:
            self._keep_heartbeat(self._usable_transport())
        except BaseException as exc:
            if isinstance(exc, ConnectionForced):
                self._fail(exc)
            self._run_behind_loss()
            raise

    def _keep_heartbeat(self, transport: _AbstractTransport, patience: float = 0) -> None:
        now = time.monotonic()
        heartbeat = self._heartbeat
        heartbeat.last_sent = max(heartbeat.last_sent, transport.sent_at)
        heartbeat.last_received = max(heartbeat.last_received, transport.received_at)
        self._prev_sent, self._prev_recv = transport.bytes_sent, transport.bytes_recv
        # News is told once: of two threads that ask, one would find none.
        with self._verdict_lock:
            if heartbeat.peer_is_dead(now):
                if not transport.has_news():
                    raise ConnectionForced('Too many heartbeats missed')
                heartbeat.last_received = now
        if heartbeat.must_send(now):
            heartbeat.last_sent = now
            # What another thread is writing meanwhile stands for a heartbeat.
            with suppress(TimeoutError):
                self._write_heartbeat(transport, patience)

    def start_heartbeat_thread(self) -> None:
        """Have a small thread keep the heartbeats up, so that a callback may take its time.

        It sends them, notices a dead peer as `heartbeat_tick` does, reads
        nothing, runs no callback, and ends with the connection. Nothing
        happens if it runs already, or where no heartbeats are agreed.
        Thread-safe.
        """
        self._check_usable()
        if not self.heartbeat:
            return
        thread = HeartbeatThread(self._beat)
        with self._cause_lock:
            if self._heartbeat_thread is not None:
                return
            self._heartbeat_thread = thread
        try:
            thread.start()
        except BaseException:
            self._heartbeat_thread = None
            raise

    def stop_heartbeat_thread(self) -> None:
        """End that thread, and wait for it: an interval at most. Thread-safe."""
        thread, self._heartbeat_thread = self._heartbeat_thread, None
        if thread is not None:
            thread.end()
            thread.join()

    def _beat(self) -> float | None:
        """Keep the heartbeats up; seconds until it must be done again, None for never."""
        try:
            # Time enough for a frame that has begun to leave, for a stream
            # that is cut off within a frame is lost.
            patience = self._heartbeat.interval / 4
            self._keep_heartbeat(self._usable_transport(), patience)
        except Exception as exc:  # noqa: BLE001 - nobody keeps the connection alive any more
            self._fail(exc)
            return None
        return max(self._heartbeat.next_look() - time.monotonic(), 0.0)
