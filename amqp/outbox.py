"""Where what a channel sends most leaves by a short way: messages and acknowledgements.

Whatever has to be seen to before, or is overridden, makes it go the long way.
The compiled build has this module in C: ``outbox.pyx``.
"""

from __future__ import annotations

from .basic_message import Message
from .confirm_mode import ConfirmMode
from .exceptions import AMQPError
from .locks import OwnedLock
from .method_framing import Outbound
from .states import ChannelState, StateMachine

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    from .confirms import Confirmation

__all__ = ('Outbox',)

OPEN = ChannelState.OPEN

#: Arguments of basic.publish that end in neither flag.
NO_FLAGS = b'\0'


class Outbox:
    """The outbox of the channel with that number, whose *state* tells whether it may send."""

    __slots__ = (
        'active',
        'channel_id',
        'confirm_mode',
        'lock',
        'outbound',
        'settles',
        'state',
        'unreported',
    )

    def __init__(self, channel_id: int, state: StateMachine) -> None:
        self.channel_id = channel_id
        self.state = state
        #: Whether the peer lets content flow (channel.flow).
        self.active = True
        #: The error by which the broker closed the channel, until someone has got it.
        self.unreported: AMQPError | None = None
        #: Whether acknowledgements may go this way, for nobody has put
        #: something of his own where methods are sent.
        self.settles = False
        self.confirm_mode = ConfirmMode()
        #: The ``_send_lock`` of the channel.
        self.lock: Any = OwnedLock()
        #: What writes on the connection; None where there is no short way.
        self.outbound: Outbound | None = None

    def publish(
        self, message: Any, exchange: Any, routing_key: Any, mandatory: Any, immediate: Any
    ) -> bool:
        """Send basic.publish, unless it is to be confirmed. False: nothing was sent.

        Thread-safe. Raises what `Outbound.publish` does.
        """
        outbound = self.outbound
        if outbound is None or not outbound.may_send() or not isinstance(message, Message):
            return False
        flags = (1 if mandatory else 0) | (2 if immediate else 0)
        lock = self.lock
        try:  # no `with`: it takes as long as the rest of both locks
            lock.acquire()
            sent = (
                self.state.state is OPEN
                and self.unreported is None
                and self.active
                and not self.confirm_mode.is_used()
                and outbound.publish(self.channel_id, message, exchange, routing_key, flags, True)
            )
        except BaseException:
            if lock._is_owned():  # a signal handler may have raised before it was
                lock.release()
            raise
        lock.release()
        return sent

    def publish_numbered(
        self,
        message: Any,
        exchange: Any,
        routing_key: Any,
        confirmation: Confirmation | None = None,
    ) -> Confirmation | None:
        """Send basic.publish, with neither flag, in confirm mode. None: nothing was sent.

        :param confirmation: what to number the message by; by default a new one.

        Thread-safe. Raises what `Outbound.publish` and `ConfirmMode.number` do.
        """
        outbound = self.outbound
        if outbound is None or not outbound.may_send() or not isinstance(message, Message):
            return None
        with self.lock:
            confirm_mode = self.confirm_mode
            if (
                self.state.state is not OPEN
                or self.unreported is not None
                or not self.active
                or not confirm_mode.is_on()
                or confirm_mode.is_full()
            ):
                return None
            before, last = outbound.octets_given(), confirm_mode.last_tag()
            try:
                confirmation = confirm_mode.number(NO_FLAGS, message, confirmation)
                sent = confirmation is not None and outbound.publish(
                    self.channel_id, message, exchange, routing_key, 0, False
                )
            except BaseException as exc:
                outbound.interrupted(exc, before)
                confirm_mode.withdraw_behind(last)
                raise
            if not sent:
                confirm_mode.withdraw(confirmation)
            return confirmation if sent else None

    def settle(self, method_sig: tuple[int, int], delivery_tag: Any, flag: Any) -> bool:
        """Send basic.ack or basic.reject. False: nothing was sent.

        Thread-safe. Raises what `Outbound.settle` does.
        """
        return self.settles and self.send_settlement(method_sig, delivery_tag, flag)

    def send_settlement(self, method_sig: tuple[int, int], delivery_tag: Any, flag: Any) -> bool:
        """As `settle`, for who has seen to it that this way may be gone."""
        outbound = self.outbound
        if outbound is None or not outbound.may_send():
            return False
        with self.lock:
            return (
                self.state.state is OPEN
                and self.unreported is None
                and outbound.settle(self.channel_id, method_sig, delivery_tag, 1 if flag else 0)
            )
