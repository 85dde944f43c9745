"""The names at the top of the package."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import amqp
from amqp import exceptions


def test_every_name_is_there():
    assert sorted(amqp.__all__) == sorted(set(amqp.__all__))
    for name in amqp.__all__:
        assert getattr(amqp, name) is not None


def test_every_error_is_at_the_top():
    errors = set(exceptions.__all__) - {'AMQPDeprecationWarning'}
    assert errors <= set(amqp.__all__)
    for name in errors:
        assert getattr(amqp, name) is getattr(exceptions, name)


LATE = ('connecting', 'credentials', 'queue_arguments', 'rpc', 'urls')


def test_what_few_programs_use_is_imported_by_these():
    code = (
        'import sys, amqp\n'
        'assert callable(amqp.Connection.from_url)\n'
        f'loaded = [name for name in {LATE} if f"amqp.{{name}}" in sys.modules]\n'
        'assert not loaded, loaded\n'
        'assert amqp.connect and amqp.rpc.Client and amqp.queue_arguments.quorum\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_version_by_its_parts():
    assert re.fullmatch(r'\d+\.\d+\.\d+', amqp.__version__)
    parts = tuple(map(int, re.findall(r'\d+', amqp.__version__)))
    assert amqp.VERSION[:3] == parts
    assert amqp.version_info is amqp.VERSION
    assert (amqp.VERSION.major, amqp.VERSION.minor, amqp.VERSION.micro) == parts
    assert amqp.VERSION.releaselevel == amqp.VERSION.serial == ''


def test_kombu_accepts_the_version():
    assert (5, 4, 2) <= amqp.VERSION[:3] < (6,)


def compilable():
    """The modules that have a .pyx or a .pxd."""
    sources = Path(__file__).parents[2] / 'amqp'
    return sorted({path.stem for path in [*sources.glob('*.pyx'), *sources.glob('*.pxd')]})


def test_which_build_is_loaded():
    modules = [importlib.import_module(f'amqp.{name}') for name in compilable()]
    suffixes = {Path(module.__file__).suffix == '.py' for module in modules}
    assert suffixes == {amqp.speedups == 'pure'}


@pytest.mark.parametrize('one', compilable())
def test_the_build_is_compiled_only_if_every_module_is(monkeypatch, one):
    try:
        for name in compilable():
            # Without a file's name, as in frozen applications, a module counts as compiled.
            monkeypatch.setattr(importlib.import_module(f'amqp.{name}'), '__file__', None)
        assert importlib.reload(amqp).speedups == 'compiled'
        monkeypatch.setattr(importlib.import_module(f'amqp.{one}'), '__file__', f'{one}.py')
        assert importlib.reload(amqp).speedups == 'pure'
    finally:
        monkeypatch.undo()
        importlib.reload(amqp)


@pytest.mark.parametrize(
    ('module', 'names'),
    [
        ('connection', 'Connection AMQP_LOGGER SSLError'),
        ('transport', '_AbstractTransport TCPTransport SSLTransport Transport'),
        ('serialization', 'dumps loads _write_table _read_item GenericContent'),
        ('method_framing', 'frame_handler frame_writer'),
        ('basic_message', 'Message'),
        ('channel', 'Channel'),
        ('abstract_channel', 'AbstractChannel'),
        ('protocol', 'queue_declare_ok_t basic_return_t'),
        ('sasl', 'SASL PLAIN AMQPLAIN EXTERNAL GSSAPI RAW'),
        ('spec', 'Basic Channel Connection Exchange Queue Confirm Tx method_t method'),
    ],
)
def test_names_that_others_import(module, names):
    found = importlib.import_module(f'amqp.{module}')
    for name in names.split():
        assert getattr(found, name) is not None
    with pytest.raises(AttributeError):
        found.no_such_name  # noqa: B018
