"""The protocol as data: frame types, reply codes, classes, methods and their arguments.

Everything here is checked against one table, ``extra/protocol.json``, by ``extra/check_spec.py``.
Nothing here behaves; nothing here is imported from elsewhere in the package.

Format letters of arguments: ``b`` bit, ``o`` octet, ``B`` short (16 bit), ``l`` long (32 bit),
``L`` longlong (64 bit), ``s`` short string, ``S`` long string, ``F`` field table.
"""

from __future__ import annotations

from collections import namedtuple

# Frame types and sizes (AMQP 0-9-1 §4.2.3).
FRAME_METHOD = 1
FRAME_HEADER = 2
FRAME_BODY = 3
FRAME_HEARTBEAT = 8
FRAME_END = 206
FRAME_MIN_SIZE = 4096
FRAME_OVERHEAD = 8  # seven octets of frame header and the end octet

# What opens a connection: the name and the version 0-9-1 (AMQP 0-9-1 §4.2.2).
PROTOCOL_HEADER = b'AMQP\x00\x00\x09\x01'

# Reply codes (AMQP 0-9-1 §1.2, "constants"), by the names the protocol gives them.
REPLY_CODES: dict[int, str] = {
    200: 'reply-success',
    311: 'content-too-large',
    312: 'no-route',
    313: 'no-consumers',
    320: 'connection-forced',
    402: 'invalid-path',
    403: 'access-refused',
    404: 'not-found',
    405: 'resource-locked',
    406: 'precondition-failed',
    501: 'frame-error',
    502: 'syntax-error',
    503: 'command-invalid',
    504: 'channel-error',
    505: 'unexpected-frame',
    506: 'resource-error',
    530: 'not-allowed',
    540: 'not-implemented',
    541: 'internal-error',
}

method_sig_t = tuple[int, int]


class method_t(  # noqa: N801 (the name users import)
    namedtuple('method_t', 'method_sig args content', defaults=(None, False))
):
    """How an incoming method is decoded: its ids, argument formats, whether content follows."""

    __slots__ = ()

    method_sig: tuple[int, int]
    args: str | None
    content: bool


def method(method_sig: tuple[int, int], args: str | None = None, content: bool = False) -> method_t:
    """Return a `method_t`: the entry of a dispatch table."""
    return method_t(method_sig, args, content)


class Connection:
    """Class connection: ids of its methods."""

    CLASS_ID = 10

    Start = (10, 10)
    StartOk = (10, 11)
    Secure = (10, 20)
    SecureOk = (10, 21)
    Tune = (10, 30)
    TuneOk = (10, 31)
    Open = (10, 40)
    OpenOk = (10, 41)
    Close = (10, 50)
    CloseOk = (10, 51)
    Blocked = (10, 60)
    Unblocked = (10, 61)
    UpdateSecret = (10, 70)
    UpdateSecretOk = (10, 71)


class Channel:
    """Class channel: ids of its methods."""

    CLASS_ID = 20

    Open = (20, 10)
    OpenOk = (20, 11)
    Flow = (20, 20)
    FlowOk = (20, 21)
    Close = (20, 40)
    CloseOk = (20, 41)


class Exchange:
    """Class exchange: ids of its methods."""

    CLASS_ID = 40

    Declare = (40, 10)
    DeclareOk = (40, 11)
    Delete = (40, 20)
    DeleteOk = (40, 21)
    Bind = (40, 30)
    BindOk = (40, 31)
    Unbind = (40, 40)
    UnbindOk = (40, 51)  # 51, not 41: so RabbitMQ has numbered it


class Queue:
    """Class queue: ids of its methods."""

    CLASS_ID = 50

    Declare = (50, 10)
    DeclareOk = (50, 11)
    Bind = (50, 20)
    BindOk = (50, 21)
    Purge = (50, 30)
    PurgeOk = (50, 31)
    Delete = (50, 40)
    DeleteOk = (50, 41)
    Unbind = (50, 50)
    UnbindOk = (50, 51)


class Basic:
    """Class basic: ids of its methods."""

    CLASS_ID = 60

    Qos = (60, 10)
    QosOk = (60, 11)
    Consume = (60, 20)
    ConsumeOk = (60, 21)
    Cancel = (60, 30)
    CancelOk = (60, 31)
    Publish = (60, 40)
    Return = (60, 50)
    Deliver = (60, 60)
    Get = (60, 70)
    GetOk = (60, 71)
    GetEmpty = (60, 72)
    Ack = (60, 80)
    Reject = (60, 90)
    RecoverAsync = (60, 100)
    Recover = (60, 110)
    RecoverOk = (60, 111)
    Nack = (60, 120)


class Confirm:
    """Class confirm (RabbitMQ): ids of its methods."""

    CLASS_ID = 85

    Select = (85, 10)
    SelectOk = (85, 11)


