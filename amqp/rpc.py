"""Calls over RabbitMQ: requests go to a queue, replies come back by direct reply-to.

Any number of threads may share a `Client`, and have any number of calls under way.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from math import ceil
from types import TracebackType
from typing import Any

from . import spec
from .abstract_channel import MethodSig
from .basic_message import Message
from .channel import Channel
from .confirms import Confirmation
from .deadline import Deadline
from .delivery_errors import returned_error
from .exceptions import (
    RecoverableChannelError,
    RPCTimeout,
    without_traceback,
)
from .protocol import basic_return_t
from .reopenable_channel import _NotOpen

__all__ = ('Call', 'Client', 'reply', 'serve')

#: RabbitMQ's pseudo-queue: what is sent to it as ``reply_to`` reaches the channel that asked.
REPLY_TO = 'amq.rabbitmq.reply-to'

#: In seconds; RabbitMQ refuses a longer one.
LONGEST_EXPIRATION = (2**32 - 1) / 1000


class Client:
    """Sends requests on a channel of its own, and matches the replies by ``correlation_id``.

    :param connection: an open `Connection`, which may be used otherwise too.
    :param timeout: seconds that a call may take, where it doesn't say
        otherwise; by default ``rpc_timeout`` of the connection.

    A call to an exchange that doesn't exist makes the broker close the
    channel, which ends all calls that are under way; the next call opens it
    again. When the connection is lost all calls end with
    `RecoverableConnectionError`, and so does any later one. Thread-safe.
    """

    def __init__(self, connection: Any, timeout: float | None = None) -> None:
        self._connection = connection
        self._timeout = connection.rpc_timeout if timeout is None else timeout
        self._channel = _ReplyChannel(connection)
        self._channel.listen()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel. Calls that are under way end with `RecoverableConnectionError`."""
        self._channel.close()

    def call(
        self,
        body: Any,
        routing_key: str,
        exchange: str = '',
        timeout: float | None = None,
        **properties: Any,
    ) -> Message:
        """Send a request, and wait for its reply.

        :param routing_key: the queue's name, where *exchange* is the default.
        :param timeout: seconds. The request is dropped if it is still in its
            queue then.
        :param properties: of the request; see `Message`.

        Raises `NoRoute` at once if no queue takes the request; `RPCTimeout`;
        what closes channel or connection meanwhile; what `basic_publish` raises.
        """
        return self.call_async(body, routing_key, exchange, timeout, **properties).result()

    def call_async(
        self,
        body: Any,
        routing_key: str,
        exchange: str = '',
        timeout: float | None = None,
        **properties: Any,
    ) -> Call:
        """Send a request; its reply is waited for by `Call.result`. As `call` otherwise."""
        if timeout is None:
            timeout = self._timeout
        if timeout is not None and timeout <= LONGEST_EXPIRATION:
            properties.setdefault('expiration', str(max(ceil(timeout * 1000), 0)))
        channel = self._channel
        call = Call(self._connection, channel, timeout)
        message = Message(body, reply_to=REPLY_TO, correlation_id=call.correlation_id, **properties)
        try:
            channel.send_request(message, exchange, routing_key, call)
        except BaseException:
            channel.forget(call)
            raise
        return call


class Call:
    """A request that was sent; `Client.call_async` makes it."""

    __slots__ = (
        '_channel',
        '_connection',
        '_error',
        '_reply',
        'correlation_id',
        'deadline',
        'timeout',
    )

    def __init__(self, connection: Any, channel: _ReplyChannel, timeout: float | None) -> None:
        self._connection = connection
        self._channel = channel
        self._reply: Message | None = None
        self._error: BaseException | None = None
        self.timeout = timeout
        self.deadline = Deadline(timeout, time.monotonic())
        self.correlation_id = channel.next_id()

    def __repr__(self) -> str:
        state = 'failed' if self._error else 'replied to' if self._reply else 'under way'
        return f'<Call {self.correlation_id} ({state})>'

    def done(self) -> bool:
        """Whether `result` returns or raises at once."""
        return self._reply is not None or self._error is not None

    def result(self) -> Message:
        """Wait for the reply, and return it. Raises as `Client.call` does. Thread-safe."""
        if not self.done():
            self._wait()
        if self._reply is not None:
            return self._reply
        assert self._error is not None
        raise without_traceback(self._error)

    def _succeed(self, reply: Message) -> None:
        """This is the reply."""
        self._reply = reply

    def _fail(self, error: BaseException) -> None:
        """No reply will come."""
        self._error = error

    def _overdue(self) -> RPCTimeout:
        """What to raise when the time is over."""
        return RPCTimeout(f'no reply to the call within {self.timeout} s')

    def _wait(self) -> None:
        try:
            self._connection._wait_until(self.done, self.deadline)
        except TimeoutError:
            if self.done():
                return
            if not self.deadline.expired(time.monotonic()):
                raise  # a callback's own
            self._channel.forget(self)
            self._fail(self._overdue())


class _NotListening(RecoverableChannelError):
    """The channel was closed, and opened by a publish perhaps, since it listened for replies."""


