"""The life of a channel: opened, closed, closed by the broker and opened again.

Which step may follow which stands in `amqp.states`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from . import spec
from .abstract_channel import AbstractChannel, MethodSig
from .callback_sets import CallbackSets, ChannelCallbacks
from .deadline import Deadline
from .exceptions import (
    AMQPError,
    ChannelError,
    RecoverableChannelError,
    RecoverableConnectionError,
    RPCTimeout,
    UnexpectedFrame,
    error_for_code,
)
from .inbox import Inbox
from .outbox import Outbox
from .replies import Reply, as_methods
from .states import (
    CHANNEL_TRANSITIONS,
    ChannelEvent,
    ChannelState,
    IllegalTransition,
    StateMachine,
)

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ('ReopenableChannel',)

#: Methods that are about deliveries: they have no meaning on a reopened channel.
ACKNOWLEDGEMENTS = frozenset((spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Reject))

#: Nothing else is acted upon while a close is under way (specification 1.5.2.5).
CLOSING_METHODS = frozenset((spec.Channel.Close, spec.Channel.CloseOk))

#: Seconds that the thread which reads waits for one that writes.
ANSWER_PATIENCE = 1.0

OPENING_METHODS = frozenset((spec.Channel.OpenOk, spec.Channel.Close))


#: Methods that change more than the broker's state when they are sent.
MOMENTOUS = frozenset((spec.Channel.Open, spec.Channel.Close, spec.Confirm.Select))


class _NotOpen(RecoverableChannelError):
    """Another thread has closed the channel, or read its close, since it was looked at."""

    def __init__(self, state: str, sig: MethodSig) -> None:
        super().__init__(f'the channel is {state} meanwhile', sig)
        self.state = state


class ReopenableChannel(AbstractChannel):
    """A numbered channel of *connection*, without the methods that work is done by.

    :param channel_id: the number to use; by default a free one.
    :param on_open: called with this channel when it has been opened.
    """

    #: What is called upon each method. By name: bound methods would be the
    #: largest part of a channel.
    _LISTENERS: ClassVar[dict[MethodSig, str]] = {
        spec.Channel.OpenOk: '_on_open_ok',
        spec.Channel.Close: '_on_close',
        spec.Channel.CloseOk: '_on_close_ok',
    }

    def __init__(
        self, connection: Any, channel_id: int | None, on_open: Callable[[Any], Any] | None
    ) -> None:
        from vine import ensure_promise  # see `amqp.utils`

        if channel_id is None:
            channel_id = connection._get_free_channel_id()
        else:
            connection._claim_channel_id(channel_id)
        self._state = StateMachine(CHANNEL_TRANSITIONS, ChannelState.NEW)
        self._inbox = Inbox(self, channel_id, self._state)
        self._outbox = Outbox(channel_id, self._state)
        super().__init__(connection, channel_id, self._inbox.replies)
        self.on_open: Any = ensure_promise(on_open)
        #: Whether it may be opened again after the broker closed it, or a reply
        #: was overdue; set it to False where it is of no use to you then.
        self.reopens = True
        # Whether nobody has put something of his own where methods are sent.
        self._sends_directly = False
        # Kept when the connection is let go of, which another thread may do
        # while this one dispatches.
        self._connection_events = connection._events
        # Why the connection was lost, if that ended the channel.
        self._lost: BaseException | None = None
        # Whether it has been opened, and nobody has been told of its end yet.
        self._is_up = False
        #: Sets of callbacks: ``basic_return`` (exc, exchange, routing_key,
        #: message), ``basic_ack`` and ``basic_nack`` (delivery_tag, multiple),
        #: ``cancel`` (consumer_tag), ``flow`` (active), ``close`` (error),
        #: which is None where the channel was closed from here.
        self.events: CallbackSets = ChannelCallbacks()

    def __repr__(self) -> str:
        return f'<{type(self).__name__}: {self.channel_id} ({self._state.state})>'

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._outbox.lock = self._send_lock
        self._opening_lock = threading.Lock()

    def _listener(self, method_sig: MethodSig) -> Callable[..., Any] | None:
        name = self._LISTENERS.get(method_sig)
        return None if name is None else getattr(self, name)

    @property
    def is_open(self) -> bool:
        """Whether the broker has this channel open."""
        return self._state.state is ChannelState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it was closed by either side, or lost; a use may open it again."""
        return self._state.state in (ChannelState.REOPENABLE, ChannelState.CLOSED)

    @property
    def is_closing(self) -> bool:
        """Whether a close of ours awaits its close-ok."""
        return self._state.state is ChannelState.CLOSING

    @property
    def _unreported(self) -> AMQPError | None:
        return self._outbox.unreported

    @_unreported.setter
    def _unreported(self, error: AMQPError | None) -> None:
        self._outbox.unreported = error

    def then(
        self, on_success: Callable[..., Any], on_error: Callable[..., Any] | None = None
    ) -> Any:
        """Call *on_success* with this channel when it is open; a vine promise."""
        return self.on_open.then(on_success, on_error)

    def open(self) -> None:
        """Open the channel on the broker; nothing happens if it is open."""
        if not self.reopens and self._state.state is ChannelState.REOPENABLE:
            self._report_close()
            raise RecoverableChannelError(
                'the channel is not to be opened again', spec.Channel.Open
            )
        while not self._begin_opening():
            if self.is_open:
                return
            connection = self._usable_connection()
            if self.is_closing:
                raise RecoverableChannelError('the channel is closing', spec.Channel.Open)
            self._wait_for_another_opener(connection)
        try:
            self.send_method(spec.Channel.Open, 's', ('',), wait=spec.Channel.OpenOk)
        except TimeoutError:
            if not self._replies.awaits(spec.Channel.OpenOk):  # not an octet was sent
                self._state.state = ChannelState.REOPENABLE
            raise
        self.on_open(self)

    def _wait_for_another_opener(self, connection: Any) -> None:
        patience = connection._reply_patience()
        deadline = Deadline(patience, time.monotonic())
        try:
            connection._wait_until(self._not_opening, deadline)
        except TimeoutError:
            if self._not_opening() or not deadline.expired(time.monotonic()):
                raise  # a callback's own
            self._reply_overdue(f'no Channel.OpenOk within {patience} s')

    def _begin_opening(self) -> bool:
        """Whether it is this thread that opens the channel."""
        with self._opening_lock:
            if self._state.state not in (ChannelState.NEW, ChannelState.REOPENABLE):
                return False
            try:
                self._state.advance(ChannelEvent.SEND_OPEN)
            except IllegalTransition:
                return False  # another thread has just ended the connection
            return True

    def _not_opening(self) -> bool:
        return self._state.state is not ChannelState.OPENING

    def _on_open_ok(self, reserved: str = '') -> None:
        self._outbox.outbound = self._usable_connection()._outbound
        self._is_up = True
        self._state.advance(ChannelEvent.RECV_OPEN_OK)

    def close(
        self,
        reply_code: int = 0,
        reply_text: str = '',
        method_sig: MethodSig = (0, 0),
        argsig: str = 'BsBB',
    ) -> None:
        """Close the channel and wait for the broker's close-ok.

        Raises the error by which the broker closed it first, where no other
        call has raised that yet: a publish to a missing exchange shows here.
        Nothing happens if the channel is closed already.
        """
        connection = self.connection
        if connection is None or self.is_closing:
            return
        try:
            self._close(argsig, (reply_code, reply_text, *method_sig))
        finally:
            connection._run_lasting()

    def _close(self, argsig: str, args: tuple[Any, ...]) -> None:
        try:
            if self._state.state is ChannelState.OPEN:
                self.send_method(spec.Channel.Close, argsig, args, wait=spec.Channel.CloseOk)
        except _NotOpen as exc:
            if exc.state is ChannelState.CLOSING:
                return  # by another thread, which sees to the rest
        except BaseException:
            self.collect()
            raise
        error = self._take_unreported()
        self.collect()
        if error is not None:
            raise error

    def _on_close_ok(self) -> None:
        self._state.advance(ChannelEvent.RECV_CLOSE_OK)

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """The broker closes the channel: answer, and tell whoever has to do with it."""
        error = error_for_code(reply_code, reply_text, (class_id, method_id), ChannelError)
        # No other thread may send a method behind the close-ok, nor open the
        # channel again before what it was is forgotten.
        lock = self._send_lock
        outer = lock._is_owned()
        try:
            if not outer and not lock.acquire(timeout=ANSWER_PATIENCE):
                raise RecoverableConnectionError("the broker doesn't take what is being sent")
            was_closing = self.is_closing
            connection = self.connection
            if was_closing and connection is not None:
                connection._registry.note_crossing(self.channel_id)
            # Sent before the state changes, for then the number may be used again.
            self._answer(spec.Channel.CloseOk)
            self._state.advance(ChannelEvent.RECV_CLOSE)
            self._end_with(error, was_closing)
        finally:
            if not outer and lock._is_owned():
                lock.release()
        self._tell_of_end(error)

    def _end_with(self, error: AMQPError, was_closing: bool) -> None:
        if was_closing:
            self._unreported = error  # for our `close`, which ends here
            self._replies.succeed(spec.Channel.CloseOk, ())
        elif not self._lose_state(error):
            self._unreported = error
            self._connection_events.add_report(self, self._report_close)

    def _tell_of_end(self, error: BaseException | None) -> None:
        """Have those told who want to know, once for each time that the channel was opened."""
        with self._opening_lock:
            was_up, self._is_up = self._is_up, False
        if was_up:
            for callback in list(self.events.get('close', ())):
                self._connection_events.add_behind_loss(callback, error)

    def _report_close(self) -> None:
        """Raise the broker's reason for closing the channel, once."""
        error = self._take_unreported()
        if error is not None:
            raise error

    def _take_unreported(self) -> AMQPError | None:
        with self._opening_lock:  # of two threads that ask, one is told
            error, self._unreported = self._unreported, None
        return error

    def _lose_state(self, error: BaseException) -> bool:
        """Forget what the broker has forgotten; whether *error* woke anybody."""
        self.incarnation += 1
        return self._replies.fail(error)

    def _usable_connection(self) -> Any:
        connection = self.connection
        if connection is None:
            error = RecoverableConnectionError(
                'connection already closed' if self._lost else 'the channel is closed'
            )
            error.__cause__ = self._lost
            raise error
        return connection

    def collect(self) -> None:
        """Tear this object down without a word to the broker. Never blocks."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        self._lost = connection._cause
        # Otherwise the broker may still speak of it, or is yet to answer our close.
        from vine import promise  # see `amqp.utils`

        let_go = self._state.state in (
            ChannelState.NEW,
            ChannelState.REOPENABLE,
            ChannelState.CLOSED,
        )
        self._state.advance(ChannelEvent.LOST)
        connection._registry.forget(self, reuse_id=let_go)
        self._lose_state(connection._lost_error())
        self._inbox.channel = self._outbox.outbound = None
        if not connection._forked():
            self._tell_of_end(connection._end_error() if self._lost else None)
        self.events.clear()
        self.on_open = promise()

    def _prepare(self, sig: MethodSig) -> None:
        """See to it that the channel is open, or say why it can't be used."""
        connection = self._usable_connection()
        connection._check_usable()
        state = self._state.state
        if state is ChannelState.OPEN and self._unreported is None:
            return
        if sig == spec.Channel.Close:
            return
        self._report_close()
        if sig == spec.Channel.Open:
            return
        if state is ChannelState.CLOSING:
            raise RecoverableChannelError('the channel is closing', sig)
        if sig in ACKNOWLEDGEMENTS:
            raise RecoverableChannelError(
                'the broker closed this channel and has requeued its unacknowledged messages', sig
            )
        self.open()

    def _request_at_once(
        self, sig: MethodSig, payload: bytes, wait: MethodSig | Sequence[MethodSig]
    ) -> Reply | None:
        outbound = self._outbox.outbound
        if outbound is None or not outbound.may_send():
            return None
        if not self._sends_directly or sig in MOMENTOUS:
            return None
        reply = Reply(as_methods(wait))
        with self._send_lock:
            if self._state.state is not ChannelState.OPEN or self._unreported is not None:
                return None
            sent = outbound.request(self.channel_id, sig, payload, self._replies, reply)
        return reply if sent else None

    def _send(
        self, sig: MethodSig, payload: bytes, content: Any, timeout: float | None = None
    ) -> Any:
        connection = self._usable_connection()
        state = self._state.state
        if state is not ChannelState.OPEN and sig != spec.Channel.Open:
            # Since `_prepare`, which runs without a lock.
            raise _NotOpen(state, sig)
        if sig == spec.Channel.Close:
            self._state.advance(ChannelEvent.SEND_CLOSE)
        before = connection._octets_given()
        try:
            connection._write_method(self.channel_id, sig, payload, content, timeout)
        except BaseException as exc:
            connection._interrupted(exc, before)
            # Unless the connection is lost, not an octet was sent.
            if sig == spec.Channel.Close and self.connection is not None:
                self._state.state = state
            raise

    def _reply_overdue(self, text: str) -> None:
        """Leave the channel to its fate: a late reply must not match a later request."""
        connection = self._usable_connection()
        error = RPCTimeout(text)
        left = None
        with self._send_lock:
            state = self._state.state
            if state in (ChannelState.OPENING, ChannelState.OPEN):
                left = self.channel_id
                self._state.advance(ChannelEvent.RPC_TIMEOUT)
                connection._move_channel(self)
            elif state is ChannelState.CLOSING:
                connection._registry.forget(self, reuse_id=False)
        if left is not None:
            connection._close_number(left)
        self._lose_state(error)
        self._tell_of_end(error)
        connection._wake_drainers()
        raise error

    def dispatch_method(self, method_sig: MethodSig, payload: bytes, content: Any) -> None:
        """Act upon a method of the broker; see `AbstractChannel.dispatch_method`."""
        state = self._state.state
        if state is ChannelState.CLOSING and method_sig not in CLOSING_METHODS:
            return
        if state not in (ChannelState.OPEN, ChannelState.CLOSING) and self._is_stray(method_sig):
            return
        if state is ChannelState.CLOSED:
            return  # collected while the method waited to be dispatched
        opening = state is ChannelState.OPENING and method_sig in OPENING_METHODS
        if not opening and state not in (ChannelState.OPEN, ChannelState.CLOSING):
            raise UnexpectedFrame(f'channel {self.channel_id} is {state}', method_sig)
        try:
            super().dispatch_method(method_sig, payload, content)
        except IllegalTransition as exc:
            if exc.state is ChannelState.CLOSED:
                return  # collected by another thread in between
            raise UnexpectedFrame(f'channel {self.channel_id}: {exc}', method_sig) from exc

    def _is_stray(self, sig: MethodSig) -> bool:
        """Whether this is the close-ok of the number's last channel, closed by both sides."""
        connection = self.connection
        return (
            connection is not None
            and connection._registry.settle_crossing(self.channel_id)
            and sig == spec.Channel.CloseOk
        )

    def _answer(self, sig: MethodSig, argsig: str = '', args: tuple[Any, ...] = ()) -> None:
        """Reply to a method of the broker, unless the channel has been collected meanwhile."""
        connection = self.connection
        if connection is not None:
            payload = self._encode_arguments(sig, argsig, args)
            connection._answer(self.channel_id, sig, payload)
