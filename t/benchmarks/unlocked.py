"""The installed build with and without the locks that a publish takes: a channel's, the stream's.

A copy of the package is made in which those few lines do nothing, and compiled where the build is.
Workers publish in turns, each in a process of its own; CPU time counts. One that publishes alone
from a copy is safe: nobody is there to be locked out.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import amqp
from t.benchmarks.contestant import ROOT, Target
from t.benchmarks.measure import PATIENCE, WORKER, environ
from t.benchmarks.peer import Script
from t.benchmarks.worker import Job

#: Pairs of processes. The peer's reading ahead makes single ones differ by some percents.
PAIRS = 15
#: Seconds of CPU of each.
BUDGET = 0.5

#: What takes and gives back a lock, and what takes its place.
TAKEN = (r'\block\.acquire\(\)', 'pass')
TRIED = (r'\block\.acquire\(False\)', 'True')
GIVEN = (r'(?m)^( +)lock\.release\(\)', r'\1pass')
#: What looks after writes that other threads have left.
LEFT = (r'if (?:self\._)?queue:', 'if False:')
LOCKING = {
    'outbox.py': (TAKEN, GIVEN),
    'outbox.pyx': (TAKEN, GIVEN),
    'abstract_transport.py': (TRIED, GIVEN, LEFT),
}
TWINS = ('outbox.pyx', 'abstract_transport.py')


def without_locks(folder: Path) -> Path:
    """A copy of the installed build in that folder, where publishing takes none."""
    package = folder / 'amqp'
    shutil.copytree(Path(amqp.__file__).parent, package)
    for path in (ROOT / 'amqp').glob('*.p[xy]*'):
        if path.suffix in ('.py', '.pyx', '.pxd'):
            shutil.copy(path, package)
    for name, changes in LOCKING.items():
        change(package / name, changes)
    if amqp.speedups == 'compiled':
        _compile(package)
    return folder


def change(path: Path, changes: Iterable[tuple[str, str]]) -> None:
    """Replace patterns in that file. SystemExit where one isn't found."""
    text = path.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise SystemExit(f'{path.name} has no {pattern} any more: see {Path(__file__).name}')
    path.write_text(text)


def _compile(package: Path) -> None:
    # The options are those of setup.py.
    cythonize = [sys.executable, '-m', 'Cython.Build.Cythonize', '--inplace', '--force', '-3']
    options = ['-X', 'annotation_typing=False', '-X', 'freethreading_compatible=True']
    for name in TWINS:
        for built in package.glob(f'{Path(name).stem}.*.*[od]'):
            built.unlink()
    done = subprocess.run(
        [*cythonize, *options, *(f'amqp/{name}' for name in TWINS)],
        cwd=package.parent,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def price_of_locks(port: int, say: Callable[[str], None]) -> float:
    """The part of a publish's CPU time that its locks take, in a thread that is alone."""
    prices = []
    with tempfile.TemporaryDirectory() as folder:
        unlocked = str(without_locks(Path(folder)))
        for number in range(PAIRS):
            places = ('', unlocked) if number % 2 else (unlocked, '')
            spent = {place: microseconds(port, place) for place in places}
            prices.append(spent[''] / spent[unlocked] - 1)
            say(f'publish: {spent[""]:.3f} us; without locks: {spent[unlocked]:.3f} us')
    return statistics.median(prices)


def microseconds(port: int, folder: str) -> float:
    """CPU time of a publish of 1 KiB, by the package in that folder, else the one installed."""
    target = Target(port, Script(sink=True).encode())
    job = Job('cpu', amqp.speedups, asdict(target), 'publish', sample='1 KiB', budget=BUDGET)
    done = subprocess.run(
        [sys.executable, str(WORKER), job.encode()],
        cwd=tempfile.gettempdir(),
        env={**environ(), 'PYTHONPATH': folder},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return (
        statistics.median(run['cpu'] / run['count'] for run in json.loads(done.stdout)['runs'])
        * 1e6
    )
