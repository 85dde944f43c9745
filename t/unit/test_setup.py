"""The build: compiled, pure where asked or where a compiler fails, and never a mixture.

Two tiny modules stand in for those that are compiled; the rest is the project itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')
FALLBACK = 'amqp: compiling failed, building pure Python: '

pytest.importorskip('setuptools', '77', reason='the build needs a newer setuptools')
pytest.importorskip('Cython')
pytestmark = pytest.mark.skipif(
    sys.implementation.name != 'cpython', reason='builds are pure elsewhere'
)


@pytest.fixture
def tree(tmp_path):
    """The project with `early` and `late` as what is compiled."""
    tree = tmp_path / 'tree'
    package = tree / 'amqp'
    package.mkdir(parents=True)
    for name in ('setup.py', 'pyproject.toml', 'README.rst', 'LICENSE'):
        shutil.copy(ROOT / name, tree)
    for name in ('_version.py', '__init__.py', 'py.typed'):
        shutil.copy(ROOT / 'amqp' / name, package)
    for name in ('early', 'late'):
        (package / f'{name}.py').write_text('value = 1\n')
        (package / f'{name}.pyx').write_text('value = 1\n')
    return tree


@pytest.fixture
def wheel(tree, tmp_path):
    """Build a wheel; return what the build printed, the wheel's name and its extensions."""

    def build(**environ):
        out = tmp_path / 'out'
        code = f'from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})'
        kept = {key: value for key, value in os.environ.items() if not key.startswith('AMQP_')}
        done = subprocess.run(
            [sys.executable, '-c', code],
            cwd=tree,
            env=kept | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        made = list(out.glob('*.whl'))
        if done.returncode:
            assert made == []
            raise RuntimeError(done.stdout)
        with zipfile.ZipFile(made[0]) as archive:
            names = [name for name in archive.namelist() if '.dist-info/' not in name]
        pure = ['__init__.py', '_version.py', 'early.py', 'late.py', 'py.typed']
        assert {f'amqp/{name}' for name in pure} <= set(names)
        return done.stdout, made[0].name, sorted(set(names) - {f'amqp/{name}' for name in pure})

    return build


def test_compiled(wheel):
    output, name, extensions = wheel(AMQP_REQUIRE_CYTHON='1')
    assert extensions == [f'amqp/early{SUFFIX}', f'amqp/late{SUFFIX}']
    assert not name.endswith('-any.whl')
    assert FALLBACK not in output


def test_nothing_is_left_among_the_sources(tree, wheel):
    before = set((tree / 'amqp').iterdir())
    wheel()
    assert set((tree / 'amqp').iterdir()) == before


def told(output):
    """Return the lines that tell of the fallback."""
    return [line for line in output.splitlines() if line.startswith('amqp: ')]


def test_a_failing_compiler(wheel):
    output, _, extensions = wheel(CC='false')
    assert extensions == []
    [line] = told(output)
    assert line.startswith(FALLBACK)
    assert 'false' in line


def test_a_missing_compiler(wheel):
    output, _, extensions = wheel(CC='no-such-compiler')
    assert extensions == []
    [line] = told(output)
    assert 'no-such-compiler' in line


def test_cython_refuses_one_of_two(tree, wheel):
    (tree / 'amqp' / 'late.pyx').write_text('def (')
    output, _, extensions = wheel()
    assert extensions == []
    [line] = told(output)
    assert line.startswith(f'{FALLBACK}Cython refused amqp.late')


def test_no_cython(tmp_path, wheel):
    (tmp_path / 'Cython').mkdir()
    (tmp_path / 'Cython' / '__init__.py').write_text('raise ImportError("none for you")')
    output, _, extensions = wheel(PYTHONPATH=str(tmp_path))
    assert extensions == []
    assert told(output) == [f'{FALLBACK}none for you']


@pytest.mark.parametrize('compiler', ['false', 'no-such-compiler'])
def test_a_failing_compiler_where_compiling_is_required(wheel, compiler):
    with pytest.raises(RuntimeError, match=compiler):
        wheel(CC=compiler, AMQP_REQUIRE_CYTHON='1')


def test_cython_refuses_where_compiling_is_required(tree, wheel):
    (tree / 'amqp' / 'late.pyx').write_text('def (')
    with pytest.raises(RuntimeError, match=r'Cython refused amqp\.late'):
        wheel(AMQP_REQUIRE_CYTHON='1')


def test_pure_on_demand(wheel):
    output, name, extensions = wheel(CC='false', AMQP_SKIP_CYTHON='1')
    assert extensions == []
    assert name.endswith('-py3-none-any.whl')
    assert told(output) == []


def test_what_is_compiled_has_a_twin():
    sources = ROOT / 'amqp'
    for path in [*sources.glob('*.pyx'), *sources.glob('*.pxd')]:
        assert path.with_suffix('.py').exists()
