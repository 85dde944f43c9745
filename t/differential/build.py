"""Two copies of the package, importable beside each other and beside the installed one."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'amqp'

# As in setup.py, whose directives are taken too.
SETUP = """\
from Cython.Build import cythonize
from setuptools import Extension, setup

sources = {sources!r}
setup(name='amqp_compiled', script_args=['-q', 'build_ext', '--inplace'], ext_modules=cythonize(
    [Extension('amqp_compiled.' + name, [path]) for name, path in sources.items()],
    compiler_directives={directives!r},
    quiet=True,
))
"""


def compiler_directives() -> dict[str, Any]:
    """Those of setup.py, which can't be imported without running."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == 'DIRECTIVES':
            found: dict[str, Any] = ast.literal_eval(statement.value)
            return found
    raise LookupError('setup.py has no DIRECTIVES')


def sources() -> dict[str, str]:
    """Module -> what it is compiled from."""
    found = {path.stem: f'amqp_compiled/{path.stem}.py' for path in PACKAGE.glob('*.pxd')}
    found |= {path.stem: f'amqp_compiled/{path.name}' for path in PACKAGE.glob('*.pyx')}
    return found


class Builds:
    """The copies `amqp_pure` and `amqp_compiled` in `directory`, compiled at the first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ('amqp_pure', 'amqp_compiled'):
            self._copy(directory / name)
        (directory / 'setup.py').write_text(
            SETUP.format(sources=sources(), directives=compiler_directives())
        )
        subprocess.run([sys.executable, 'setup.py'], cwd=directory, check=True)
        sys.path.insert(0, str(directory))
        importlib.invalidate_caches()

    @staticmethod
    def _copy(to: Path) -> None:
        to.mkdir()
        for pattern in ('*.py', '*.pxd', '*.pyx'):
            for path in PACKAGE.glob(pattern):
                shutil.copy(path, to)
        # Without what the package imports at its top: a module is loaded alone.
        (to / '__init__.py').write_text('')
        for path in [*to.glob('*.pxd'), *to.glob('*.pyx')]:
            path.write_text(path.read_text().replace('from amqp.', f'from {to.name}.'))

    def load(self, module: str) -> tuple[ModuleType, ModuleType]:
        """Return `module` as pure and as compiled."""
        pure = importlib.import_module(f'amqp_pure.{module}')
        compiled = importlib.import_module(f'amqp_compiled.{module}')
        for loaded, suffixes in ((pure, {'.py'}), (compiled, {'.so', '.pyd'})):
            if Path(str(loaded.__file__)).suffix not in suffixes:
                raise RuntimeError(f'{loaded.__name__} is {loaded.__file__}')
        return pure, compiled

    def close(self) -> None:
        """Forget both copies."""
        sys.path.remove(str(self.directory))
        for name in [*sys.modules]:
            if name.partition('.')[0] in ('amqp_pure', 'amqp_compiled'):
                del sys.modules[name]
