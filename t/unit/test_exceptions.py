from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from amqp import exceptions, spec
from amqp.exceptions import (
    ERROR_MAP,
    METHOD_NAME_MAP,
    AccessRefused,
    AMQPDeprecationWarning,
    AMQPError,
    AMQPNotImplementedError,
    Blocked,
    ChannelError,
    ChannelNotOpen,
    ConfirmsFailed,
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
    without_traceback,
)

CLASSES = sorted(
    (
        each
        for each in vars(exceptions).values()
        if inspect.isclass(each) and issubclass(each, AMQPError)
    ),
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize(
    ('cls', 'base', 'code'),
    [
        (MessageNacked, AMQPError, 0),
        (ConfirmsFailed, MessageNacked, 0),
        (ConnectionError, AMQPError, 0),
        (ChannelError, AMQPError, 0),
        (RecoverableConnectionError, ConnectionError, 0),
        (IrrecoverableConnectionError, ConnectionError, 0),
        (RecoverableChannelError, ChannelError, 0),
        (IrrecoverableChannelError, ChannelError, 0),
        (Blocked, RecoverableConnectionError, 0),
        (ConsumerCancelled, RecoverableConnectionError, 0),
        (RPCTimeout, RecoverableChannelError, 0),
        (EncodeError, FrameSyntaxError, 502),
        (ContentTooLarge, RecoverableChannelError, 311),
        (NoRoute, ChannelError, 312),
        (NoConsumers, RecoverableChannelError, 313),
        (ConnectionForced, RecoverableConnectionError, 320),
        (InvalidPath, IrrecoverableConnectionError, 402),
        (AccessRefused, IrrecoverableChannelError, 403),
        (NotFound, IrrecoverableChannelError, 404),
        (ResourceLocked, RecoverableChannelError, 405),
        (PreconditionFailed, IrrecoverableChannelError, 406),
        (FrameError, IrrecoverableConnectionError, 501),
        (FrameSyntaxError, IrrecoverableConnectionError, 502),
        (InvalidCommand, IrrecoverableConnectionError, 503),
        (ChannelNotOpen, IrrecoverableConnectionError, 504),
        (UnexpectedFrame, IrrecoverableConnectionError, 505),
        (ResourceError, RecoverableConnectionError, 506),
        (NotAllowed, IrrecoverableConnectionError, 530),
        (AMQPNotImplementedError, IrrecoverableConnectionError, 540),
        (InternalError, IrrecoverableConnectionError, 541),
    ],
)
def test_tree(cls, base, code):
    assert cls.__bases__[0] is base
    assert cls.code == code
    assert cls().reply_code == code
    own = 'code' in vars(cls)
    assert (ERROR_MAP.get(code) is cls) == own


@pytest.mark.parametrize('cls', CLASSES)
def test_the_docstring_draws_every_class(cls):
    assert cls.__name__ in exceptions.__doc__
    assert cls.__name__ in exceptions.__all__


def test_all_lists_only_what_is_there():
    assert all(hasattr(exceptions, name) for name in exceptions.__all__)


def test_a_timeout_of_an_rpc_is_not_a_timeout_of_the_socket():
    assert not issubclass(RPCTimeout, (TimeoutError, OSError))


def test_encode_error_is_a_value_error():
    assert issubclass(EncodeError, ValueError)
    assert EncodeError('x').position is None


def test_deprecation_warning_is_shown_by_default():
    assert issubclass(AMQPDeprecationWarning, UserWarning)


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (NotFound('txt', (60, 40), 'Basic.publish'), 'Basic.publish: (404) txt'),
        (NotFound('txt', (60, 40)), 'Basic.publish: (404) txt'),
        (NotFound('txt', (1, 2)), '(1, 2): (404) txt'),
        (NotFound('txt', None, 'Foo'), 'Foo: (404) txt'),
        (NotFound('txt'), 'txt'),
        (NotFound(), '<NotFound: unknown error>'),
        (AMQPError(), '<AMQPError: unknown error>'),
        (ChannelError('txt', (50, 10), reply_code=999), 'Queue.declare: (999) txt'),
        (ConsumerCancelled('tag', (60, 30)), 'Basic.cancel: tag'),
    ],
)
def test_str(error, text):
    assert str(error) == text


