"""The copy without locks is of what the package has, and differs by its locks only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from t.benchmarks.contestant import ROOT
from t.benchmarks.unlocked import LOCKING, change


@pytest.mark.parametrize('name', LOCKING)
def test_what_takes_locks_is_found_and_taken_out(name: str, tmp_path: Path) -> None:
    original, copy = ROOT / 'amqp' / name, tmp_path / name
    shutil.copy(original, copy)
    change(copy, LOCKING[name])
    before, after = original.read_text().splitlines(), copy.read_text().splitlines()
    changed = [was for was, now in zip(before, after, strict=True) if was != now]
    assert sum('lock.release()' in line for line in changed) >= 1
    assert sum('lock.acquire(' in line for line in changed) >= 1
    of_locks = ('lock.acquire(', 'lock.release()', 'queue:')
    assert all(any(text in line for text in of_locks) for line in changed)
    if name.endswith('.py'):
        compile(copy.read_text(), name, 'exec')


def test_what_is_not_found_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / 'other.py'
    other.write_text('pass')
    with pytest.raises(SystemExit, match=r'other\.py'):
        change(other, LOCKING['outbox.py'])
