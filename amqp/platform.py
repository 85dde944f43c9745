"""Which TCP options a platform has, by name: data for the transport, which looks them up.

No socket is imported here: the transport asks its socket module for the option's number, and
skips a name that it lacks.
"""

from __future__ import annotations

import os
import sys

SOL_TCP = 6

_COMMON = frozenset({'TCP_NODELAY', 'TCP_KEEPIDLE', 'TCP_KEEPINTVL', 'TCP_KEEPCNT'})

# Keyed by the start of sys.platform. TCP_MAXSEG cannot be set on Windows.
TCP_OPTS_BY_PLATFORM: dict[str, frozenset[str]] = {
    'linux': _COMMON
    | {
        'TCP_CORK',
        'TCP_DEFER_ACCEPT',
        'TCP_LINGER2',
        'TCP_MAXSEG',
        'TCP_QUICKACK',
        'TCP_SYNCNT',
        'TCP_USER_TIMEOUT',
        'TCP_WINDOW_CLAMP',
    },
    'darwin': _COMMON | {'TCP_KEEPALIVE', 'TCP_MAXSEG'},
    'freebsd': _COMMON | {'TCP_MAXSEG'},
    'sunos': _COMMON | {'TCP_MAXSEG'},
    'win32': _COMMON,
    'cygwin': frozenset({'TCP_NODELAY'}),
}

# TCP_USER_TIMEOUT came with Linux 2.6.37.
_USER_TIMEOUT_SINCE = (2, 6, 37)


def linux_version(release: str) -> tuple[int, ...]:
    """Return the leading numbers of a kernel release: '5.4.0-42-generic' -> (5, 4, 0).

    >>> linux_version('6.1+')
    (6, 1)
    """
    rest = release.lstrip('0123456789.')
    numbers = release[: len(release) - len(rest)].split('.')
    return tuple(int(number or 0) for number in numbers[:3])


def known_tcp_opts(name: str, version: tuple[int, ...] = ()) -> set[str]:
    """Return the names of the TCP options of platform *name*, as in ``sys.platform``.

    *version* is the kernel's and matters on Linux only; unknown platforms have TCP_NODELAY.
    """
    for prefix, options in TCP_OPTS_BY_PLATFORM.items():
        if name.startswith(prefix):
            missing = {'TCP_USER_TIMEOUT'} if version < _USER_TIMEOUT_SINCE else set()
            return set(options - missing)
    return {'TCP_NODELAY'}


LINUX_VERSION: tuple[int, ...] | None = (
    linux_version(os.uname().release) if sys.platform.startswith('linux') else None
)
KNOWN_TCP_OPTS: set[str] = known_tcp_opts(sys.platform, LINUX_VERSION or ())
HAS_TCP_USER_TIMEOUT: bool = 'TCP_USER_TIMEOUT' in KNOWN_TCP_OPTS

if HAS_TCP_USER_TIMEOUT:
    # Its number in linux/tcp.h, the same on every architecture.
    TCP_USER_TIMEOUT = 18
