"""The documentation builds without a warning, and what is made from data is up to date."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import amqp
from t.benchmarks.report import Report
from t.helpers.scripts import ROOT, load_script

DOCS = ROOT / 'docs'


def test_the_table_of_supported_methods_is_up_to_date() -> None:
    table = json.loads((ROOT / 'extra' / 'protocol.json').read_text(encoding='utf-8'))
    page = DOCS / 'includes' / 'supported_methods.rst'
    assert page.read_text(encoding='utf-8') == load_script('render_supported').render(table)


def test_the_tables_of_benchmarks_are_up_to_date() -> None:
    page = DOCS / 'includes' / 'benchmarks.rst'
    report = Report.load(DOCS / 'benchmarks.json')
    assert page.read_text(encoding='utf-8') == report.rst(), 'docs/performance.rst says how'


@pytest.fixture(scope='module')
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as HTML."""
    pytest.importorskip('sphinx')
    out = tmp_path_factory.mktemp('docs')
    command = [
        sys.executable,
        '-m',
        'sphinx',
        '-W',
        '--keep-going',
        '-n',
        '-q',
        str(DOCS),
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_the_architecture_names_every_module() -> None:
    page = (DOCS / 'architecture.rst').read_text(encoding='utf-8')
    modules = [found.name for found in pkgutil.iter_modules(amqp.__path__)]
    assert [name for name in modules if name[0] != '_' and f'``{name}``' not in page] == []


#: Whose methods stand with the class that applications use.
PARTS_OF = {
    'PublishingChannel': 'amqp.channel.Channel',
    'ConfirmingChannel': 'amqp.channel.Channel',
    'ConsumingChannel': 'amqp.channel.Channel',
    'StreamingChannel': 'amqp.channel.Channel',
    'DrainingConnection': 'amqp.connection.Connection',
}


def public_names() -> Iterator[str]:
    """Functions and classes of every module, and methods of the classes, by their full names."""
    for found in pkgutil.iter_modules(amqp.__path__):
        if found.name.startswith('_'):
            continue
        module = importlib.import_module(f'amqp.{found.name}')
        for name, value in vars(module).items():
            if name.startswith('_') or getattr(value, '__module__', '') != module.__name__:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f'{module.__name__}.{name}'
            if inspect.isclass(value):
                whole = PARTS_OF.get(name, f'{module.__name__}.{name}')
                for member, inner in vars(value).items():
                    if not member.startswith('_') and inspect.isfunction(inner):
                        yield f'{whole}.{member}'


def test_every_public_name_is_in_the_reference(build: Path) -> None:
    # Four lines of text, then a line for each name, compressed.
    packed = (build / 'objects.inv').read_bytes().split(b'\n', 4)[4]
    documented = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    missing = sorted(set(public_names()) - documented)
    assert missing == [], 'add them to docs/reference'