def test_attributes():
    error = NotFound('txt', (60, 40))
    assert (error.reply_code, error.reply_text, error.method_sig, error.method_name) == (
        404,
        'txt',
        (60, 40),
        'Basic.publish',
    )
    assert error.method == 'Basic.publish'
    assert error.message == 'txt'
    assert error.args == (None, 'txt', (60, 40), 'Basic.publish')
    assert repr(error) == "NotFound(None, 'txt', (60, 40), 'Basic.publish')"
    assert NotFound('txt', (1, 2)).method == (1, 2)
    assert NotFound('txt').method is None
    assert NotFound('txt').method_name == ''


def test_message_nacked():
    assert MessageNacked().message is None
    error = MessageNacked('no', message='m', delivery_tag=7)
    assert (str(error), error.message, error.delivery_tag) == ('no', 'm', 7)


def test_no_route():
    error = NoRoute('NO_ROUTE', (60, 50), message='m', exchange='x', routing_key='k')
    assert (error.reply_code, error.message, error.exchange, error.routing_key) == (
        312,
        'm',
        'x',
        'k',
    )
    assert str(error) == 'Basic.return: (312) NO_ROUTE'


def samples():
    for cls in CLASSES:
        yield cls('txt', (60, 40), reply_code=999)
    yield NoRoute('txt', message=b'm', exchange='x', routing_key='k')
    yield MessageNacked(message=b'm', delivery_tag=7)
    yield ConfirmsFailed('txt', failures=(), message=b'm')
    error = EncodeError('txt')
    error.position = 3
    yield error


class Custom(NotFound):
    """An application's own error, whose arguments are its own."""

    def __init__(self, name):
        super().__init__(f'no {name}')
        self.name = name


@pytest.mark.parametrize('error', [*samples(), Custom('x')], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    'again',
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=['pickle', 'copy', 'deepcopy'],
)
def test_copies_keep_everything(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert vars(other) == vars(error)
    assert other.args == error.args
    assert str(other) == str(error)


def test_an_application_does_not_take_a_code_over():
    class Mine(NotFound):
        code = 404

    class New(AMQPError):
        code = 777

    try:
        assert ERROR_MAP[404] is NotFound
        assert ERROR_MAP[777] is New
        assert Mine().reply_code == 404
    finally:
        del ERROR_MAP[777]


def test_error_for_code():
    error = error_for_code(404, 't', (50, 10), ChannelError)
    assert type(error) is NotFound
    assert repr(error) == "NotFound(404, 't', (50, 10), 'Queue.declare')"
    assert type(error_for_code(312, 't', (60, 50), ChannelError)) is NoRoute
    error = error_for_code(999, 't', (50, 10), ChannelError)
    assert (type(error), error.reply_code) == (ChannelError, 999)


def test_method_names():
    assert len(METHOD_NAME_MAP) == 2 * len(spec.METHODS)
    assert METHOD_NAME_MAP[50, 11] == METHOD_NAME_MAP[50 << 16 | 11] == 'Queue.declare_ok'
    assert METHOD_NAME_MAP[60, 100] == 'Basic.recover_async'
    assert METHOD_NAME_MAP[40, 51] == 'Exchange.unbind_ok'


def test_a_kept_error_has_no_traceback_and_keeps_its_causes():
    try:
        try:
            raise ConnectionResetError(104, 'reset')
        except ConnectionResetError as exc:
            raise NotFound('gone', (60, 40)) from exc
    except NotFound as exc:
        error = exc
    kept = without_traceback(error)
    assert (type(kept), str(kept)) == (NotFound, str(error))
    assert (kept.__traceback__, kept.__cause__.__traceback__) == (None, None)
    assert kept.__cause__.errno == 104


def test_a_copy_has_the_context_that_it_is_raised_in():
    with pytest.raises(NotFound) as caught:
        try:
            raise KeyError
        except KeyError:
            raise without_traceback(NotFound('gone'))  # noqa: B904 - the context is the point
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


def test_a_foreign_error_is_told_of():
    kept = without_traceback(KeyboardInterrupt('now'))
    assert isinstance(kept, RecoverableConnectionError)
    assert "KeyboardInterrupt('now')" in str(kept)


def test_blocked_has_the_brokers_reason() -> None:
    assert Blocked('taken no messages').reason is None
    error = copy.copy(Blocked('taken no messages', reason='low on memory'))
    assert (str(error), error.reason) == ('taken no messages', 'low on memory')


def test_failures_of_many_messages() -> None:
    assert ConfirmsFailed('none').failures == []
    each = [MessageNacked(delivery_tag=3), NoRoute(delivery_tag=4)]
    error = pickle.loads(pickle.dumps(ConfirmsFailed('two', failures=each)))
    assert [(type(one), one.delivery_tag) for one in error.failures] == [
        (MessageNacked, 3),
        (NoRoute, 4),
    ]
