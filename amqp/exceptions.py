"""The errors of the package.

::

    Exception
    └── AMQPError
        ├── MessageNacked                       the broker refused a published message
        │   └── ConfirmsFailed                  it took not all of many
        ├── ConnectionError                     the whole connection is affected
        │   ├── RecoverableConnectionError      connecting anew may help
        │   │   ├── Blocked                     blocked_timeout passed under a broker alarm
        │   │   ├── ConnectFailed               no broker let amqp.connect in
        │   │   ├── ConsumerCancelled           the broker ended a consumer that has no on_cancel
        │   │   ├── ConnectionForced        320
        │   │   └── ResourceError           506
        │   └── IrrecoverableConnectionError    it will happen again
        │       ├── InvalidPath             402
        │       ├── FrameError              501
        │       ├── FrameSyntaxError        502
        │       │   └── EncodeError             a value cannot be put on the wire (a ValueError too)
        │       ├── InvalidCommand          503
        │       ├── ChannelNotOpen          504
        │       ├── UnexpectedFrame         505
        │       ├── NotAllowed              530
        │       ├── AMQPNotImplementedError 540
        │       └── InternalError           541
        └── ChannelError                        one channel is affected
            ├── NoRoute                     312 a mandatory message reached no queue
            ├── RecoverableChannelError
            │   ├── RPCTimeout                  no reply in time
            │   ├── ContentTooLarge         311
            │   ├── NoConsumers             313
            │   └── ResourceLocked          405
            └── IrrecoverableChannelError
                ├── AccessRefused           403
                ├── NotFound                404
                └── PreconditionFailed      406
    UserWarning
    └── AMQPDeprecationWarning

A class that has a reply code of its own states it as ``code``, and is thereby registered.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import spec

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _E = TypeVar('_E', bound='AMQPError')

__all__ = (
    'AMQPDeprecationWarning',
    'AMQPError',
    'AMQPNotImplementedError',
    'AccessRefused',
    'Blocked',
    'ChannelError',
    'ChannelNotOpen',
    'ConfirmsFailed',
    'ConnectFailed',
    'ConnectionError',
    'ConnectionForced',
    'ConsumerCancelled',
    'ContentTooLarge',
    'EncodeError',
    'FrameError',
    'FrameSyntaxError',
    'InternalError',
    'InvalidCommand',
    'InvalidPath',
    'IrrecoverableChannelError',
    'IrrecoverableConnectionError',
    'MessageNacked',
    'NoConsumers',
    'NoRoute',
    'NotAllowed',
    'NotFound',
    'PreconditionFailed',
    'RPCTimeout',
    'RecoverableChannelError',
    'RecoverableConnectionError',
    'ResourceError',
    'ResourceLocked',
    'UnexpectedFrame',
)

_Sig = tuple[int, int]

# Reply code -> class; filled by AMQPError.__init_subclass__.
ERROR_MAP: dict[int, type[AMQPError]] = {}


def _dotted(name: str) -> str:
    """'Queue.DeclareOk' -> 'Queue.declare_ok', the spelling of error texts."""
    cls, _, method = name.partition('.')
    words = ''.join(f'_{letter}' if letter.isupper() else letter for letter in method)
    return f'{cls}.{words.lower().removeprefix("_")}'


# Method names by (class id, method id), and by the same as one 32-bit number.
METHOD_NAME_MAP: dict[_Sig | int, str] = {}
for _sig, _method in spec.METHODS.items():
    METHOD_NAME_MAP[_sig] = METHOD_NAME_MAP[_sig[0] << 16 | _sig[1]] = _dotted(_method.name)


class AMQPDeprecationWarning(UserWarning):
    """A way of use that will go away."""


class AMQPError(Exception):
    """Base of all errors here: the reply code and text, and the method they are about."""

    code = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get('code'):
            # The first one stays: an application's subclass does not take a code over.
            ERROR_MAP.setdefault(cls.code, cls)

    def __init__(
        self,
        reply_text: str | None = None,
        method_sig: _Sig | None = None,
        method_name: str | None = None,
        reply_code: int | None = None,
    ) -> None:
        self.reply_code = reply_code or self.code
        self.reply_text = reply_text
        self.message: Any = reply_text
        self.method_sig = method_sig
        self.method_name = method_name or ''
        if method_sig and not method_name:
            self.method_name = METHOD_NAME_MAP.get(method_sig, '')
        super().__init__(reply_code, reply_text, method_sig, self.method_name)

    @property
    def method(self) -> str | _Sig | None:
        """The method's name, or its ids where it has none."""
        return self.method_name or self.method_sig

    def __str__(self) -> str:
        if self.method:
            code = f'({self.reply_code}) ' if self.reply_code else ''
            return f'{self.method}: {code}{self.reply_text}'
        return self.reply_text or f'<{type(self).__name__}: unknown error>'

    def __reduce__(self) -> tuple[Any, ...]:
        # `args` has not the order of __init__, and a subclass may take other arguments still.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[_E], args: tuple[Any, ...]) -> _E:
    """Make an instance without calling __init__: for copy and pickle, which then set its state."""
    error = cls.__new__(cls)
    error.args = args
    return error


class ConnectionError(AMQPError):  # noqa: A001 (the name users import)
    """The connection is affected, and with it every channel of it."""


class ChannelError(AMQPError):
    """One channel is affected."""


class RecoverableChannelError(ChannelError):
    """The same operation may succeed later, on the same channel object."""


class IrrecoverableChannelError(ChannelError):
    """The same operation would fail again."""


class RecoverableConnectionError(ConnectionError):
    """Connecting anew may help."""


class IrrecoverableConnectionError(ConnectionError):
    """Connecting anew would not help."""


