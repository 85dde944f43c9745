"""What the two sides of a connection agree on (specification 1.4.2).

Values in, values out: the handshake itself is in `amqp.connection`.
"""

from __future__ import annotations

from collections.abc import Mapping

from .exceptions import FrameError
from .spec import FRAME_MIN_SIZE, FRAME_OVERHEAD

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('agreed_capabilities', 'agreed_frame_max', 'lower_limit', 'words')


def lower_limit(ours: int, theirs: int) -> int:
    """The lower of two limits, of which 0 is none."""
    return min(ours, theirs) if ours and theirs else ours or theirs


def agreed_frame_max(ours: int, theirs: int) -> int:
    """The largest frame in octets; 0 is no limit.

    Raises `FrameError` where the peer can't take what every peer has to.
    """
    if 0 < theirs < FRAME_MIN_SIZE:
        raise FrameError(f"the broker's frame_max {theirs} is below {FRAME_MIN_SIZE}")
    return lower_limit(ours, theirs)


def largest_frame_accepted(frame_max: int, max_message_size: int) -> int:
    """*frame_max*; where there is none, what a frame with a whole message takes."""
    return frame_max or (max_message_size or 2**32) + FRAME_OVERHEAD


def agreed_capabilities(
    wanted: Mapping[str, bool], offered: Mapping[str, Any], asked: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What to answer to the extensions that the broker offers.

    :param wanted: of the library's own, True to enable and False to disable.
    :param asked: by the application, which has the last word.
    """
    return {**{name: want for name, want in wanted.items() if name in offered}, **(asked or {})}


def words(text: str | bytes) -> list[str]:
    """The words of a list that the broker sent, parted by spaces."""
    if isinstance(text, bytes):
        text = text.decode('latin-1')
    return text.split()
