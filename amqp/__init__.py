"""A synchronous, thread-friendly AMQP 0-9-1 client for RabbitMQ."""

from __future__ import annotations

from collections import namedtuple

from . import (
    abstract_transport,
    assembly,
    basic_message,
    body_buffer,
    clock,
    coalescing,
    confirm_mode,
    confirms,
    content,
    deadline,
    draining_connection,
    events,
    frame_reader,
    heartbeat,
    inbox,
    locks,
    method_framing,
    outbox,
    outgoing,
    polling,
    read_buffer,
    replies,
    sending,
    sockets,
    states,
    tables,
    thread_roles,
    utils,
)
from ._version import __version__
from .basic_message import Message
from .channel import Channel
from .connection import Connection
from .exceptions import (
    AccessRefused,
    AMQPError,
    AMQPNotImplementedError,
    Blocked,
    ChannelError,
    ChannelNotOpen,
    ConfirmsFailed,
    ConnectFailed,
    ConnectionError,
    ConnectionForced,
    ConsumerCancelled,
    ContentTooLarge,
    EncodeError,
    FrameError,
    FrameSyntaxError,
    InternalError,
    InvalidCommand,
    InvalidPath,
    IrrecoverableChannelError,
    IrrecoverableConnectionError,
    MessageNacked,
    NoConsumers,
    NoRoute,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    RecoverableChannelError,
    RecoverableConnectionError,
    ResourceError,
    ResourceLocked,
    RPCTimeout,
    UnexpectedFrame,
    error_for_code,
)

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from . import queue_arguments as queue_arguments
    from . import rpc as rpc
    from .connecting import connect
    from .utils import promise

__all__ = (
    'AMQPError',
    'AMQPNotImplementedError',
    'AccessRefused',
    'Blocked',
    'Channel',
    'ChannelError',
    'ChannelNotOpen',
    'ConfirmsFailed',
    'ConnectFailed',
    'Connection',
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
    'Message',
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
    'connect',
    'error_for_code',
    'promise',
)


class version_info_t(  # noqa: N801 - the name that callers know
    namedtuple('version_info_t', 'major minor micro releaselevel serial', defaults=('', ''))
):
    """A version by its parts."""

    __slots__ = ()

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


VERSION = version_info = version_info_t(*map(int, __version__.split('.')[:3]))

# Those that setup.py compiles: all of them, or none.
_compilable = (
    abstract_transport,
    assembly,
    basic_message,
    body_buffer,
    clock,
    coalescing,
    confirm_mode,
    confirms,
    content,
    deadline,
    draining_connection,
    events,
    frame_reader,
    heartbeat,
    inbox,
    locks,
    method_framing,
    outbox,
    outgoing,
    polling,
    read_buffer,
    replies,
    sending,
    sockets,
    states,
    tables,
    thread_roles,
    utils,
)

#: Which build is loaded: "compiled" or "pure".
speedups = (
    'pure' if any((module.__file__ or '').endswith('.py') for module in _compilable) else 'compiled'
)


if not TYPE_CHECKING:  # which would believe that every name is there

    def __getattr__(name):
        # Imported by who uses them: connect isn't by a worker under Kombu, say; and vine, which
        # promise is of, takes longer than this package.
        if name == 'connect':
            from .connecting import connect as value
        elif name == 'promise':
            from .utils import promise as value
        elif name in ('queue_arguments', 'rpc'):
            from importlib import import_module

            value = import_module(f'amqp.{name}')
        else:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        return globals().setdefault(name, value)
