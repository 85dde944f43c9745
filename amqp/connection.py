"""Connections: handshake, channel registry, the reading of frames for everybody, close.

Threads
    Any number may share a connection. Whoever needs a frame becomes the
    reader, if there is none; it reads one method, does what the protocol
    demands, and gives the role up before any callback of a user runs. The
    others wait on a condition, not on the socket.

Lock order
    The reader's role, a channel's ``_send_lock``, the transport's write lock.
    All others are leaves: none of these is waited for under them. (But for an
    `amqp.rpc.Client`'s ``_listen_lock``, which is taken before all of them, to
    open its channel.) No thread waits for the role while it holds one of these
    (but for subclasses that dispatch in threads of their own, which may for a
    moment where the stream is dead).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from . import sasl, spec
from ._version import __version__
from .abstract_channel import MethodSig
from .abstract_transport import _AbstractTransport
from .channel import Channel as _Channel
from .deadline import Deadline
from .draining_connection import DrainingConnection
from .exceptions import (
    ChannelError,
    ChannelNotOpen,
    ConnectionError,
    MessageNacked,
    RecoverableChannelError,
    RecoverableConnectionError,
    ResourceError,
    UnexpectedFrame,
    error_for_code,
)
from .handshake import DEFAULT_CHANNEL_MAX, Handshake
from .method_framing import FrameHandler, FrameWriter, Outbound, frame_handler, frame_writer
from .method_framing import frame_writer as _frame_writer
from .states import ConnectionEvent, ConnectionState, IllegalTransition
from .transport import Transport
from .utils import get_logger
from .writing_connection import ANSWER_PATIENCE, HEARTBEAT_LOGGER

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    import ssl as ssl_module
    from logging import Logger
    from typing import Any, ClassVar, TypeVar

    ConnectionT = TypeVar('ConnectionT', bound='Connection')

    from .credentials import Provider

__all__ = ('Connection',)


# Within the class this name is its attribute, for subclasses to replace.
Channel = _Channel

DEFAULT_FRAME_MAX = 131_072
#: RabbitMQ accepts no larger one, whatever its configuration.
DEFAULT_MAX_MESSAGE_SIZE = 512 * 1024 * 1024
# Got by name, as SSLError is: see `__getattr__`.
AMQP_LOGGER: Logger
AMQP_HEARTBEAT_LOGGER: Logger
LOGGERS = {'AMQP_LOGGER': 'amqp', 'AMQP_HEARTBEAT_LOGGER': HEARTBEAT_LOGGER}

CLOSING_METHODS = frozenset((spec.Connection.Close, spec.Connection.CloseOk))


def __getattr__(name: str) -> Any:
    # Both modules are slow to import, and ssl may be missing.
    if name == 'SSLError':
        from ssl import SSLError

        return SSLError
    if name in LOGGERS:
        return get_logger(LOGGERS[name])
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


class Connection(DrainingConnection):
    """A connection to a broker. Nothing is sent before `connect`; use it once.

    :param host: ``host[:port]``.
    :param userid: for PLAIN and AMQPLAIN, with *password*; a principal for GSSAPI.
    :param login_method: the name of a mechanism, or several, the preferred one
        first. By default the first that the broker offers of GSSAPI,
        EXTERNAL (if *ssl* names a ``certfile``), PLAIN, AMQPLAIN, EXTERNAL.
        With *login_response*, that is sent.
    :param authentication: `amqp.sasl` instances, instead of the four before.
    :param client_properties: what to tell the broker about this client.
    :param ssl: True, an ``ssl.SSLContext``, or a dict; see `SSLTransport`.
    :param connect_timeout: seconds for name lookup, TCP, TLS and handshake
        together; by default ``rpc_timeout``.
    :param channel_max: most channels, to be negotiated.
    :param frame_max: largest frame in octets, to be negotiated; 0 is no limit.
    :param heartbeat: seconds between signs of life, to be negotiated; 0 is none.
    :param on_open: called with the connection when it is open.
    :param on_tune_ok: called with the connection when its limits are settled.
    :param on_blocked: called with a reason when the broker stops taking messages.
    :param on_unblocked: called when it takes them again.
    :param confirm_publish: have ``basic_publish`` wait for the broker's confirm.
    :param read_timeout: seconds that a wait without a deadline may last.
    :param write_timeout: seconds that a write without a deadline may last.
    :param socket_settings: TCP options as ``{option: value}``.
    :param connection_name: shown in RabbitMQ's lists and logs.
    :param rpc_timeout: seconds that any wait for a reply may last; None: for ever.
    :param blocked_timeout: seconds that a publish waits while the broker takes
        no messages; None: for ever.
    :param max_message_size: largest body accepted, in octets; 0 is no limit.
    :param credentials: called at each `connect` for (userid, password), or for
        (userid, token, seconds) of a token that expires; see `renew_secret`.
    :param erase_on_connect: forget user name and password when they have been
        sent, or connecting has failed.
    :param heartbeat_thread: see `start_heartbeat_thread`; it is called by `connect`.

    Arguments of other names are ignored, for callers that pass on options of
    other clients.
    """

    Channel: ClassVar[type[_Channel]] = _Channel

    connection_errors: ClassVar[tuple[type[BaseException], ...]] = (ConnectionError, OSError)
    channel_errors: ClassVar[tuple[type[BaseException], ...]] = (ChannelError,)
    recoverable_connection_errors: ClassVar[tuple[type[BaseException], ...]] = (
        RecoverableConnectionError,
        MessageNacked,
        OSError,
    )
    recoverable_channel_errors: ClassVar[tuple[type[BaseException], ...]] = (
        RecoverableChannelError,
    )

    #: What the broker is told of this library.
    library_properties: ClassVar[dict[str, Any]] = {
        'product': 'amqp',
        'product_version': __version__,
        'platform': f'Python {sys.version.split()[0]}',
    }

    #: Extensions to agree on: what the broker offers is answered with the value here.
    negotiate_capabilities: ClassVar[dict[str, bool]] = {
        'authentication_failure_close': True,
        'basic.nack': True,
        'connection.blocked': True,
        'consumer_cancel_notify': True,
        'exchange_exchange_bindings': True,
        'publisher_confirms': True,
    }

    _METHODS: ClassVar[dict[MethodSig, spec.method_t]] = {
        sig: spec.method(sig, method.format or None)
        for sig, method in spec.METHODS.items()
        if sig[0] == spec.Connection.CLASS_ID and method.direction != 'client'
    }

    def __init__(
        self,
        host: str = 'localhost:5672',
        userid: str = 'guest',
        password: str = 'guest',
        login_method: str | Sequence[str] | None = None,
        login_response: bytes | None = None,
        authentication: sasl.SASL | Iterable[sasl.SASL] = (),
        virtual_host: str = '/',
        locale: str = 'en_US',
        client_properties: Mapping[str, Any] | None = None,
        ssl: bool | Mapping[str, Any] | ssl_module.SSLContext = False,
        connect_timeout: float | None = None,
        channel_max: int | None = None,
        frame_max: int | None = None,
        heartbeat: float | None = 0,
        on_open: Callable[[Connection], Any] | None = None,
        on_blocked: Callable[[str], Any] | None = None,
        on_unblocked: Callable[[], Any] | None = None,
        confirm_publish: bool = False,
        on_tune_ok: Callable[[Connection], Any] | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Mapping[int | str, int | bytes] | None = None,
        frame_handler: Callable[..., FrameHandler] = frame_handler,
        frame_writer: Callable[..., FrameWriter] = frame_writer,
        connection_name: str | None = None,
        rpc_timeout: float | None = 60,
        blocked_timeout: float | None = 60,
        max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
        heartbeat_thread: bool = False,
        credentials: Provider | None = None,
        erase_on_connect: bool = False,
        **kwargs: Any,
    ) -> None:
        from vine import ensure_promise  # see `amqp.utils`

        if frame_max is not None and 0 < frame_max < spec.FRAME_MIN_SIZE:
            raise ValueError(f'frame_max {frame_max} is below the least, {spec.FRAME_MIN_SIZE}')
        self.host = host
        self.virtual_host = virtual_host
        self.locale = locale
        self.ssl = ssl
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.socket_settings = socket_settings
        certificate = isinstance(ssl, Mapping) and bool(ssl.get('certfile'))
        #: How to log in; empty where it isn't known yet, or not any more.
        self.authentication: tuple[sasl.SASL, ...] = ()
        self.erase_on_connect = erase_on_connect
        self._credentials: Any = None  # a CredentialsSource
        if credentials is None:
            self.authentication = sasl.mechanisms_for(
                authentication, login_method, login_response, userid, password, certificate
            )
        elif authentication != () or login_response is not None:
            raise ValueError('credentials: not together with authentication or login_response')
        else:
            from .credentials import CredentialsSource

            self._credentials = CredentialsSource(credentials, login_method, certificate)
        self.client_properties: dict[str, Any] = {
            **self.library_properties,
            **(client_properties or {}),
        }
        if connection_name is not None:
            self.client_properties['connection_name'] = connection_name
        #: Negotiated when the connection is open; before, what we ask for.
        self.channel_max = DEFAULT_CHANNEL_MAX if channel_max is None else channel_max
        self.frame_max = DEFAULT_FRAME_MAX if frame_max is None else frame_max
        #: Seconds: what we ask for, what the broker proposes, what holds.
        self.client_heartbeat = heartbeat or 0
        self.server_heartbeat: int | None = None
        self.heartbeat: float | None = None
        self.confirm_publish = confirm_publish
        self.rpc_timeout = rpc_timeout
        self.heartbeat_thread = heartbeat_thread
        self.on_open: Any = ensure_promise(on_open)
        self.on_tune_ok: Any = ensure_promise(on_tune_ok)
        self.frame_handler_cls = frame_handler
        self.frame_writer_cls = frame_writer
        #: What the broker told of itself.
        self.version_major = 0
        self.version_minor = 0
        self.server_properties: dict[str, Any] = {}
        self.mechanisms: list[bytes] = []
        self.locales: list[str] = []
        # Where `amqp.connect` has looked the host's name up already.
        self._addresses: list[Any] | None = None
        # Subclasses that read in their own way are asked each time.
        self._drain_overridden = type(self).drain_events is not Connection.drain_events
        self._read_overridden = type(self).blocking_read is not Connection.blocking_read
        super().__init__(self.channel_max, frame_writer is _frame_writer)
        self._reader.has_chores = self._credentials is not None
        self._callbacks = self._listeners()
        self.blocked_timeout = blocked_timeout
        self.on_blocked = on_blocked
        self.on_unblocked = on_unblocked
        self.max_message_size = max_message_size

    @classmethod
    def from_url(cls: type[ConnectionT], url: str, **overrides: Any) -> ConnectionT:
        """Make a connection by ``amqp[s]://user:password@host:port/vhost?parameter=value``.

        :param overrides: arguments that take the place of the URL's.

        The parameters are RabbitMQ's and Pika's; ``connection_attempts`` and
        ``retry_delay`` are for `amqp.connect`, for this one connects once.
        Raises ValueError, which names the parameter at fault.
        """
        from .urls import parse_url

        return cls(**{**parse_url(url).options, **overrides})

    def __repr__(self) -> str:
        state = self._state.state
        return f'<AMQP Connection: {self.host}/{self.virtual_host} ({state}) at {id(self):#x}>'

    def __enter__(self) -> Connection:
        self.connect()
        return self

    def _listeners(self) -> dict[MethodSig, Callable[..., Any]]:
        return {
            **Handshake(self).listeners(),
            spec.Connection.Close: self._on_close,
            spec.Connection.CloseOk: self._on_close_ok,
            spec.Connection.Blocked: self._on_blocked,
            spec.Connection.Unblocked: self._on_unblocked,
        }

    # -- what there is to know

    @property
    def server_capabilities(self) -> dict[str, Any]:
        """The extensions that the broker offers."""
        return self.server_properties.get('capabilities') or {}

    @property
    def basic_nack_supported(self) -> bool:
        """Whether the broker offers ``basic.nack``."""
        return bool(self.server_capabilities.get('basic.nack'))

    @property
    def consumer_cancel_notify_supported(self) -> bool:
        """Whether the broker offers ``consumer_cancel_notify``."""
        return bool(self.server_capabilities.get('consumer_cancel_notify'))

    @property
    def exchange_exchange_bindings_supported(self) -> bool:
        """Whether the broker offers ``exchange_exchange_bindings``."""
        return bool(self.server_capabilities.get('exchange_exchange_bindings'))

    @property
    def publisher_confirms_supported(self) -> bool:
        """Whether the broker offers ``publisher_confirms``."""
        return bool(self.server_capabilities.get('publisher_confirms'))

    @property
    def connection_blocked_supported(self) -> bool:
        """Whether the broker offers ``connection.blocked``."""
        return bool(self.server_capabilities.get('connection.blocked'))

    @property
    def per_consumer_qos_supported(self) -> bool:
        """Whether the broker offers ``per_consumer_qos``."""
        return bool(self.server_capabilities.get('per_consumer_qos'))

    @property
    def direct_reply_to_supported(self) -> bool:
        """Whether the broker offers ``direct_reply_to``."""
        return bool(self.server_capabilities.get('direct_reply_to'))

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes no messages at the moment."""
        return self._blocked_reason is not None

    @property
    def bytes_sent(self) -> int:
        """Octets sent."""
        transport = self._transport
        return transport.bytes_sent if transport is not None else 0

    # Frame writers of py-amqp's kind count their frames here.
    @bytes_sent.setter
    def bytes_sent(self, count: int) -> None:
        pass

    @property
    def bytes_recv(self) -> int:
        """Octets received."""
        transport = self._transport
        return transport.bytes_recv if transport is not None else 0

    @bytes_recv.setter
    def bytes_recv(self, count: int) -> None:
        pass

    @property
    def prev_sent(self) -> int:
        """Octets sent until the last look at the heartbeat."""
        return self._prev_sent

    @property
    def prev_recv(self) -> int:
        """Octets received until the last look at the heartbeat."""
        return self._prev_recv

    @property
    def last_heartbeat_sent(self) -> float:
        """When we last showed signs of life, in monotonic seconds."""
        return self._heartbeat.last_sent

    @property
    def last_heartbeat_received(self) -> float:
        """When the broker last did."""
        return self._heartbeat.last_received

    def then(
        self, on_success: Callable[..., Any], on_error: Callable[..., Any] | None = None
    ) -> Any:
        """Call *on_success* with this connection when it is open; a vine promise."""
        return self.on_open.then(on_success, on_error)

    @property
    def max_message_size(self) -> int:
        """The largest body accepted, in octets; 0 is no limit."""
        return self._max_message_size

    @max_message_size.setter
    def max_message_size(self, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self._reader.limit_messages(max_message_size)

    # -- opening

    def Transport(  # noqa: N802 - the name that callers override
        self,
        host: str,
        connect_timeout: float | None,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        **kwargs: Any,
    ) -> _AbstractTransport:
        """Make the transport; subclasses may make another."""
        return Transport(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            socket_settings=socket_settings,
            **kwargs,
        )

    def connect(self, callback: Callable[[], Any] | None = None) -> Any:
        """Connect, and wait until the connection is open.

        Raises OSError where no stream comes about, ``socket.timeout`` after
        ``connect_timeout``, `AccessRefused` for bad credentials, `NotAllowed`
        for a virtual host that may not be used. If the connection is open,
        only *callback* is called.
        """
        if self._state.state is not ConnectionState.OPEN:
            self._open()
        return callback() if callback is not None else None

    def _open(self) -> None:
        if self._state.state is not ConnectionState.NEW:
            raise self._lost_error()
        # No step of it may take for ever, even where nobody set a limit.
        timeout = self.rpc_timeout if self.connect_timeout is None else self.connect_timeout
        deadline = Deadline(timeout, time.monotonic())
        self._state.advance(ConnectionEvent.SEND_HEADER)
        try:
            if self._credentials is not None:
                self.authentication = self._credentials.mechanisms()
            self._transport = self.Transport(
                self.host,
                self.connect_timeout,
                ssl=self.ssl,
                read_timeout=self.read_timeout,
                write_timeout=self.write_timeout,
                socket_settings=self.socket_settings,
            )
            self.on_inbound_frame = self.frame_handler_cls(self, self.on_inbound_method)
            self.frame_writer = writer = self.frame_writer_cls(self, self._transport)
            self._reader.attach(self._transport, self._is_direct())
            self._transport.stall_timeout = self.rpc_timeout
            self._transport.addresses = self._addresses
            self._transport.connect(deadline)
            self._wait_until(self._handshake_complete, deadline)
            self._was_open = True
            outbound = getattr(writer, '__self__', None)
            if type(outbound) is Outbound and type(self).frame_writer is Connection.frame_writer:
                outbound.frame_max, outbound.is_open = self.frame_max, self._frame_writer is writer
                self._own_writer, self._outbound = writer, outbound
            if self.heartbeat_thread:
                self.start_heartbeat_thread()
        except BaseException as exc:
            stage = self._state.state
            self._tear_down(exc)
            if isinstance(exc, TimeoutError):
                raise TimeoutError(f'{exc} (connecting to {self.host}, {stage})') from exc
            raise
        finally:
            if self.erase_on_connect or self._credentials is not None:
                self.authentication = ()
        self.on_open(self)

    def _handshake_complete(self) -> bool:
        return self._state.state is ConnectionState.OPEN

    def _is_direct(self) -> bool:
        """Whether nobody has put something of his own where frames are read and passed on."""
        return (
            not self._read_overridden
            and getattr(self.on_inbound_method, '__func__', None) is Connection.on_inbound_method
        )

    # -- channels

    def channel(
        self, channel_id: int | None = None, callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """The channel of that number, or a new one, opened.

        :param channel_id: by default a free one.
        :param callback: called with a new channel when it is open.

        Raises `ResourceError` when ``channel_max`` channels are open.
        """
        self._check_usable()
        if channel_id is not None and channel_id in self.channels:
            return self.channels[channel_id]
        channel = self.Channel(self, channel_id, on_open=callback)
        try:
            channel.open()
        except BaseException:
            channel.collect()
            raise
        return channel

    def _get_free_channel_id(self) -> int:
        return self._registry.allocate()

    def _claim_channel_id(self, channel_id: int) -> None:
        self._registry.claim(channel_id)

    def _move_channel(self, channel: _Channel) -> None:
        """Give a channel whose reply is overdue another number."""
        try:
            self._registry.move(channel, self._get_free_channel_id())
        except ResourceError:
            channel.collect()

    def _close_number(self, channel_id: int) -> None:
        """Close the channel that such a one has left behind."""
        payload = self._encode_arguments(spec.Channel.Close, 'BsBB', (0, 'reply overdue', 0, 0))
        try:
            self._answer(channel_id, spec.Channel.Close, payload)
        except RecoverableConnectionError as exc:
            self._fail(exc)

    def _on_stray_method(self, channel_id: int, method_sig: MethodSig) -> None:
        """A method for a channel that is no more, or never was."""
        if self._registry.settle_crossing(channel_id) and method_sig == spec.Channel.CloseOk:
            return
        self._check_stray(channel_id, method_sig)
        if method_sig == spec.Channel.Close:  # it may never answer ours then
            self._registry.note_crossing(channel_id)
            self._answer(channel_id, spec.Channel.CloseOk, b'')
            self._registry.release(channel_id)
        elif method_sig == spec.Channel.CloseOk:
            self._registry.release(channel_id)

    def _check_stray(self, channel_id: int, method_sig: MethodSig) -> None:
        """`ChannelNotOpen` where the broker has no reason to speak of this number any more."""
        if not self.is_closing and not self._registry.is_resting(channel_id):
            raise ChannelNotOpen(f'channel {channel_id} is not open', method_sig)

    # -- taking in

    def on_inbound_method(
        self, channel_id: int, method_sig: MethodSig, payload: bytes, content: Any
    ) -> None:
        """Pass a method on to its channel."""
        if self.is_closing and (channel_id or method_sig not in CLOSING_METHODS):
            return  # specification 1.4.2.6: everything else is discarded
        channel = self.channels.get(channel_id)
        if channel is None:
            self._on_stray_method(channel_id, method_sig)
        else:
            channel.dispatch_method(method_sig, payload, content)

    def dispatch_method(self, method_sig: MethodSig, payload: bytes, content: Any) -> None:
        """Act upon a method on channel 0."""
        try:
            super().dispatch_method(method_sig, payload, content)
        except IllegalTransition as exc:
            raise UnexpectedFrame(str(exc), method_sig) from exc

    # -- close

    def close(
        self,
        reply_code: int = 0,
        reply_text: str = '',
        method_sig: MethodSig = (0, 0),
        argsig: str = 'BsBB',
    ) -> None:
        """Close the connection and wait for the broker's close-ok, at most ``rpc_timeout``.

        Whatever the broker does, the connection is closed then. Waits of other
        threads end with `RecoverableConnectionError`. Nothing happens if it
        is closed already.
        """
        args = (reply_code, reply_text, *method_sig)
        self._encode_arguments(spec.Connection.Close, argsig, args)  # before anything is done
        if self._forked() or not self._begin_closing():
            if not self.is_closing:  # by another thread, which sees to the rest
                self.collect()
            return
        try:
            self._give_up_channels()
            self.send_method(spec.Connection.Close, argsig, args, wait=spec.Connection.CloseOk)
        finally:
            self.collect()

    def _begin_closing(self) -> bool:
        """Whether it is this thread that closes the connection."""
        with self._cause_lock:
            if self._state.state is not ConnectionState.OPEN:
                return False
            self._state.advance(ConnectionEvent.SEND_CLOSE)
            outbound = self._outbound
            if outbound is not None:
                outbound.is_open = False
                self._outbound = None
            return True

    def _prepare(self, sig: MethodSig) -> None:
        if sig != spec.Connection.Close:
            self._check_usable()

    def update_secret(self, new_secret: str | bytes, reason: str) -> None:
        """Replace the secret that the connection was authenticated with (RabbitMQ).

        For tokens that expire. Thread-safe, also while another thread consumes.
        """
        self.send_method(
            spec.Connection.UpdateSecret,
            'Ss',
            (new_secret, reason),
            wait=spec.Connection.UpdateSecretOk,
        )

    def renew_secret(self, reason: str = 'it expires') -> None:
        """Ask ``credentials`` again, and have the broker use the password that it returns.

        Where it told how long one lasts, `drain_events` and `heartbeat_tick`
        do this by themselves when four fifths of the time have passed; a
        provider that fails then is asked again before the end. Thread-safe.

        Raises what the provider raises; ValueError if there is none.
        """
        if self._credentials is None:
            raise ValueError('the connection was made without credentials= to ask')
        self.update_secret(self._credentials.ask()[1], reason)

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        was_closing = self.is_closing
        self._state.advance(ConnectionEvent.RECV_CLOSE)
        # The broker may be gone already; what counts is what it said.
        with suppress(OSError, ConnectionError):
            self._put_frame(
                ANSWER_PATIENCE, spec.FRAME_METHOD, 0, spec.Connection.CloseOk, b'', None
            )
            # There is no later: the connection ends here.
            self._usable_transport().flush(Deadline(ANSWER_PATIENCE, time.monotonic()))
        if was_closing:
            self._replies.succeed(spec.Connection.CloseOk, ())
        else:
            raise error_for_code(reply_code, reply_text, (class_id, method_id), ConnectionError)

    def _on_close_ok(self) -> None:
        self._state.advance(ConnectionEvent.RECV_CLOSE_OK)

    def _reply_overdue(self, text: str) -> None:
        raise self._fail(RecoverableConnectionError(text))

    def _reply_patience(self) -> float | None:
        """Seconds that a wait for a reply may last."""
        return self._usable_transport().patience(self.rpc_timeout, self.read_timeout)
