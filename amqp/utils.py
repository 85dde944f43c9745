"""Tiny helpers."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any

    from vine import promise

__all__ = (
    'bytes_to_str',
    'fork_generation',
    'get_logger',
    'promise',
    'set_cloexec',
    'str_to_bytes',
)

_forks = 0


if not TYPE_CHECKING:  # which would believe that every name is there

    def __getattr__(name):
        # vine, with all that it imports, takes longer than this package. It is imported where the
        # first promise is made, with the first connection.
        if name == 'promise':
            from vine import promise

            return promise
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def str_to_bytes(s: str | bytes) -> bytes:
    """Encode text as UTF-8, lone surrogates included; bytes pass through."""
    if isinstance(s, str):
        return s.encode('utf-8', 'surrogatepass')
    return s


def bytes_to_str(s: bytes | str) -> str:
    """Decode UTF-8, lone surrogates included; text passes through."""
    if isinstance(s, bytes):
        return s.decode('utf-8', 'surrogatepass')
    return s


def set_cloexec(fd: Any, cloexec: bool) -> None:
    """Set or clear close-on-exec on a descriptor, or on an object that has a ``fileno``."""
    fileno = getattr(fd, 'fileno', None)
    os.set_inheritable(fd if fileno is None else fileno(), not cloexec)


def get_logger(logger: str | Logger) -> Logger:
    """Return a logger (or the one named) which is silent until the application configures it."""
    # Imported here: logging is a large module, and most users of the codec never log.
    import logging

    if isinstance(logger, str):
        logger = logging.getLogger(logger)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def fork_generation() -> int:
    """Return how many forks lie between this process and the one that imported the package.

    Cheaper than a process id, which is a system call at each look.
    """
    return _forks


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_count_fork)
