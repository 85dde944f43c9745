"""What `Connection` (channel 0) and `Channel` have in common: methods out, replies in.

A waiter is registered before its request is sent, so that no reply can come
too early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from . import spec
from .deadline import Deadline
from .exceptions import (
    EncodeError,
    FrameSyntaxError,
    RecoverableConnectionError,
    UnexpectedFrame,
    without_traceback,
)
from .locks import OwnedLock
from .replies import PendingReplies, Reply, as_methods
from .serialization import dumps, loads

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar

    ChannelT = TypeVar('ChannelT', bound='AbstractChannel')

__all__ = ('AbstractChannel',)

MethodSig = tuple[int, int]


class _WriteFailed(RecoverableConnectionError):
    """The stream is dead. Why, the *connection* finds out when no lock is held any more."""

    def __init__(self, connection: Any, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.connection = connection


def _call_back(callback: Callable[..., Any], *args: Any) -> None:
    """Fulfil *callback*, a function or a promise."""
    from vine import promise  # see `amqp.utils`

    promise(callback)(*args)


class AbstractChannel:
    """Superclass of `Connection` and `Channel`.

    Subclasses name the methods they take in ``_METHODS``, and tell by
    ``_listener`` what to do upon each.
    """

    _METHODS: ClassVar[dict[MethodSig, spec.method_t]] = {}

    #: Whether the bodies of received messages are decoded to str.
    auto_decode = False

    def __init__(
        self, connection: Any, channel_id: int, replies: PendingReplies | None = None
    ) -> None:
        #: The connection; None once this channel is of no more use.
        self.connection: Any = connection
        self.channel_id = channel_id
        self.method_queue: list[Any] = []
        #: Counts how often the channel has lost what the broker knew of it.
        self.incarnation = 0
        self._replies = PendingReplies() if replies is None else replies
        # The reply to each thread's latest request, until `wait` takes it over.
        self._requested: dict[int, Reply] = {}
        self._renew_locks()

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} can't be pickled: it belongs to its process")

    def __enter__(self: ChannelT) -> ChannelT:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _renew_locks(self) -> None:
        """Make the locks; anew in a forked child, for a thread that isn't there may hold them."""
        # Orders what is sent with what is registered: a reply's place, a
        # confirm's number. Taken before the transport's write lock. With a
        # timeout, take it within the `try` whose `finally` gives it back: what
        # a signal handler raises may fall right behind the taking.
        self._send_lock: Any = OwnedLock()
        self._replies.renew_lock()

    def _listener(self, method_sig: MethodSig) -> Callable[..., Any] | None:
        """What is called with the arguments of a method, if anything is."""
        return None

    def close(self) -> None:
        """Close this channel."""
        raise NotImplementedError

    # -- sending

    def send_method(
        self,
        sig: MethodSig,
        format: str | None = None,
        args: Sequence[Any] | None = None,
        content: Any = None,
        wait: MethodSig | Sequence[MethodSig] | None = None,
        callback: Callable[..., Any] | None = None,
        returns_tuple: bool = False,
    ) -> Any:
        """Send a method; with *wait*, wait for the reply and return its arguments.

        :param format: the formats of *args*, a letter each; see `spec.Method`.
        :param content: the message that goes with it.
        :param wait: the method or methods that can be its reply.
        :param callback: called with the reply's arguments, or without *wait*
            with this channel when the method has been sent.
        :param returns_tuple: return all arguments of the reply as a tuple.

        Raises `EncodeError` for an argument that can't be sent, the error by
        which the peer closes the channel or connection instead of replying,
        and `RPCTimeout` after ``rpc_timeout``. Thread-safe.
        """
        payload = self._encode_arguments(sig, format, args)
        if wait is None:
            self._prepare(sig)
            try:
                with self._send_lock:
                    sent = self._send(sig, payload, content)
            except _WriteFailed as exc:
                raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
            if callback is not None:
                _call_back(callback, self)
            return sent
        try:
            reply = None
            if content is None:
                reply = self._request_at_once(sig, payload, wait)
            if reply is None:
                self._prepare(sig)
                reply = self._request(sig, payload, content, wait)
        except _WriteFailed as exc:
            raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        self._requested[threading.get_ident()] = reply
        return self.wait(wait, callback=callback, returns_tuple=returns_tuple)

    def _request_at_once(
        self, sig: MethodSig, payload: bytes, wait: MethodSig | Sequence[MethodSig]
    ) -> Reply | None:
        """As `_request`, the short way; None where something has to be seen to before."""
        return None

    def _request(
        self,
        sig: MethodSig,
        payload: bytes,
        content: Any,
        wait: MethodSig | Sequence[MethodSig],
    ) -> Reply:
        """Send a method, with the place for its reply registered before."""
        reply = Reply(as_methods(wait))
        connection = self._usable_connection()
        with self._send_lock:
            before = connection._octets_given()
            try:
                self._replies.add(reply)
                self._send(sig, payload, content)
            except BaseException as exc:
                self._replies.forget(reply)
                connection._interrupted(exc, before)
                raise
        return reply

    def _prepare(self, sig: MethodSig) -> None:
        """Called before each method is sent, outside the locks."""

    def _encode_arguments(
        self, sig: MethodSig, format: str | None, args: Sequence[Any] | None
    ) -> bytes:
        if not format:
            return b''
        try:
            return dumps(format, args or ())
        except EncodeError as exc:
            raise self._named(sig, exc) from None

    def _named(self, sig: MethodSig, error: EncodeError) -> EncodeError:
        """The error with the method's and the argument's names in its text."""
        method = spec.METHODS.get(sig)
        if method is None or error.position is None or error.position >= len(method.arguments):
            return error
        argument = method.arguments[error.position][0]
        named = EncodeError(f'argument {argument!r}: {error.reply_text}', sig)
        named.position = error.position
        return named

    def _send(self, sig: MethodSig, payload: bytes, content: Any) -> Any:
        """Write one method, under ``_send_lock``."""
        self._usable_connection()._write_method(self.channel_id, sig, payload, content)

    def _usable_connection(self) -> Any:
        """The connection, or the error that says why there is none to use."""
        raise NotImplementedError

    # -- waiting

    def wait(
        self,
        method: MethodSig | Sequence[MethodSig],
        callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> Any:
        """Wait until the peer sends *method*, or one of several.

        :param timeout: seconds; after them ``socket.timeout`` is raised. By
            default ``rpc_timeout`` of the connection, which raises
            `RPCTimeout` and closes the channel, so that the late reply can't
            be taken for another's.
        :param returns_tuple: return a tuple even for a single argument.

        Returns the method's arguments: None without any, a single one by
        itself. Other events are dispatched meanwhile.
        """
        reply = self._requested.pop(threading.get_ident(), None)
        requested = reply is not None and reply.methods == as_methods(method)
        if reply is None or not requested:
            reply = Reply(as_methods(method))
            self._replies.add(reply)
        try:
            self._wait_for_reply(reply, timeout)
        except BaseException:
            # The place for the reply to a request stays, whatever ends the
            # wait: that reply must not be taken for another's.
            if not requested:
                self._replies.forget(reply)
            raise
        if reply.error is not None:
            # A copy: others who wait on this channel have the same, and each raising adds to it.
            raise without_traceback(reply.error)
        args = reply.args
        if callback is not None:
            _call_back(callback, *args)
        if returns_tuple:
            return args
        return args[0] if len(args) == 1 else args or None

    def _wait_for_reply(self, reply: Reply, timeout: float | None) -> None:
        connection = self._usable_connection()
        now = time.monotonic()
        if timeout is not None:
            connection._wait_until(reply.is_ready, Deadline(timeout, now))
            return
        patience = connection._reply_patience()
        deadline = Deadline(patience, now)
        try:
            connection._wait_until(reply.is_ready, deadline)
        except TimeoutError:
            if reply.ready or not deadline.expired(time.monotonic()):
                raise
            names = ' or '.join(spec.METHODS[sig].name for sig in reply.methods)
            self._reply_overdue(f'no {names} within {patience} s')

    def _reply_overdue(self, text: str) -> None:
        """The time for a reply has passed: raise the error that says so."""
        raise NotImplementedError

    # -- taking in

    def dispatch_method(self, method_sig: MethodSig, payload: bytes, content: Any) -> None:
        """Act upon a method of the peer: its listener first, then whoever waits for it."""
        method = self._METHODS.get(method_sig)
        if method is None:
            raise UnexpectedFrame(f'method {method_sig} on channel {self.channel_id}', method_sig)
        args = self._decode_arguments(method, payload, content)
        listener = self._listener(method_sig)
        if listener is not None:
            listener(*args)
        self._replies.succeed(method_sig, args)

    def _decode_arguments(
        self, method: spec.method_t, payload: bytes, content: Any
    ) -> tuple[Any, ...]:
        args: list[Any] = []
        if method.args:
            # The first four octets are the method's ids.
            args, end = loads(method.args, payload, 4)
            if end != len(payload):
                raise FrameSyntaxError(
                    f'{len(payload) - end} octets behind the arguments', method.method_sig
                )
        if method.content:
            args.append(content)
        return tuple(args)
