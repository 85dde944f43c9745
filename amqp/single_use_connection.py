"""The life of a connection: its state, how it is lost, and what a loss does to the rest.

Which step may follow which stands in `amqp.states`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .abstract_channel import AbstractChannel, MethodSig
from .abstract_transport import _AbstractTransport, _EarlierFrameCutOff
from .callback_sets import CallbackSets, ConnectionCallbacks
from .channel_registry import ChannelRegistry
from .events import EventQueue
from .exceptions import AMQPError, RecoverableConnectionError, without_traceback
from .frame_reader import FrameReader
from .heartbeat_thread import HeartbeatThread
from .method_framing import FrameHandler, FrameWriter, Outbound
from .protocol import ConnectionStats
from .states import CONNECTION_TRANSITIONS, ConnectionEvent, ConnectionState, StateMachine
from .utils import fork_generation

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('SingleUseConnection',)

#: What a transport counts, in the order of `ConnectionStats`.
COUNTERS = (
    'bytes_sent',
    'bytes_recv',
    'frames_sent',
    'frames_read',
    'messages_sent',
    'messages_read',
)


class SingleUseConnection(AbstractChannel):
    """Channel 0 with the channels, the stream and the waits that end along with it.

    :param channel_max: the highest number of a channel.

    Whatever ends it, in whichever thread, ends all waits, and all use after
    that raises `RecoverableConnectionError` with the first cause chained.
    """

    on_open: Any
    on_tune_ok: Any

    def __init__(self, channel_max: int) -> None:
        self._registry = ChannelRegistry(channel_max)
        #: Channels by number; 0 is this connection.
        self.channels = self._registry.channels
        self._state = StateMachine(CONNECTION_TRANSITIONS, ConnectionState.NEW)
        # Why the connection is of no more use; None while it is.
        self._cause: BaseException | None = None
        # Whether it has been open, and whether it was ended from here.
        self._was_open = False
        self._ended_here = False
        #: Sets of callbacks: ``blocked`` (reason), ``unblocked`` (), ``close``
        #: (error), which is None where the connection was closed from here.
        self.events: CallbackSets = ConnectionCallbacks()
        self._transport: _AbstractTransport | None = None
        # What it has counted, when it is gone.
        self._counts = (0,) * len(COUNTERS)
        self._on_inbound_frame: FrameHandler | None = None
        # This library's own frame writer, and what it belongs to.
        self._own_writer: FrameWriter | None = None
        self._outbound: Outbound | None = None
        self._frame_writer = None
        self._events = EventQueue()
        self._reader = FrameReader(self, self._events)
        self._heartbeat_thread: HeartbeatThread | None = None
        self._fork_generation = fork_generation()
        # What is called with the arguments of each method.
        self._callbacks: dict[MethodSig, Callable[..., Any]] = {}
        super().__init__(self, 0)
        self.channels[0] = self

    def _listener(self, method_sig: MethodSig) -> Callable[..., Any] | None:
        return self._callbacks.get(method_sig)

    # -- what there is to know

    @property
    def connected(self) -> bool:
        """Whether the stream is up, as far as we have noticed."""
        transport = self._transport  # another thread may end the connection
        return transport is not None and transport.connected

    @property
    def is_open(self) -> bool:
        """Whether it has been opened, and has not been closed or found lost."""
        return self._state.state is ConnectionState.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed, by whichever side, or found lost."""
        return self._state.state is ConnectionState.CLOSED

    def is_alive(self) -> bool:
        """Whether the connection is open and its stream is up as far as the kernel knows.

        Doesn't block and takes nothing from the stream.
        """
        transport = self._transport
        return (
            transport is not None
            and self._state.state is ConnectionState.OPEN
            and transport.peer_is_there()
        )

    @property
    def is_closing(self) -> bool:
        """Whether a close of ours awaits its close-ok."""
        return self._state.state is ConnectionState.CLOSING

    @property
    def stats(self) -> ConnectionStats:
        """What has gone over it, also when it has ended, and what is open now. Thread-safe."""
        transport = self._transport
        counts = self._counts if transport is None else _counts_of(transport)
        channels = [each for each in list(self.channels.values()) if each is not self]
        outstanding = sum(each._confirm_mode.outstanding() for each in channels)
        now_open = sum(each.is_open for each in channels)
        return ConnectionStats._make((*counts, outstanding, now_open))

    @property
    def transport(self) -> Any:
        """The stream; `RecoverableConnectionError` if there is none."""
        return self._usable_transport()

    @transport.setter
    def transport(self, transport: Any) -> None:
        self._transport = transport

    @property
    def sock(self) -> Any:
        """The socket, to be watched by an event loop."""
        return self._usable_transport().sock

    @property
    def frame_writer(self) -> FrameWriter:
        """What sends frames; see `amqp.method_framing.frame_writer`."""
        frame_writer = self._frame_writer
        if frame_writer is None:
            raise self._lost_error()
        return frame_writer

    @frame_writer.setter
    def frame_writer(self, frame_writer: FrameWriter) -> None:
        self._frame_writer = frame_writer

    @property
    def _frame_writer(self) -> FrameWriter | None:
        return self._present_writer

    @_frame_writer.setter
    def _frame_writer(self, frame_writer: FrameWriter | None) -> None:
        self._present_writer = frame_writer
        outbound = self._outbound
        if outbound is not None:
            # Short ways lead past any other.
            outbound.is_open = frame_writer is self._own_writer

    @property
    def on_inbound_frame(self) -> FrameHandler:
        """What takes frames in; see `amqp.method_framing.frame_handler`."""
        on_inbound_frame = self._on_inbound_frame
        if on_inbound_frame is None:
            raise self._lost_error()
        return on_inbound_frame

    @on_inbound_frame.setter
    def on_inbound_frame(self, on_inbound_frame: FrameHandler) -> None:
        self._on_inbound_frame = on_inbound_frame
        self._reader.use(on_inbound_frame)

    # -- the end

    def abort(self) -> None:
        """Drop the connection at once, without a word to the broker. Never blocks."""
        self.collect()

    def collect(self) -> None:
        """Tear this object down without a word to the broker. Never blocks.

        Waits of other threads end with `RecoverableConnectionError`. In a
        forked child it leaves the parent's connection alone.
        """
        self._tear_down(RecoverableConnectionError('connection already closed'), here=True)
        if not self._forked():
            self._events.run_lasting()

    def _fail(self, cause: BaseException) -> BaseException:
        """Something fatal has happened: wake everybody; the error to raise here.

        That is the cause itself, or `RecoverableConnectionError` for an error
        of the socket.
        """
        if isinstance(cause, _EarlierFrameCutOff):
            # The thread that cut it off may not have told yet.
            self._tear_down(cause.__cause__ or cause)
            return self._lost_error()
        first = self._tear_down(cause)
        if not first and isinstance(cause, OSError):
            return self._lost_error()  # what another thread met with has led to this
        if not isinstance(cause, OSError):
            return cause
        error = RecoverableConnectionError(f'connection lost: {cause}')
        error.__cause__ = cause
        return error

    def _tear_down(self, cause: BaseException, here: bool = False) -> bool:
        """End everything; whether *cause* is the first that is known for it.

        :param here: whether it was asked for.
        """
        if self._forked():
            self._renew_locks()
        with self._cause_lock:
            first = self._cause is None
            if first:
                self._cause, self._ended_here = without_traceback(cause), here
                self._state.advance(ConnectionEvent.LOST)
            self._frame_writer = self._own_writer = self._outbound = None
            self._on_inbound_frame = None
            self._reader.detach()
            heartbeat_thread, self._heartbeat_thread = self._heartbeat_thread, None
        # Forgotten after it is closed: a signal handler may raise in between.
        transport = self._transport
        if transport is not None:
            transport.close()
            self._counts = _counts_of(transport)
            self._transport = None
        if heartbeat_thread is not None:
            heartbeat_thread.end()
        self._replies.fail(self._lost_error())
        # All waits end before anything else is torn down.
        self._give_up_channels()
        for channel in list(self.channels.values()):
            if channel is not self:
                channel.collect()
        # Without a cycle, so that a lost connection is freed at once.
        self._registry.clear()
        self._callbacks.clear()
        from vine import promise  # see `amqp.utils`

        self.on_open = self.on_tune_ok = promise()
        self.connection = None
        self._events.clear()
        self._note_end()
        self._reader.wake_all()
        return first

    def _note_end(self) -> None:
        """Have those told who want to know of the end, each once."""
        callbacks = self.events.pop('close', None)
        self.events.clear()
        if callbacks and self._was_open:
            error = self._end_error()
            for callback in callbacks:
                self._events.add_behind_end(callback, error)

    def _end_error(self) -> BaseException | None:
        """What ended the connection, as it is raised; None where that was asked for."""
        if self._ended_here:
            return None
        cause = self._cause
        return without_traceback(cause) if isinstance(cause, AMQPError) else self._lost_error()

    def _give_up_channels(self) -> None:
        for channel in list(self.channels.values()):
            if channel is not self:
                channel._lose_state(self._lost_error())
        self._reader.wake_all()

    def _is_lost(self) -> bool:
        return self._cause is not None

    def _forked(self) -> bool:
        return self._fork_generation != fork_generation()

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._registry.renew_lock()
        self._cause_lock = threading.Lock()
        self._reader.renew_role()
        for channel in list(self.channels.values()):
            if channel is not self:
                channel._renew_locks()

    def _lost_error(self) -> RecoverableConnectionError:
        """An error that says why nothing can be done any more; a new one for each to raise."""
        if self.is_closing:
            return RecoverableConnectionError('the connection is closing')
        if self._cause is None:
            return RecoverableConnectionError('not connected: call connect() first')
        if isinstance(self._cause, RecoverableConnectionError):
            error = RecoverableConnectionError(self._cause.reply_text)
        else:
            error = RecoverableConnectionError(f'connection lost: {self._cause}')
        error.__cause__ = self._cause
        return error

    def _check_usable(self) -> None:
        """Raise if nothing may be sent any more."""
        self._usable_transport()
        if self.is_closing:
            raise self._lost_error()

    def _usable_transport(self) -> _AbstractTransport:
        transport = self._transport
        if transport is None or self._cause is not None:
            if transport is not None:  # a signal handler's exception may have cut the end short
                transport.close()
            raise self._lost_error()
        if self._fork_generation != fork_generation():
            raise RecoverableConnectionError('this connection belongs to the parent process')
        return transport

    def _usable_connection(self) -> SingleUseConnection:
        self._usable_transport()
        return self


def _counts_of(transport: Any) -> tuple[int, ...]:
    """What a transport has counted; one that somebody has brought may count less."""
    return tuple(getattr(transport, name, 0) for name in COUNTERS)
