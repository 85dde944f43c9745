"""Whether the garbage collector is at work: a finalizer that it calls may not wait for anything."""

from __future__ import annotations

import gc
import sys
from threading import get_ident

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('is_collecting_here', 'note_collections')

# Elsewhere nothing is freed at once, and by whom isn't known.
IS_CPYTHON = sys.implementation.name == 'cpython'

_collecting: set[int] = set()


def note_collections() -> None:
    """Note from now on which thread collects."""
    if IS_CPYTHON and _note not in gc.callbacks:
        gc.callbacks.append(_note)


def is_collecting_here() -> bool:
    """Whether a finalizer that runs in this thread may have been called by the collector."""
    return not IS_CPYTHON or get_ident() in _collecting


def _note(phase: str, _info: dict[str, Any]) -> None:
    if phase == 'start':
        _collecting.add(get_ident())
    else:
        _collecting.discard(get_ident())
