"""Build of amqp: pure Python, with a few modules compiled by Cython where a compiler works.

AMQP_SKIP_CYTHON=1     build pure
AMQP_REQUIRE_CYTHON=1  fail where compiling fails
(neither)              fall back to pure where compiling fails, and say so in one line

The .py file is the only source of a module; the .pxd beside it adds C types. Both builds install
the .py files, so that tracebacks, debuggers and ``import`` without the extension keep working.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

SKIP = os.environ.get('AMQP_SKIP_CYTHON') == '1'
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
    typed = sorted(path.stem for path in Path('amqp').glob('*.pxd'))
    return [Extension(f'amqp.{name}', [f'amqp/{name}.py']) for name in typed]


setup(cmdclass={'build_ext': BuildExt}, ext_modules=extensions())
