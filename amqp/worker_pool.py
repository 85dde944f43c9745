"""A pool of threads that handle the messages of queues: what most consumers need.

The thread that calls `WorkerPool.run` drains the connection and so keeps it
alive. Handlers run in the workers, and settle their messages from there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from .basic_message import Message
from .deadline import Deadline
from .utils import get_logger

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('WorkerPool',)

LOGGER = get_logger('amqp.worker_pool')

#: Seconds between two looks at what a signal handler may have left word of, and
#: between two ticks of the heartbeat.
LOOK_INTERVAL = 0.5


class WorkerPool:
    """Handles messages in threads, on a channel of its own. Use it once.

    :param connection: an open `Connection`.
    :param workers: how many messages are handled at the same time.
    :param on_error: what becomes of a message whose handler raises. With
        ``'requeue'`` it goes back to its queue, and is delivered again at once;
        with ``'reject'`` it is dropped, or dead-lettered where the queue says
        so; both are logged. Or a callable: given the message and the
        exception, in the worker, it returns one of the two, or ``'ack'``.
    :param grace: seconds that handlers are given to finish when the pool ends.

    A message is acknowledged when its handler returns. Each is handled at
    least once: again, if the connection or the process ends before that.
    """

    def __init__(
        self,
        connection: Any,
        workers: int,
        on_error: str | Callable[[Message, Exception], str],
        grace: float = 30,
    ) -> None:
        if not callable(on_error) and on_error not in ('requeue', 'reject'):
            raise ValueError(f"on_error is {on_error!r}: neither 'requeue' nor 'reject'")
        self._connection = connection
        self._channel: Any = None
        self._workers = workers
        self._on_error = on_error
        self._grace = grace
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix='amqp worker')
        self._consumers: list[tuple[int, str, Callable[[Message], Any], dict[str, Any]]] = []
        self._tags: list[str] = []
        # Delivery tags that no handler has begun on; how many handlers have begun and go on.
        self._unbegun: set[int | None] = set()
        self._in_hand = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._failure: BaseException | None = None

    def consume(
        self,
        queue: str,
        handler: Callable[[Message], Any],
        prefetch: int | None = None,
        ordered: bool = False,
        **options: Any,
    ) -> None:
        """Have *handler* called with each message of *queue*. Call it before `run`.

        :param prefetch: the most messages of this queue that the broker
            entrusts to us; by default two for each worker, one in hand and one
            to go on with.
        :param ordered: handle one at a time, in the queue's order. With
            ``on_error='requeue'``, a classic queue delivers the same one until
            it succeeds; a quorum queue puts it behind the others.
        :param options: more arguments of `Channel.basic_consume`.
        """
        limit = 1 if ordered else prefetch or 2 * self._workers
        self._consumers.append((limit, queue, handler, options))

    def run(self, signals: Iterable[int] = ()) -> None:
        """Handle messages until `stop`, or until an error ends it, and raise that.

        :param signals: upon these, such as SIGTERM, `stop`. In the main thread only.

        Whatever ends it: the consumers are cancelled, messages that no handler
        has begun are given back, the handlers finish and settle theirs, and
        what they haven't after *grace* seconds is given back too. (Python
        can't end a thread: a handler that goes on holds up the exit of the
        interpreter, and can't acknowledge any more.)

        Errors are those of the connection and of the channel, `ConsumerCancelled`,
        what *on_error* raises, and what a handler raises that is no
        `Exception`, as ``sys.exit`` does.
        """
        with self._stopped_by(signals):
            try:
                self._start()
                while not self._stopping:
                    with suppress(TimeoutError):
                        self._connection.drain_events(timeout=LOOK_INTERVAL)
            finally:
                self._finish()
        try:
            if self._failure is not None:
                raise self._failure
        finally:
            self._failure = None  # its traceback refers to this frame, and so to the pool

    def stop(self) -> None:
        """Have `run` finish and return. From any thread, handler or signal handler."""
        self._stopping = True

    @contextmanager
    def _stopped_by(self, signals: Iterable[int]) -> Iterator[None]:
        before: dict[int, Any] = {}
        try:
            for number in signals:
                before[number] = signal.signal(number, lambda *_: self.stop())
            yield
        finally:
            for number, handler in before.items():
                # None stands for one that was not set by Python.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    # -- in the thread that runs

    def _start(self) -> None:
        self._channel = self._connection.channel()
        # Handlers may use it, too; but what is unsettled has no meaning on another.
        self._channel.reopens = False
        for limit, queue, handler, options in self._consumers:
            self._channel.basic_qos(0, limit, False)  # for consumers started from now on
            tag = self._channel.basic_consume(queue, callback=self._taker(handler), **options)
            self._tags.append(tag)

    def _taker(self, handler: Callable[[Message], Any]) -> Callable[[Message], None]:
        def take(message: Message) -> None:
            with self._changed:
                if not self._stopping:
                    # Noted first: a signal handler may raise in the middle of the rest.
                    self._unbegun.add(message.delivery_tag)
                    self._executor.submit(self._handle, handler, message)
                    return
            message.channel.basic_reject(message.delivery_tag, requeue=True)

        return take

    def _finish(self) -> None:
        self._stopping = True
        try:
            with self._noting_errors():
                self._give_back_unbegun()
            self._wait_for_handlers()
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
            with self._noting_errors():
                if self._channel is not None:
                    self._channel.close()  # whatever is unsettled returns to its queue

    def _give_back_unbegun(self) -> None:
        with self._changed:
            unbegun, self._unbegun = self._unbegun, set()
        for consumer_tag in self._tags:
            self._channel.basic_cancel(consumer_tag)
        for delivery_tag in unbegun:
            self._channel.basic_reject(delivery_tag, requeue=True)

    def _wait_for_handlers(self) -> None:
        now = time.monotonic()
        deadline = Deadline(self._grace, now)
        while self._in_hand and not deadline.expired(now):
            with self._changed:
                pause = deadline.no_later_than(now + LOOK_INTERVAL).remaining(now)
                self._changed.wait_for(lambda: not self._in_hand, pause)
            with self._noting_errors():
                self._connection.heartbeat_tick()
            now = time.monotonic()

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """For the end of `run`: whatever is lost, the rest is to be put in order."""
        try:
            yield
        except self._connection.connection_errors + self._connection.channel_errors as exc:
            self._fail(exc)

    def _fail(self, error: BaseException) -> None:
        """Have `run` end and raise this, unless it has another error to raise already."""
        if self._failure is None:
            self._failure = error
        self._stopping = True

    # -- in the workers

    def _handle(self, handler: Callable[[Message], Any], message: Message) -> None:
        with self._changed:
            if self._stopping or message.delivery_tag not in self._unbegun:
                return  # it is given back, or has been
            self._unbegun.remove(message.delivery_tag)
            self._in_hand += 1
        try:
            self._settle(message, self._verdict(handler, message))
        except BaseException as exc:  # noqa: BLE001 - raised by `run`
            self._fail(exc)
        finally:
            with self._changed:
                self._in_hand -= 1
                self._changed.notify_all()

    def _verdict(self, handler: Callable[[Message], Any], message: Message) -> str:
        try:
            handler(message)
        except Exception as exc:
            if callable(self._on_error):
                return self._on_error(message, exc)
            LOGGER.exception('%s: the handler failed on %r', self._on_error, message.delivery_info)
            return self._on_error
        return 'ack'

    def _settle(self, message: Message, verdict: str) -> None:
        if verdict == 'ack':
            message.channel.basic_ack(message.delivery_tag)
        elif verdict in ('requeue', 'reject'):
            message.channel.basic_reject(message.delivery_tag, requeue=verdict == 'requeue')
        else:
            raise ValueError(f"on_error returned {verdict!r}: not 'requeue', 'reject' or 'ack'")