class MessageNacked(AMQPError):
    """The broker took no responsibility for a published message (basic.nack)."""

    def __init__(
        self,
        *args: Any,
        message: Any = None,
        delivery_tag: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.message = message
        self.delivery_tag = delivery_tag


class ConfirmsFailed(MessageNacked):
    """Of many messages not all were taken.

    ``failures`` has an error for each that was not: `MessageNacked`, `NoRoute`,
    with its ``delivery_tag``, and with its ``message`` where that is known.
    """

    def __init__(self, *args: Any, failures: Iterable[BaseException] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failures = list(failures)


class Blocked(RecoverableConnectionError):
    """The broker held the connection blocked for longer than blocked_timeout; nothing was sent.

    ``reason`` is the broker's, such as ``low on memory``; None where it stopped
    one channel (channel.flow), for which it gives no reason.
    """

    def __init__(self, *args: Any, reason: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reason = reason


class ConnectFailed(RecoverableConnectionError):
    """No broker let `amqp.connect` in; ``causes`` has where and what it met: (str, error) pairs.

    Recoverable whatever the causes are, for a broker that starts may refuse what it grants later.
    """

    def __init__(
        self, *args: Any, causes: Iterable[tuple[str, BaseException]] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.causes = tuple(causes)


class ConsumerCancelled(RecoverableConnectionError):
    """The broker cancelled a consumer which has no ``on_cancel`` callback."""


class RPCTimeout(RecoverableChannelError):
    """No reply came in time.

    To a method, within rpc_timeout: the channel has been closed. To a call of `amqp.rpc`: its
    client is as it was.

    Not a TimeoutError: callers that poll take one for "nothing to read".
    """


class ContentTooLarge(RecoverableChannelError):
    """content-too-large."""

    code = 311


class NoRoute(ChannelError):
    """no-route: a mandatory message reached no queue.

    ``message`` is the object that was published where the call that raises
    this published it, as `basic_publish_confirm` did; else the copy that the
    broker returned, whose body and properties are the same. ``delivery_tag``
    is its number, where the channel is in confirm mode.

    Neither recoverable nor irrecoverable: the channel stays open, and whether another attempt
    helps depends on who creates the queue.
    """

    code = 312

    def __init__(
        self,
        *args: Any,
        message: Any = None,
        exchange: str = '',
        routing_key: str = '',
        delivery_tag: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.message = message
        self.delivery_tag = delivery_tag
        self.exchange = exchange
        self.routing_key = routing_key


class NoConsumers(RecoverableChannelError):
    """no-consumers."""

    code = 313


class ConnectionForced(RecoverableConnectionError):
    """connection-forced: an operator closed the connection, or the broker stops."""

    code = 320


class InvalidPath(IrrecoverableConnectionError):
    """invalid-path: no such virtual host."""

    code = 402


class AccessRefused(IrrecoverableChannelError):
    """access-refused: wrong credentials or lack of permission."""

    code = 403


class NotFound(IrrecoverableChannelError):
    """not-found: no such queue or exchange."""

    code = 404


class ResourceLocked(RecoverableChannelError):
    """resource-locked: another connection has the queue exclusively."""

    code = 405


class PreconditionFailed(IrrecoverableChannelError):
    """precondition-failed: declared otherwise, unknown delivery tag, acknowledged too late."""

    code = 406


class FrameError(IrrecoverableConnectionError):
    """frame-error: the type, the size or the end octet of a frame is wrong."""

    code = 501


class FrameSyntaxError(IrrecoverableConnectionError):
    """syntax-error: what is in a frame is malformed."""

    code = 502


class EncodeError(FrameSyntaxError, ValueError):
    """A value cannot be put on the wire; nothing was sent and the connection is as it was.

    ``position`` is the index of the argument at fault, where one is known.
    """

    # The base's code, not a registration of its own: a peer's 502 is a FrameSyntaxError.
    position: int | None = None


class InvalidCommand(IrrecoverableConnectionError):
    """command-invalid: a method out of order."""

    code = 503


class ChannelNotOpen(IrrecoverableConnectionError):
    """channel-error: a frame on a channel that is not open."""

    code = 504


class UnexpectedFrame(IrrecoverableConnectionError):
    """unexpected-frame: a frame out of order."""

    code = 505


class ResourceError(RecoverableConnectionError):
    """resource-error: the broker lacks something."""

    code = 506


class NotAllowed(IrrecoverableConnectionError):
    """not-allowed: no access to the virtual host, or a negotiated limit exceeded."""

    code = 530


class AMQPNotImplementedError(IrrecoverableConnectionError):
    """not-implemented by the broker."""

    code = 540


class InternalError(IrrecoverableConnectionError):
    """internal-error in the broker; RabbitMQ's answer to a table it cannot parse, too."""

    code = 541


def error_for_code(
    code: int,
    text: str | None,
    method: _Sig | None,
    default: type[AMQPError],
) -> AMQPError:
    """Return an error of the class registered for *code*, else of *default*."""
    return ERROR_MAP.get(code, default)(text, method, reply_code=code)


def without_traceback(error: BaseException) -> BaseException:
    """Return a copy, to keep or for one of many to raise.

    A traceback refers to frames, and so to whoever would keep it, and grows by each raising.

    An error of another kind than ours or the system's, which may not be copied, is told of.
    """
    if not isinstance(error, (AMQPError, OSError)):
        return RecoverableConnectionError(f'interrupted by {error!r}')
    from copy import copy  # used only here, where something has failed

    kept: BaseException = copy(error)
    if error.__cause__ is not None:
        kept.__cause__ = without_traceback(error.__cause__)
    return kept
