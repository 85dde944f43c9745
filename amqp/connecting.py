"""Connecting to one of several brokers, under one deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from .addresses import AMQP_PORT, AMQPS_PORT, resolve, to_host_port
from .connection import Connection
from .deadline import Deadline
from .exceptions import (
    AccessRefused,
    AMQPError,
    ConnectFailed,
    EncodeError,
    without_traceback,
)
from .urls import BrokerURL, parse_url
from .utils import get_logger

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('connect',)

#: Seconds between one round and the next, where neither the caller nor a URL says; as Pika.
RETRY_DELAY = 2.0

#: Seconds that no try is cut down to less than for the sake of later rounds: a broker far
#: away, with TLS, takes that long.
LEAST_SHARE = 3.0


def connect(
    urls: str | Iterable[str] = 'amqp://',
    *,
    timeout: float | None = 60,
    attempts: int | None = None,
    retry_delay: float | None = None,
    shuffle: bool = False,
    **options: Any,
) -> Connection:
    """Connect to a broker, or to the first of several that lets us in; an open `Connection`.

    :param urls: see `Connection.from_url`. Each address that a host's name
        stands for is tried, through TLS and login.
    :param timeout: seconds in all: name lookups, tries and pauses. A try has
        an equal share of what is left (3 seconds at least, unless other URLs
        of its round need them), and no more than ``connect_timeout``. None
        is no limit but that.
    :param attempts: how often to go through all URLs; 0 is until the deadline.
        By default ``connection_attempts`` of the URLs, else once.
    :param retry_delay: seconds between two rounds, give or take a half, at
        random. By default ``retry_delay`` of the URLs, else 2.
    :param shuffle: try URLs, and the addresses of each, in random order.
    :param options: arguments of `Connection`, instead of the URLs'.

    Raises `ConnectFailed`, which tells what each try met; `AccessRefused` at
    once, for a broker may lock out who tries again; ValueError.
    """
    brokers = [parse_url(url) for url in ((urls,) if isinstance(urls, str) else urls)]
    if not brokers:
        raise ValueError('there is no URL to connect to')
    if attempts is None:
        attempts = max(broker.attempts or 1 for broker in brokers)
    if retry_delay is None:
        given = [each.retry_delay for each in brokers if each.retry_delay is not None]
        retry_delay = max(given, default=RETRY_DELAY)
    if attempts < 0 or retry_delay < 0:
        raise ValueError('attempts and retry_delay must not be negative')
    search = _Search(Deadline(timeout, time.monotonic()), shuffle, options)
    return search.run(brokers, attempts, retry_delay)


class _Search:
    """One call of `connect`, and what it has met so far."""

    def __init__(self, deadline: Deadline, shuffle: bool, options: dict[str, Any]) -> None:
        self._deadline = deadline
        self._shuffle = shuffle
        self._options = options
        self._began = time.monotonic()
        self._tries = 0
        self._tried: set[int] = set()
        # (where, what) -> how often. What has been met again and again is kept once.
        self._met: dict[tuple[str, str], int] = {}
        self._causes: dict[tuple[str, str], BaseException] = {}

    def run(self, brokers: list[BrokerURL], attempts: int, retry_delay: float) -> Connection:
        for number in range(attempts) if attempts else count():
            if number and not self._pause(retry_delay):
                break
            rounds_after = max(attempts - number - 1, 0)
            order = self._in_order(brokers)
            for position, broker in enumerate(order):
                in_round = len(order) - position
                share = self._share(in_round, rounds_after * len(order))
                connection = self._try_url(broker, share)
                if connection is not None:
                    return connection
        raise self._failure(brokers)

    def _in_order(self, places: list[Any]) -> list[Any]:
        return random.sample(places, len(places)) if self._shuffle else places

    def _pause(self, retry_delay: float) -> bool:
        """Wait before the next round; whether there is time for one."""
        pause = retry_delay * random.uniform(0.5, 1.5)
        remaining = self._deadline.remaining(time.monotonic())
        if remaining is not None and pause >= remaining:
            return False
        time.sleep(pause)
        return True

    def _share(self, in_round: int, later: int) -> float | None:
        """Seconds for one of the tries that are left, in this round and in later ones."""
        remaining = self._deadline.remaining(time.monotonic())
        if remaining is None:
            return None
        return max(remaining / (in_round + later), min(remaining / in_round, LEAST_SHARE))

    def _try_url(self, broker: BrokerURL, share: float | None) -> Connection | None:
        arguments = {**broker.options, **self._options}
        deadline = _deadline_of(arguments, share)
        if deadline.expired(time.monotonic()):
            return None
        self._tried.add(id(broker))
        ssl = arguments.get('ssl', False)
        default_port = AMQPS_PORT if ssl or isinstance(ssl, Mapping) else AMQP_PORT
        host, port = to_host_port(arguments['host'], default_port)
        try:
            addresses = self._in_order(resolve(host, port, deadline))
        except OSError as exc:
            self._note(str(broker), exc)
            return None
        for number, address in enumerate(addresses):
            where = str(broker)
            if address[4][0] != host:
                where += f' at {address[4][0]}'
            remaining = deadline.remaining(time.monotonic())
            timeout = None if remaining is None else remaining / (len(addresses) - number)
            connection = self._try_address(arguments, address, where, timeout)
            if connection is not None:
                return connection
        return None

    def _try_address(
        self, arguments: dict[str, Any], address: Any, where: str, timeout: float | None
    ) -> Connection | None:
        connection = Connection(**{**arguments, 'connect_timeout': timeout})
        connection._addresses = [address]
        try:
            connection.connect()
        except (AccessRefused, EncodeError):
            raise
        except (OSError, AMQPError) as exc:
            connection.collect()  # a callback's own error leaves it open
            self._note(where, exc)
            return None
        except BaseException:
            connection.collect()
            raise
        return connection

    def _note(self, where: str, error: BaseException) -> None:
        get_logger('amqp').info('could not connect to %s: %s', where, error)
        self._tries += 1
        met = where, str(error) or type(error).__name__
        self._met[met] = self._met.get(met, 0) + 1
        self._causes[met] = without_traceback(error)

    def _failure(self, brokers: list[BrokerURL]) -> ConnectFailed:
        elapsed = time.monotonic() - self._began
        text = f'no connection after {self._tries} tries in {elapsed:.1f} s: '
        error = ConnectFailed(
            text + '; '.join(self._told(brokers)),
            causes=[(where, cause) for (where, _), cause in self._causes.items()],
        )
        error.__cause__ = next(reversed(self._causes.values()), None)
        return error

    def _told(self, brokers: list[BrokerURL]) -> Iterator[str]:
        for (where, what), times in self._met.items():
            yield f'{where}: {what}' + (f' ({times} times)' if times > 1 else '')
        for broker in brokers:
            if id(broker) not in self._tried:
                yield f'{broker}: not tried, for want of time'


def _deadline_of(arguments: dict[str, Any], share: float | None) -> Deadline:
    """When the try of one URL has to end."""
    now = time.monotonic()
    limit = arguments.get('connect_timeout')
    if limit is None:
        limit = arguments.get('rpc_timeout', 60)
    return Deadline(share, now).no_later_than(Deadline(limit, now).at)
