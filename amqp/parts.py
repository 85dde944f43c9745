"""The parts of a write: octets that belong together and lie in several places."""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from .scalars import Buffer

__all__ = ('drop_sent', 'gathered')

#: Up to here neighbours are joined: one copy is cheaper than the bookkeeping of
#: scatter/gather.
JOIN_LIMIT = 32 * 1024


def gathered(parts: Sequence[Buffer]) -> list[Buffer]:
    """The parts with small neighbours joined; a large one is not copied."""
    joined: list[Buffer] = []
    small: list[Buffer] = []
    for part in parts:
        if len(part) < JOIN_LIMIT:
            small.append(part)
            continue
        if small:
            joined.append(b''.join(small))
            small = []
        joined.append(part)
    if small:
        joined.append(b''.join(small))
    return joined


def drop_sent(parts: list[Buffer], count: int) -> None:
    """Take the *count* octets that have been sent off the front of the parts."""
    whole = 0
    while whole < len(parts) and count >= len(parts[whole]):
        count -= len(parts[whole])
        whole += 1
    del parts[:whole]
    if count:
        parts[0] = memoryview(parts[0])[count:]
