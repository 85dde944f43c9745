"""Comparing one module's two builds on invented cases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from t.differential.build import Builds


class Target:
    """One module: how to invent a case, and how to run it."""

    module = ''
    # Names of the errors that cases may end in; any other is a finding even if both builds agree.
    errors: frozenset[str] = frozenset()

    def cases(self, rng: random.Random) -> Iterator[Any]:
        """Yield cases without end. They must not change when run, and their repr must tell all."""
        raise NotImplementedError

    def run(self, module: ModuleType, case: Any) -> Any:
        """Run a case; the repr of what is returned is compared."""
        raise NotImplementedError


class Finding(NamedTuple):
    case: Any
    pure: str
    compiled: str


def outcome(target: Target, module: ModuleType, case: Any) -> tuple[str, bool]:
    """Return what came of a case, as text, and whether it may be."""
    try:
        return f'value {target.run(module, case)!r}', True
    except Exception as exc:  # noqa: BLE001 (which one it is, is the question)
        name = type(exc).__name__
        position = getattr(exc, 'position', None)  # an EncodeError's
        return f'{name}: {exc} ({position})', name in target.errors


def run(target: Target, builds: Builds, count: int, seed: int) -> Finding | None:
    """Run `count` cases on both builds and return the first that differs or may not be."""
    pure, compiled = builds.load(target.module)
    cases = target.cases(random.Random(f'{target.module} {seed}'))
    for _, case in zip(range(count), cases, strict=False):
        expected, fine = outcome(target, pure, case)
        got, _ = outcome(target, compiled, case)
        if got != expected or not fine:
            return Finding(case, expected, got)
    return None
