"""Where what a channel sends most leaves by a short way: outbox.py in C."""

from .basic_message cimport Message
from .confirms cimport Confirmation

from .confirm_mode import ConfirmMode
from .locks import OwnedLock
from .states import ChannelState

__all__ = ('Outbox',)

cdef object OPEN = ChannelState.OPEN
cdef bytes NO_FLAGS = b'\0'


cdef class Outbox:
    """The outbox of the channel with that number, whose *state* tells whether it may send."""

    def __init__(self, unsigned int channel_id, StateMachine state not None):
        self.channel_id = channel_id
        self.state = state
        self.active = True
        self.confirm_mode = ConfirmMode()
        self.lock = OwnedLock()

    cpdef bint publish(
        self,
        object message,
        object exchange,
        object routing_key,
        bint mandatory,
        bint immediate,
    ) except -1:
        """Send basic.publish, unless it is to be confirmed. False: nothing was sent.

        Thread-safe. Raises what `Outbound.publish` does.
        """
        cdef Outbound outbound = self.outbound
        cdef OwnedLock lock = self.lock
        if outbound is None or not outbound.may_send() or not isinstance(message, Message):
            return False
        lock.acquire()
        try:
            return (
                self.state.state is OPEN
                and self.unreported is None
                and self.active
                and not self.confirm_mode.is_used()
                and outbound.publish(
                    self.channel_id,
                    message,
                    exchange,
                    routing_key,
                    mandatory | immediate << 1,
                    True,
                )
            )
        finally:
            lock.release()

    cpdef Confirmation publish_numbered(
        self,
        object message,
        object exchange,
        object routing_key,
        Confirmation confirmation=None,
    ):
        """Send basic.publish, with neither flag, in confirm mode. None: nothing was sent.

        :param confirmation: what to number the message by; by default a new one.

        Thread-safe. Raises what `Outbound.publish` and `ConfirmMode.number` do.
        """
        cdef Outbound outbound = self.outbound
        cdef OwnedLock lock = self.lock
        cdef ConfirmMode confirm_mode
        cdef long long before
        cdef bint sent
        if outbound is None or not outbound.may_send() or not isinstance(message, Message):
            return None
        lock.acquire()
        try:
            confirm_mode = self.confirm_mode
            if (
                self.state.state is not OPEN
                or self.unreported is not None
                or not self.active
                or not confirm_mode.is_on()
                or confirm_mode.is_full()
            ):
                return None
            before = outbound.octets_given()
            last = confirm_mode.last_tag()
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
        finally:
            lock.release()

    cpdef bint settle(self, tuple method_sig, object delivery_tag, bint flag) except -1:
        """Send basic.ack or basic.reject. False: nothing was sent.

        Thread-safe. Raises what `Outbound.settle` does.
        """
        return self.settles and self.send_settlement(method_sig, delivery_tag, flag)

    cpdef bint send_settlement(
        self, tuple method_sig, object delivery_tag, bint flag
    ) except -1:
        """As `settle`, for who has seen to it that this way may be gone."""
        cdef Outbound outbound = self.outbound
        cdef OwnedLock lock = self.lock
        if outbound is None or not outbound.may_send():
            return False
        lock.acquire()
        try:
            return (
                self.state.state is OPEN
                and self.unreported is None
                and outbound.settle(self.channel_id, method_sig, delivery_tag, flag)
            )
        finally:
            lock.release()