class Tx:
    """Class tx: ids of its methods."""

    CLASS_ID = 90

    Select = (90, 10)
    SelectOk = (90, 11)
    Commit = (90, 20)
    CommitOk = (90, 21)
    Rollback = (90, 30)
    RollbackOk = (90, 31)


CLASSES = (Connection, Channel, Exchange, Queue, Basic, Confirm, Tx)


class Method(namedtuple('Method', 'name arguments content replies direction format')):
    """One method. ``direction`` says who may send it: 'client', 'server' or 'both'."""

    __slots__ = ()

    name: str
    arguments: tuple[tuple[str, str], ...]
    content: bool
    replies: tuple[method_sig_t, ...]
    direction: str
    format: str


def _method(
    name: str,
    direction: str,
    arguments: str = '',
    replies: tuple[method_sig_t, ...] = (),
    content: bool = False,
) -> Method:
    """Build a `Method`; ``arguments`` is written 'name:letter name:letter ...'."""
    pairs = tuple((argument[:-2], argument[-1]) for argument in arguments.split())
    return Method(name, pairs, content, replies, direction, ''.join(kind for _, kind in pairs))


METHODS: dict[method_sig_t, Method] = {
    Connection.Start: _method(
        'Connection.Start',
        'server',
        'version_major:o version_minor:o server_properties:F mechanisms:S locales:S',
        (Connection.StartOk,),
    ),
    Connection.StartOk: _method(
        'Connection.StartOk', 'client', 'client_properties:F mechanism:s response:S locale:s'
    ),
    Connection.Secure: _method(
        'Connection.Secure', 'server', 'challenge:S', (Connection.SecureOk,)
    ),
    Connection.SecureOk: _method('Connection.SecureOk', 'client', 'response:S'),
    Connection.Tune: _method(
        'Connection.Tune', 'server', 'channel_max:B frame_max:l heartbeat:B', (Connection.TuneOk,)
    ),
    Connection.TuneOk: _method(
        'Connection.TuneOk', 'client', 'channel_max:B frame_max:l heartbeat:B'
    ),
    Connection.Open: _method(
        'Connection.Open',
        'client',
        'virtual_host:s reserved_1:s reserved_2:b',
        (Connection.OpenOk,),
    ),
    Connection.OpenOk: _method('Connection.OpenOk', 'server', 'reserved_1:s'),
    Connection.Close: _method(
        'Connection.Close',
        'both',
        'reply_code:B reply_text:s class_id:B method_id:B',
        (Connection.CloseOk,),
    ),
    Connection.CloseOk: _method('Connection.CloseOk', 'both'),
    Connection.Blocked: _method('Connection.Blocked', 'server', 'reason:s'),
    Connection.Unblocked: _method('Connection.Unblocked', 'server'),
    Connection.UpdateSecret: _method(
        'Connection.UpdateSecret', 'client', 'new_secret:S reason:s', (Connection.UpdateSecretOk,)
    ),
    Connection.UpdateSecretOk: _method('Connection.UpdateSecretOk', 'server'),
    Channel.Open: _method('Channel.Open', 'client', 'reserved_1:s', (Channel.OpenOk,)),
    Channel.OpenOk: _method('Channel.OpenOk', 'server', 'reserved_1:S'),
    Channel.Flow: _method('Channel.Flow', 'both', 'active:b', (Channel.FlowOk,)),
    Channel.FlowOk: _method('Channel.FlowOk', 'both', 'active:b'),
    Channel.Close: _method(
        'Channel.Close',
        'both',
        'reply_code:B reply_text:s class_id:B method_id:B',
        (Channel.CloseOk,),
    ),
    Channel.CloseOk: _method('Channel.CloseOk', 'both'),
    Exchange.Declare: _method(
        'Exchange.Declare',
        'client',
        'reserved_1:B exchange:s type:s passive:b durable:b auto_delete:b internal:b nowait:b '
        'arguments:F',
        (Exchange.DeclareOk,),
    ),
    Exchange.DeclareOk: _method('Exchange.DeclareOk', 'server'),
    Exchange.Delete: _method(
        'Exchange.Delete',
        'client',
        'reserved_1:B exchange:s if_unused:b nowait:b',
        (Exchange.DeleteOk,),
    ),
    Exchange.DeleteOk: _method('Exchange.DeleteOk', 'server'),
    Exchange.Bind: _method(
        'Exchange.Bind',
        'client',
        'reserved_1:B destination:s source:s routing_key:s nowait:b arguments:F',
        (Exchange.BindOk,),
    ),
    Exchange.BindOk: _method('Exchange.BindOk', 'server'),
    Exchange.Unbind: _method(
        'Exchange.Unbind',
        'client',
        'reserved_1:B destination:s source:s routing_key:s nowait:b arguments:F',
        (Exchange.UnbindOk,),
    ),
    Exchange.UnbindOk: _method('Exchange.UnbindOk', 'server'),
    Queue.Declare: _method(
        'Queue.Declare',
        'client',
        'reserved_1:B queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b arguments:F',
        (Queue.DeclareOk,),
    ),
    Queue.DeclareOk: _method(
        'Queue.DeclareOk', 'server', 'queue:s message_count:l consumer_count:l'
    ),
    Queue.Bind: _method(
        'Queue.Bind',
        'client',
        'reserved_1:B queue:s exchange:s routing_key:s nowait:b arguments:F',
        (Queue.BindOk,),
    ),
    Queue.BindOk: _method('Queue.BindOk', 'server'),
    Queue.Purge: _method(
        'Queue.Purge', 'client', 'reserved_1:B queue:s nowait:b', (Queue.PurgeOk,)
    ),
    Queue.PurgeOk: _method('Queue.PurgeOk', 'server', 'message_count:l'),
    Queue.Delete: _method(
        'Queue.Delete',
        'client',
        'reserved_1:B queue:s if_unused:b if_empty:b nowait:b',
        (Queue.DeleteOk,),
    ),
    Queue.DeleteOk: _method('Queue.DeleteOk', 'server', 'message_count:l'),
    Queue.Unbind: _method(
        'Queue.Unbind',
        'client',
        'reserved_1:B queue:s exchange:s routing_key:s arguments:F',
        (Queue.UnbindOk,),
    ),
    Queue.UnbindOk: _method('Queue.UnbindOk', 'server'),
    Basic.Qos: _method(
        'Basic.Qos', 'client', 'prefetch_size:l prefetch_count:B a_global:b', (Basic.QosOk,)
    ),
    Basic.QosOk: _method('Basic.QosOk', 'server'),
    Basic.Consume: _method(
        'Basic.Consume',
        'client',
        'reserved_1:B queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b arguments:F',
        (Basic.ConsumeOk,),
    ),
    Basic.ConsumeOk: _method('Basic.ConsumeOk', 'server', 'consumer_tag:s'),
    # Sent by the server too, as RabbitMQ's consumer cancel notification.
    Basic.Cancel: _method('Basic.Cancel', 'both', 'consumer_tag:s nowait:b', (Basic.CancelOk,)),
    Basic.CancelOk: _method('Basic.CancelOk', 'both', 'consumer_tag:s'),
    Basic.Publish: _method(
        'Basic.Publish',
        'client',
        'reserved_1:B exchange:s routing_key:s mandatory:b immediate:b',
        content=True,
    ),
    Basic.Return: _method(
        'Basic.Return', 'server', 'reply_code:B reply_text:s exchange:s routing_key:s', content=True
    ),
    Basic.Deliver: _method(
        'Basic.Deliver',
        'server',
        'consumer_tag:s delivery_tag:L redelivered:b exchange:s routing_key:s',
        content=True,
    ),
    Basic.Get: _method(
        'Basic.Get', 'client', 'reserved_1:B queue:s no_ack:b', (Basic.GetOk, Basic.GetEmpty)
    ),
    Basic.GetOk: _method(
        'Basic.GetOk',
        'server',
        'delivery_tag:L redelivered:b exchange:s routing_key:s message_count:l',
        content=True,
    ),
    Basic.GetEmpty: _method('Basic.GetEmpty', 'server', 'reserved_1:s'),
    # Sent by the server too, as publisher confirms.
    Basic.Ack: _method('Basic.Ack', 'both', 'delivery_tag:L multiple:b'),
    Basic.Reject: _method('Basic.Reject', 'client', 'delivery_tag:L requeue:b'),
    Basic.RecoverAsync: _method('Basic.RecoverAsync', 'client', 'requeue:b'),
    Basic.Recover: _method('Basic.Recover', 'client', 'requeue:b', (Basic.RecoverOk,)),
    Basic.RecoverOk: _method('Basic.RecoverOk', 'server'),
    Basic.Nack: _method('Basic.Nack', 'both', 'delivery_tag:L multiple:b requeue:b'),
    Confirm.Select: _method('Confirm.Select', 'client', 'nowait:b', (Confirm.SelectOk,)),
    Confirm.SelectOk: _method('Confirm.SelectOk', 'server'),
    Tx.Select: _method('Tx.Select', 'client', '', (Tx.SelectOk,)),
    Tx.SelectOk: _method('Tx.SelectOk', 'server'),
    Tx.Commit: _method('Tx.Commit', 'client', '', (Tx.CommitOk,)),
    Tx.CommitOk: _method('Tx.CommitOk', 'server'),
    Tx.Rollback: _method('Tx.Rollback', 'client', '', (Tx.RollbackOk,)),
    Tx.RollbackOk: _method('Tx.RollbackOk', 'server'),
}
