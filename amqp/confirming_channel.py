"""The part of a channel that confirms many messages together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from .basic_message import Message
from .confirms import Confirmation
from .deadline import Deadline
from .delivery_errors import confirms_failed
from .exceptions import RecoverableChannelError, without_traceback
from .publishing_channel import PublishingChannel

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from .confirm_promise import ConfirmPromise
    from .publish_batches import HeldPublishBatch, PublishBatch

__all__ = ('ConfirmingChannel',)


class ConfirmingChannel(PublishingChannel):
    """A channel whose confirms may come in any number; for its parameters see its superclass."""

    def publish_async(
        self,
        msg: Message,
        exchange: str = '',
        routing_key: str = '',
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
    ) -> ConfirmPromise:
        """Publish a message without waiting; the promise that the broker takes it.

        Its callbacks are called with *msg*, or with the error: `MessageNacked`,
        `NoRoute`, or what the channel was lost by. They run where other
        callbacks do, mostly in ``drain_events`` and `wait_for_confirms`; when
        the connection is lost, in the call that raises that, or in ``close``
        and ``collect``. Of an error that no ``on_error`` hears
        `wait_for_confirms` tells.

        :param confirm_timeout: seconds for room among the messages in flight;
            see `confirm_select`.

        For the rest see `basic_publish`, whose errors it raises. Puts the
        channel into confirm mode if it isn't. Thread-safe.
        """
        from .confirm_promise import ConfirmPromise  # brings vine; see `amqp.utils`

        promise = ConfirmPromise()
        confirmation = Confirmation(message=msg, promise=promise)
        self._publish_owned(
            confirmation, exchange, routing_key, mandatory, immediate, timeout, confirm_timeout
        )
        return promise

    def batch(self, timeout: float | None = None) -> AbstractContextManager[PublishBatch]:
        """Within the block, have messages go out together, and be confirmed together at its end.

        :param timeout: seconds for the confirms at the end, by default
            ``rpc_timeout``; ``socket.timeout`` after them.

        Publish by `PublishBatch.publish`. Writes are put off as by
        `Connection.batch`. At the end `ConfirmsFailed` tells which messages
        were not taken, or the error is raised by which the channel was lost.
        Where the block raises, what was published is sent and not waited for;
        `wait_for_confirms` does that. Puts the channel into confirm mode if it
        isn't.
        """
        return self._batching(self._usable_connection().batch(), timeout)

    @contextmanager
    def _batching(
        self, writes: AbstractContextManager[None], timeout: float | None
    ) -> Iterator[PublishBatch]:
        from .publish_batches import PublishBatch  # with the first batch; see `amqp.utils`

        batch = PublishBatch(self)
        try:
            with writes:
                yield batch
        except BaseException:
            batch._give_up()
            raise
        batch._confirm(timeout)

    def create_publish_batch(self, max_size: int = 1000) -> HeldPublishBatch:
        """What Kombu's ``Producer.batch()`` asks for: messages that are held back until flushed.

        :param max_size: how many at most; with the last of them all are sent.

        See `HeldPublishBatch`.
        """
        from .publish_batches import HeldPublishBatch  # see `batch`

        self._usable_connection()
        return HeldPublishBatch(self, max_size)

    def wait_for_confirms(self, timeout: float | None = None) -> None:
        """Wait until the broker has confirmed all that was published on this channel so far.

        :param timeout: seconds, by default ``rpc_timeout``; ``socket.timeout``
            after them, which tells how many messages are outstanding.

        Raises `ConfirmsFailed` with those that the broker refused or no queue
        took since the last call, but for those of which another call has told
        or tells, as `basic_publish_confirm` does; of the others it remembers a
        thousand. Raises the error by which the channel was lost, if that left
        the fate of messages open; `RecoverableChannelError` outside of confirm
        mode. Thread-safe.
        """
        confirm_mode = self._confirm_mode
        in_question = confirm_mode.begin_waiting()
        # Of several who wait at the same time each is told.
        untold = [each for each in in_question or () if not each.told()]
        try:
            self._wait_for_all(in_question or (), timeout)
        finally:
            confirm_mode.end_waiting()
            loss = confirm_mode.take_loss()
        self._report_close()
        if loss is not None:
            raise without_traceback(loss)
        if in_question is None:
            raise RecoverableChannelError('the channel is not in confirm mode: see confirm_select')
        failed = [each for each in untold if each.failed()]
        if failed:
            raise confirms_failed(failed, confirm_mode.tell(failed))

    def _wait_for_all(self, confirmations: Sequence[Confirmation], timeout: float | None) -> None:
        settled = 0

        def all_settled() -> bool:
            nonlocal settled
            while settled < len(confirmations):
                if not confirmations[settled].settled():
                    return False
                settled += 1
            return True

        connection = self._usable_connection()
        if timeout is None:
            timeout = connection._reply_patience()
        deadline = Deadline(timeout, time.monotonic())
        try:
            connection._wait_until(all_settled, deadline)
        except TimeoutError as exc:
            if not deadline.expired(time.monotonic()):
                raise  # a callback's own
            outstanding = sum(not each.settled() for each in confirmations)
            raise TimeoutError(
                f'{outstanding} of the messages are not confirmed within {timeout} s'
            ) from exc
