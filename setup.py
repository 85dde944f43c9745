"""Build of amqp: pure Python, with a few modules compiled by Cython where a compiler works.

AMQP_SKIP_CYTHON=1     build pure
AMQP_REQUIRE_CYTHON=1  fail where compiling fails
(neither)              fall back to pure where compiling fails, and say so in one line

A module is compiled from the .pyx beside its .py, which is then its twin, or else from the .py
itself if a .pxd adds C types to it. Both builds install the .py files, so that tracebacks,
debuggers and ``import`` without the extension keep working.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

# PyPy's own compiler does better with the .py files than with extensions.
SKIP = os.environ.get('AMQP_SKIP_CYTHON') == '1' or sys.implementation.name != 'cpython'
REQUIRE = os.environ.get('AMQP_REQUIRE_CYTHON') == '1'

DIRECTIVES = {
    'language_level': 3,
    # Types come from the .pxd alone. Taken from annotations they would refuse subclasses that the
    # pure build accepts.
    'annotation_typing': False,
    # Nothing here relies on the GIL; without the mark a free-threaded interpreter turns it on.
    'freethreading_compatible': True,
}


class BuildExt(build_ext):
    """Compile all modules, or leave all of them pure: never a mixture."""

    def run(self) -> None:
        inplace = self.inplace
        try:
            super().run()
        except (BaseError, CCompilerError, CompileError, ImportError) as exc:
            if REQUIRE:
                raise
            self.inplace = inplace
            for ext in self.extensions:
                Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            self.extensions = []
            reason = ' '.join(str(exc).split())
            print(f'amqp: compiling failed, building pure Python: {reason}', file=sys.stderr)

    def build_extension(self, ext: Extension) -> None:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError as CythonError

        try:
            [compiled] = cythonize([ext], compiler_directives=DIRECTIVES, build_dir=self.build_temp)
        except CythonError as exc:
            raise BaseError(f'Cython refused {ext.name}: {exc}') from exc
        ext.sources = compiled.sources
        super().build_extension(ext)


def extensions() -> list[Extension]:
    if SKIP:
        return []
    package = Path('amqp')
    twins = {path.stem for path in package.glob('*.pyx')}
    typed = {path.stem for path in package.glob('*.pxd')}
    return [
        Extension(f'amqp.{name}', [f'amqp/{name}.{"pyx" if name in twins else "py"}'])
        for name in sorted(twins | typed)
    ]


setup(cmdclass={'build_ext': BuildExt}, ext_modules=extensions())
