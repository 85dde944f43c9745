"""Credentials that a function of the application supplies, and that may expire.

Passwords and tokens appear in no repr, no log line and no error of this module.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

from . import sasl
from .utils import get_logger

__all__ = ('CredentialsSource', 'Provider')

#: Returns (userid, password), or (userid, token, seconds for which it is good).
Provider = Callable[[], tuple[Any, ...]]

#: The part of its life after which a secret is renewed.
RENEWED_AFTER = 0.8

#: Seconds within which nobody else begins to renew what somebody renews.
CLAIM = 30.0

#: Seconds between two tries to renew, at least.
LEAST_PAUSE = 1.0


class CredentialsSource:
    """Asks *provider*, and knows when to ask again. Thread-safe.

    ``renew_at`` is that moment, in monotonic seconds; infinite where nothing
    expires.

    :param login_method: as for `Connection`.
    :param certificate: as for `mechanisms_for`.
    """

    __slots__ = ('_certificate', '_expires_at', '_lock', '_login_method', '_provider', 'renew_at')

    def __init__(
        self,
        provider: Provider,
        login_method: str | Sequence[str] | None = None,
        certificate: bool = False,
    ) -> None:
        self._provider = provider
        self._login_method = login_method
        self._certificate = certificate
        self._lock = threading.Lock()
        self._expires_at = inf
        self.renew_at = inf

    def ask(self) -> tuple[str, str]:
        """User name and password, as the provider has them now.

        Raises what it raises; ValueError if it returns something else.
        """
        began = time.monotonic()
        userid, password, lifetime = _checked(self._provider())
        with self._lock:
            self._expires_at = began + lifetime
            self.renew_at = began + RENEWED_AFTER * lifetime
        return userid, password

    def mechanisms(self) -> tuple[sasl.SASL, ...]:
        """What to log in by, as the provider has it now."""
        userid, password = self.ask()
        return sasl.mechanisms_for(
            (), self._login_method, None, userid, password, self._certificate
        )

    def renew_in_time(self, update_secret: Callable[[str, str], object]) -> bool:
        """Where it is time to renew: ask, and tell the broker by *update_secret*; whether it was.

        A provider that fails is asked again later; the log tells of it.
        """
        if not self.claim():
            return False
        try:
            _, secret = self.ask()
        except Exception as exc:  # noqa: BLE001 - whatever a user's function may raise
            pause = self.postpone()
            # Not its text, for nobody knows what that tells.
            get_logger('amqp').warning(
                'the credentials provider failed with %s; it is asked again in %.0f s',
                type(exc).__name__,
                pause,
            )
            return False
        update_secret(secret, 'it expires')
        return True

    def claim(self) -> bool:
        """Whether it is time to renew, and this thread is the one to do it."""
        now = time.monotonic()
        with self._lock:
            if now < self.renew_at:
                return False
            self.renew_at = now + CLAIM
            return True

    def postpone(self) -> float:
        """The provider has failed: ask again in half of the time left; seconds until then."""
        now = time.monotonic()
        with self._lock:
            pause = max((self._expires_at - now) / 2, LEAST_PAUSE)
            self.renew_at = now + pause
        return pause


def _checked(answer: Any) -> tuple[str, str, float]:
    if not isinstance(answer, (tuple, list)) or len(answer) not in (2, 3):
        raise ValueError(
            'a credentials provider returns (userid, password) or (userid, password, lifetime)'
        )
    userid, password = answer[:2]
    if not all(isinstance(each, (str, bytes)) for each in (userid, password)):
        raise ValueError('a credentials provider returns user name and password as str')
    lifetime = answer[2] if len(answer) == 3 else None
    if lifetime is None:
        return userid, password, inf
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
        raise ValueError('the lifetime that a credentials provider returns is not a number')
    if not isfinite(lifetime) or lifetime <= 0:
        raise ValueError(f'a lifetime of {lifetime} s, as a credentials provider returned it')
    return userid, password, lifetime