class _ReplyChannel(Channel):
    """A channel whose deliveries are replies.

    They are matched by the thread that reads: a callback would run after it
    has given up that role, and the thread that waits for the reply could have
    taken it meanwhile, to wait for a frame that doesn't come.
    """

    def __init__(self, connection: Any) -> None:
        self._calls: dict[str, Call] = {}
        self._prefix = os.urandom(8).hex()
        self._count = 0
        self._listens_in: int | None = None
        super().__init__(connection)

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._calls_lock = threading.Lock()
        # Held while the channel is opened, and callbacks may run.
        self._listen_lock = threading.RLock()
        self._opens = False

    # -- calls

    def next_id(self) -> str:
        """A correlation id that no other call has."""
        with self._calls_lock:
            self._count += 1
            return f'{self._prefix}-{self._count}'

    def add(self, call: Call) -> None:
        """Note a call before its request is sent, for its reply may come at once."""
        now = time.monotonic()
        with self._calls_lock:
            # Nobody may ever ask for the results of these.
            for old in list(self._calls.values()):
                if not old.deadline.expired(now):
                    break
                old._fail(old._overdue())
                del self._calls[old.correlation_id]
            call._error = None  # of a channel that was lost before the request was sent
            self._calls[call.correlation_id] = call

    def forget(self, call: Call) -> None:
        """A reply to it, should one come, is passed over."""
        with self._calls_lock:
            self._calls.pop(call.correlation_id, None)

    def _take(self, message: Message) -> Call | None:
        with self._calls_lock:
            return self._calls.pop(message.properties.get('correlation_id', ''), None)

    # -- requests

    def listen(self) -> None:
        """See to it that the channel is open, and gets the replies."""
        with self._listen_lock:
            if self.is_open and self._listens_in == self.incarnation:
                return
            if self._opens:  # by this very thread, and this is a callback of another consumer
                raise RecoverableChannelError('the channel for replies is being opened')
            self._opens = True
            try:
                self.open()
                incarnation = self.incarnation
                self.basic_consume(REPLY_TO, no_ack=True)
                self._listens_in = incarnation
            finally:
                self._opens = False

    def send_request(self, message: Message, exchange: str, routing_key: str, call: Call) -> None:
        """Publish a request."""
        while True:
            self.listen()
            self.add(call)
            remaining = call.deadline.remaining(time.monotonic())
            try:
                self._basic_publish(message, exchange, routing_key, True, timeout=remaining)
            except (_NotListening, _NotOpen):
                continue  # not an octet was sent
            except TimeoutError:
                if call.deadline.expired(time.monotonic()):
                    raise call._overdue() from None
                raise
            return

    def _send(
        self,
        sig: MethodSig,
        payload: bytes,
        content: Any,
        timeout: float | None = None,
        confirmation: Confirmation | None = None,
    ) -> Any:
        if sig == spec.Basic.Publish and self._listens_in != self.incarnation:
            raise _NotListening('the channel for replies was closed meanwhile', sig)
        return super()._send(sig, payload, content, timeout, confirmation)

    # -- what comes back, in the thread that reads

    def _on_basic_deliver(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        msg: Message,
    ) -> None:
        call = self._take(msg)
        if call is None:
            return  # late, or nothing of ours
        msg.channel = self
        msg.delivery_info = {
            'consumer_tag': consumer_tag,
            'delivery_tag': delivery_tag,
            'redelivered': redelivered,
            'exchange': exchange,
            'routing_key': routing_key,
        }
        msg.decode_body()
        call._succeed(msg)

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Message
    ) -> None:
        call = self._take(message)
        if call is not None:
            message.channel = self
            returned = basic_return_t(reply_code, reply_text, exchange, routing_key, message)
            call._fail(returned_error(returned))

    def _lose_state(self, error: BaseException) -> bool:
        woken = super()._lose_state(error)
        with self._calls_lock:
            calls = list(self._calls.values())
            self._calls.clear()
        for call in calls:
            call._fail(error)
        return woken or bool(calls)


def reply(request: Message, body: Any, **properties: Any) -> None:
    """Answer a request on the channel that it came on. Thread-safe.

    :param properties: of the reply; see `Message`.

    Nothing is sent if the request asks for no reply, and nothing is raised if
    nobody waits for it any more.
    """
    reply_to = request.properties.get('reply_to')
    if reply_to:
        correlation_id = request.properties.get('correlation_id')
        message = Message(body, correlation_id=correlation_id, **properties)
        request.channel.basic_publish(message, routing_key=reply_to)


def serve(channel: Any, queue: str, handler: Callable[[Message], Any], **options: Any) -> str:
    """Answer the requests in *queue* by what *handler* returns; the consumer's tag.

    :param handler: called with each request, where the connection is drained;
        what it returns is the body of the reply.
    :param options: for `basic_consume`.

    A request is acknowledged when it has been answered. If *handler* raises,
    it is rejected, that is dropped or dead-lettered, and `drain_events`
    raises the error: the caller's time runs out.
    """

    def on_request(request: Message) -> None:
        delivery_tag = request.delivery_tag
        assert delivery_tag is not None
        try:
            body = handler(request)
        except Exception:
            request.channel.basic_reject(delivery_tag, requeue=False)
            raise
        reply(request, body)
        request.channel.basic_ack(delivery_tag)

    tag: str = channel.basic_consume(queue, callback=on_request, **options)
    return tag
