"""The programs of docs/examples, to be called or to be run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp
from t.helpers.scripts import ROOT

EXAMPLES = ROOT / 'docs' / 'examples'


def load_example(name: str) -> dict[str, Any]:
    """What a program defines, without running it; its *name* is without suffix."""
    path = EXAMPLES / f'{name}.py'
    namespace: dict[str, Any] = {'__name__': name}
    exec(compile(path.read_text(encoding='utf-8'), path, 'exec'), namespace)
    return namespace


class RunningExample:
    """A program under way, and the lines that it has written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def wait_for(self, text: str) -> None:
        """Read until a line has *text*; a program that ends before fails the test."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f'it ended without {text!r}:\n{"".join(self.lines)}')

    def stop(self, signal: int) -> int:
        """Send it *signal*; its exit status."""
        self.process.send_signal(signal)
        return self.process.wait(10)


@contextmanager
def running(name: str, *args: str) -> Iterator[RunningExample]:
    """Run a program in a process of its own, with its log among its lines."""
    package = Path(amqp.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f'{name}.py'), *args],
        env={**os.environ, 'PYTHONPATH': str(package), 'PYTHONUNBUFFERED': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield RunningExample(process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
