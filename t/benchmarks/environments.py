"""A virtual environment for each contestant, kept until what is installed in it changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from t.benchmarks.contestant import ROOT, Contestant

#: Seconds that an installation may take.
PATIENCE = 600
#: What a build of the project needs of the project.
SUFFIXES = ('.py', '.pyi', '.pxd', '.pyx', '.h', '.typed')
PROJECT = ('setup.py', 'pyproject.toml', 'README.rst', 'LICENSE', 'MANIFEST.in', 'amqp')


class EnvironmentFailed(Exception):
    """It could not be made; the message tells what pip said."""


def interpreter(contestant: Contestant, folder: Path) -> Path:
    """The Python of the contestant's environment, which is made if it has to be."""
    place = folder / f'.venv-bench-{contestant.key}'
    python, stamp = place / 'bin' / 'python', place / 'installed'
    wanted = fingerprint(contestant)
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(place, ignore_errors=True)
        _call([sys.executable, '-m', 'venv', str(place)])
        _install(contestant, python)
        stamp.write_text(wanted)
    return python


def fingerprint(contestant: Contestant) -> str:
    """Changes with whatever may change what is installed."""
    digest = hashlib.sha256()
    for part in (
        sys.version,
        contestant.requirements,
        contestant.pip_options,
        contestant.build_requirements,
        sorted(contestant.environ.items()),
    ):
        digest.update(json.dumps(part).encode())
    if contestant.is_own:
        for path in _sources():
            digest.update(f'{path}\0'.encode() + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in PROJECT:
        path = ROOT / name
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
        elif path.exists():
            yield path


def _install(contestant: Contestant, python: Path) -> None:
    pip = [str(python), '-m', 'pip', '-qq', '--disable-pip-version-check', 'install']
    if contestant.build_requirements:
        _call([*pip, *contestant.build_requirements])
    with tempfile.TemporaryDirectory() as copy:
        # Built in a copy, so that nothing is left in the project's folder.
        requirements = [
            _copy(Path(copy)) if each == str(ROOT) else each for each in contestant.requirements
        ]
        _call([*pip, *contestant.pip_options, *requirements], contestant.environ)


def _copy(folder: Path) -> str:
    for path in _sources():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return str(folder)


def _call(command: list[str], environ: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise EnvironmentFailed(f'{" ".join(command)}\n{(done.stderr or done.stdout)[-3000:]}')
