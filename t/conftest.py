"""Which build is under test, and where the tests' own helpers are found.

The project's root comes last on the path: `t.helpers` is found there, while `amqp` is the installed
package wherever one is installed. Run `pytest`, not `python -m pytest`, to keep it so.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.append(ROOT)

import amqp  # noqa: E402


def pytest_report_header() -> str:
    return f'amqp {amqp.__version__}, {amqp.speedups} build, from {Path(amqp.__file__).parent}'


def pytest_configure() -> None:
    expected = os.environ.get('AMQP_TEST_EXPECT')
    if not expected:
        return
    # What the package says of itself, and what its modules are.
    found = {'amqp': amqp.speedups}
    sources = Path(ROOT, 'amqp')
    for path in [*sources.glob('*.pyx'), *sources.glob('*.pxd')]:
        file = str(import_module(f'amqp.{path.stem}').__file__)
        found[f'amqp.{path.stem}'] = 'pure' if file.endswith('.py') else 'compiled'
    if set(found.values()) != {expected}:
        raise pytest.UsageError(
            f'expected the {expected} build under test, found {found}: {amqp.__file__}'
        )
