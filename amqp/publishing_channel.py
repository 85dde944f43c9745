"""The part of a channel that publishes: basic.publish and basic.return, and publisher confirms."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import spec
from .abstract_channel import MethodSig, _WriteFailed
from .basic_message import Message
from .confirm_mode import ConfirmMode
from .confirms import Confirmation
from .deadline import Deadline
from .delivery_errors import delivery_error, returned_error, settle_promise
from .exceptions import (
    EncodeError,
    RecoverableChannelError,
    RecoverableConnectionError,
    UnexpectedFrame,
)
from .protocol import basic_return_t
from .reopenable_channel import ReopenableChannel

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any, ClassVar, Literal

__all__ = ('PublishingChannel',)

#: The arguments of basic.publish.
PUBLISH_FORMAT = 'Bssbb'


class PublishingChannel(ReopenableChannel):
    """A channel that messages are published on; for its parameters see `ReopenableChannel`."""

    _LISTENERS: ClassVar[dict[MethodSig, str]] = {
        **ReopenableChannel._LISTENERS,
        spec.Channel.Flow: '_on_flow',
        spec.Basic.Return: '_on_basic_return',
        spec.Basic.Ack: '_on_basic_ack',
        spec.Basic.Nack: '_on_basic_nack',
    }

    def __init__(
        self, connection: Any, channel_id: int | None, on_open: Callable[[Any], Any] | None
    ) -> None:
        super().__init__(connection, channel_id, on_open)
        self._sends_directly = type(self)._send is PublishingChannel._send
        if connection.confirm_publish:
            self.basic_publish = self.basic_publish_confirm  # type: ignore[method-assign]

    @property
    def active(self) -> bool:
        """Whether the peer lets content flow (channel.flow)."""
        return self._outbox.active

    @active.setter
    def active(self, active: bool) -> None:
        self._outbox.active = active

    def _renew_locks(self) -> None:
        super()._renew_locks()
        # One that is held in the parent would block for ever here.
        self._confirm_mode = self._outbox.confirm_mode = ConfirmMode()

    def _lose_state(self, error: BaseException) -> bool:
        self.active = True
        confirm_mode = self._confirm_mode
        in_doubt = confirm_mode.end(error)
        woken = super()._lose_state(error)
        if not in_doubt:
            return woken
        for each in in_doubt:
            if each.promise is not None:
                self._connection_events.add_behind_loss(settle_promise, each)
        return woken or confirm_mode.is_waited_for() or any(each.told() for each in in_doubt)

    def collect(self) -> None:
        """Tear this object down without a word to the broker. Never blocks."""
        super().collect()
        self.__dict__.pop('basic_publish', None)

    def _send(
        self,
        sig: MethodSig,
        payload: bytes,
        content: Any,
        timeout: float | None = None,
        confirmation: Confirmation | None = None,
    ) -> Confirmation | None:
        if sig != spec.Basic.Publish:
            super()._send(sig, payload, content, timeout)
            if sig == spec.Confirm.Select:
                self._confirm_mode.begin()
            return None
        connection = self._usable_connection()
        confirm_mode = self._confirm_mode
        before, last = connection._octets_given(), confirm_mode.last_tag()
        try:
            confirmation = confirm_mode.number(payload, content, confirmation)
            super()._send(sig, payload, content, timeout)
        except BaseException as exc:  # not an octet was sent, or the connection is lost
            connection._interrupted(exc, before)
            confirm_mode.withdraw_behind(last)
            raise
        return confirmation

    def _on_flow(self, active: bool) -> None:
        self.active = active
        self._answer(spec.Channel.FlowOk, 'b', (active,))
        for callback in list(self.events.get('flow', ())):
            self._connection_events.add(self, callback, active)

    def _basic_publish(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = PUBLISH_FORMAT,
    ) -> Confirmation | None:
        """Publish a message. Thread-safe.

        :param mandatory: have it returned if no queue takes it: to the
            callbacks in ``events['basic_return']``, else `NoRoute` is raised.
        :param immediate: RabbitMQ refuses it.
        :param timeout: seconds for handing it to the operating system.
        :param confirm_timeout: seconds for room among the messages in flight,
            where `confirm_select` has limited them, by default
            ``rpc_timeout``; and for the broker's confirm, where the connection
            has ``confirm_publish``.

        In confirm mode it returns the message's `Confirmation`.

        Raises the error by which the broker has closed the channel or the
        connection meanwhile; `Blocked` if it blocks publishers for longer than
        ``blocked_timeout``; ``socket.timeout`` when *timeout* passed, or there
        was no room, and nothing was sent; `EncodeError` for what can't be sent.
        """
        if timeout is None and argsig is PUBLISH_FORMAT:
            try:
                if self._outbox.publish(msg, exchange, routing_key, mandatory, immediate):
                    return None
                if not (mandatory or immediate):  # those are noted down more closely
                    confirmation = self._outbox.publish_numbered(msg, exchange, routing_key)
                    if confirmation is not None:
                        return confirmation
            except _WriteFailed as exc:
                raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        if not isinstance(msg, Message):
            raise _no_message(msg)
        payload = self._encode_arguments(
            spec.Basic.Publish, argsig, (0, exchange, routing_key, mandatory, immediate)
        )
        return self._publish_with_care(payload, msg, timeout, confirm_timeout)

    basic_publish = _basic_publish

    def _publish_with_care(
        self,
        payload: bytes,
        msg: Message,
        timeout: float | None,
        confirm_timeout: float | None,
        confirmation: Confirmation | None = None,
    ) -> Confirmation | None:
        """Publish when there is room and the broker takes messages."""
        deadline = Deadline(timeout, time.monotonic())
        connection = self._usable_connection()
        while True:
            if self._confirm_mode.is_full():
                self._wait_for_room(deadline, confirm_timeout)
            connection._look_before_publish(self, deadline)
            self._prepare(spec.Basic.Publish)
            try:
                sent = self._publish_in_time(payload, msg, deadline, confirmation)
            except _WriteFailed as exc:
                raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
            if sent is not False:
                return sent

    def _wait_for_room(self, deadline: Deadline, timeout: float | None) -> None:
        """Take confirms in until fewer messages are in flight than may be."""
        connection = self._usable_connection()
        if timeout is None:
            timeout = connection._reply_patience()
        limit = Deadline(timeout, time.monotonic())
        try:
            connection._wait_until(self._confirm_mode.has_room, limit.no_later_than(deadline.at))
        except TimeoutError as exc:
            now = time.monotonic()
            if not limit.expired(now) and not deadline.expired(now):
                raise  # a callback's own
            raise TimeoutError(
                f'{self._confirm_mode.window} messages are in flight, and none was confirmed in '
                'time to send this one'
            ) from exc

    def _publish_in_time(
        self, payload: bytes, msg: Message, deadline: Deadline, confirmation: Confirmation | None
    ) -> Confirmation | Literal[False] | None:
        """Publish; False where another thread has taken the last room."""
        remaining = deadline.remaining(time.monotonic())
        lock = self._send_lock
        outer = lock._is_owned()
        try:
            if not outer and not lock.acquire(timeout=-1 if remaining is None else remaining):
                raise TimeoutError("another thread's publish didn't end in time")
            if self._confirm_mode.is_full():
                return False
            remaining = deadline.remaining(time.monotonic())
            return self._send(spec.Basic.Publish, payload, msg, remaining, confirmation)
        finally:
            if not outer and lock._is_owned():
                lock.release()

    def basic_publish_confirm(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = PUBLISH_FORMAT,
    ) -> None:
        """Publish a message and wait until the broker has taken responsibility for it.

        :param confirm_timeout: seconds in all, by default ``rpc_timeout``;
            ``socket.timeout`` after them, with the message's fate unknown.

        Raises `MessageNacked` if the broker refuses it, `NoRoute` if it is
        mandatory, no queue takes it and nobody listens for ``basic_return``:
        their ``message`` is *msg* itself. Beside that, what `basic_publish`
        raises. Puts the channel into confirm mode if it isn't. Thread-safe.
        """
        self._enter_confirm_mode()
        confirm_mode = self._confirm_mode
        confirm_mode.begin_awaiting()
        try:
            confirmation = self._basic_publish(
                msg,
                exchange,
                routing_key,
                mandatory,
                immediate,
                timeout,
                confirm_timeout,
                argsig,
            )
        except RecoverableChannelError:
            self._check_connection()
            raise
        finally:
            confirm_mode.end_awaiting()
        assert confirmation is not None
        self._wait_for_confirm(confirmation, confirm_timeout)
        if confirmation.acknowledged and self.events['basic_return']:
            return  # who listens there is told of a message that was returned
        error = delivery_error(confirmation, msg)
        if error is not None:
            raise error

    def _enter_confirm_mode(self) -> None:
        if not self._confirm_mode.is_on():
            self.confirm_select()

    def _publish_owned(
        self,
        confirmation: Confirmation,
        exchange: str,
        routing_key: str,
        mandatory: bool,
        immediate: bool,
        timeout: float | None,
        confirm_timeout: float | None,
    ) -> None:
        """Publish the message of this confirmation, which its owner has made."""
        msg = confirmation.message
        if not isinstance(msg, Message):
            raise _no_message(msg)
        payload = self._encode_arguments(
            spec.Basic.Publish, PUBLISH_FORMAT, (0, exchange, routing_key, mandatory, immediate)
        )
        self._enter_confirm_mode()
        try:
            if timeout is None and not (mandatory or immediate):
                sent = self._outbox.publish_numbered(msg, exchange, routing_key, confirmation)
                if sent is not None:
                    return
            self._publish_with_care(payload, msg, timeout, confirm_timeout, confirmation)
        except _WriteFailed as exc:
            raise exc.connection._explain_loss(exc)  # noqa: B904 - it has the cause
        except RecoverableChannelError:
            self._check_connection()
            raise

    def _check_connection(self) -> None:
        """Raise the error of a connection that is lost: confirm mode has ended with it then."""
        connection = self._usable_connection()
        connection._check_usable()
        if connection.is_closed:  # by our close, which is about to tear it down
            raise RecoverableConnectionError('connection already closed')

    def _wait_for_confirm(self, confirmation: Confirmation, timeout: float | None) -> None:
        if confirmation.settled():
            return
        connection = self._usable_connection()
        if timeout is None:
            timeout = connection._reply_patience()
        deadline = Deadline(timeout, time.monotonic())
        try:
            connection._wait_until(confirmation.settled, deadline)
        except TimeoutError as exc:
            if not deadline.expired(time.monotonic()):
                raise  # a callback's own
            raise TimeoutError(f'no confirm came within {timeout} s') from exc

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Message
    ) -> None:
        message.channel = self
        returned = basic_return_t(reply_code, reply_text, exchange, routing_key, message)
        expected = self._confirm_mode.message_returned(returned)
        if self.auto_decode:
            message.decode_body()
        handlers = list(self.events['basic_return'])
        for handler in handlers:
            error = returned_error(returned)
            self._connection_events.add(self, handler, error, exchange, routing_key, message)
        if not handlers and not expected:
            self._connection_events.add_report(self, self._report_return, returned)

    def _report_return(self, returned: basic_return_t) -> None:
        raise returned_error(returned)

    def _report_failure(self, confirmation: Confirmation) -> None:
        """Raise what became of a message, unless somebody has been told."""
        if not confirmation.told():
            self._confirm_mode.tell([confirmation])
            error = delivery_error(confirmation)
            assert error is not None
            raise error

    def confirm_select(self, nowait: bool = False, window: int | None = None) -> None:
        """Have the broker confirm each message published on this channel from now on (RabbitMQ).

        :param window: how many messages may await their confirms: to publish
            another one waits for room. By default as many as before, at first
            any number.

        Its acks and nacks reach the callbacks in ``events['basic_ack']`` and
        ``events['basic_nack']``, called with (delivery_tag, multiple).
        """
        if window is not None and (type(window) is not int or window < 1):
            raise ValueError(f'window: {window!r} is no number of messages, 1 or more')
        self.send_method(
            spec.Confirm.Select, 'b', (nowait,), wait=None if nowait else spec.Confirm.SelectOk
        )
        if window is not None:
            self._confirm_mode.window = window

    def _on_basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle(delivery_tag, multiple, True, 'basic_ack')

    def _on_basic_nack(self, delivery_tag: int, multiple: bool, requeue: bool = False) -> None:
        self._settle(delivery_tag, multiple, False, 'basic_nack')

    def _settle(self, delivery_tag: int, multiple: bool, acknowledged: bool, event: str) -> None:
        settled = self._confirm_mode.settle(delivery_tag, multiple, acknowledged)
        if settled is None:
            connection = self.connection
            if connection is None or not connection.is_open or not self.is_open:
                return  # a subclass had put it aside, and all has been settled meanwhile
            raise UnexpectedFrame(f'{event} on channel {self.channel_id}, not in confirm mode')
        for each in settled:
            if each.promise is not None:
                self._connection_events.add_lasting(settle_promise, each)
            elif each.returned is not None and not each.awaited and not self.events['basic_return']:
                self._connection_events.add_report(self, self._report_failure, each)
        for handler in list(self.events.get(event, ())):
            self._connection_events.add(self, handler, delivery_tag, multiple)


def _no_message(msg: object) -> EncodeError:
    """The error of whoever publishes something else."""
    return EncodeError(f"argument 'msg': {type(msg).__name__} is not a Message")
