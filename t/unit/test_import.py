"""What `import amqp` costs: the modules that it loads, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import amqp

# Each takes a noticeable part of the time that the rest takes together, or brings such a one.
COSTLY = {
    'asyncio',
    'ast',
    'calendar',
    'copy',
    'dataclasses',
    'datetime',
    'decimal',
    'heapq',
    'inspect',
    'locale',
    'logging',
    'platform',
    'random',
    're',
    'selectors',
    'socket',
    'ssl',
    'string',
    'subprocess',
    'tempfile',
    'traceback',
    'typing',
    'urllib.parse',
    'vine',
}


def loaded(code):
    """Return the modules that *code* loads, beside those of a bare interpreter."""
    # -S: without the site module, whose .pth files import what they like.
    path = [str(Path(amqp.__file__).parents[1])]
    code = f'import sys; sys.path += {path}; before = set(sys.modules); {code}; '
    code += 'print(*set(sys.modules) - before)'
    out = subprocess.run(
        [sys.executable, '-S', '-c', code], check=True, capture_output=True, text=True
    ).stdout
    return set(out.split())


def test_nothing_costly_is_imported():
    assert loaded('import amqp') & COSTLY == set()


@pytest.mark.parametrize(
    'module',
    ['connection', 'channel', 'transport', 'exceptions', 'basic_message', 'sasl', 'serialization'],
)
def test_nor_by_the_modules_that_others_import(module):
    assert loaded(f'import amqp.{module}') & COSTLY == set()


@pytest.mark.parametrize(
    ('expression', 'module'),
    [
        ('amqp.connection.AMQP_LOGGER', 'logging'),
        ('amqp.connection.SSLError', 'ssl'),
    ],
)
def test_late_names(expression, module):
    assert module in loaded(f'import amqp; {expression}')


def test_a_name_is_the_same_every_time():
    assert amqp.promise is amqp.promise is amqp.utils.promise
    assert amqp.connection.AMQP_LOGGER is amqp.connection.AMQP_LOGGER
