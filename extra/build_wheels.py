"""Build the sdist and wheels as they are published, and look into them.

    python extra/build_wheels.py [DIRECTORY] [--python PYTHON]...

The sdist comes first, and everything else from it: a compiled wheel for each Python (by default all
from 3.10 on that are found), and one pure wheel. Each is then installed in an environment of its
own and imported. They are left in DIRECTORY (by default ``dist``). Compiling must succeed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 10)

DESCRIBE = (
    'import sys, sysconfig; '
    'print(*sys.version_info[:2], sys.implementation.name, sysconfig.get_config_var("EXT_SUFFIX"))'
)


class Interpreter:
    """A Python, and an environment of it that has ``build``."""

    def __init__(self, python: str) -> None:
        out = subprocess.run(
            [python, '-c', DESCRIBE], check=True, capture_output=True, text=True
        ).stdout
        major, minor, self.name, self.suffix = out.split()
        self.python = python
        self.version = int(major), int(minor)

    def __str__(self) -> str:
        return f'{self.name} {self.version[0]}.{self.version[1]}'

    def environment(self, directory: Path, *packages: str | Path) -> str:
        """Make a virtual environment with *packages*; return its Python."""
        run(self.python, '-m', 'venv', directory)
        python = str(directory / ('Scripts' if os.name == 'nt' else 'bin') / 'python')
        run(python, '-m', 'pip', '-qq', '--disable-pip-version-check', 'install', *packages)
        return python


def run(*command: str | Path, **environ: str) -> None:
    """Run a command and end with its output if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f'{done.stdout}\nfailed: {" ".join(map(str, command))}')


def interpreters() -> list[Interpreter]:
    """Find Pythons: pyenv's, and python3.N of the PATH; one of each version."""
    pyenv = Path(os.environ.get('PYENV_ROOT', '~/.pyenv')).expanduser()
    candidates = [sys.executable, *map(str, sorted(pyenv.glob('versions/*/bin/python')))]
    candidates += [shutil.which(f'python3.{minor}') or '' for minor in range(OLDEST[1], 30)]
    found: dict[tuple[str, str], Interpreter] = {}
    for candidate in filter(None, candidates):
        try:
            interpreter = Interpreter(candidate)
        except (OSError, ValueError, subprocess.CalledProcessError):
            continue  # a shim of a Python that isn't there, or one that is too old to answer
        if interpreter.version >= OLDEST:
            found.setdefault((interpreter.name, interpreter.suffix), interpreter)
    return sorted(found.values(), key=lambda each: (each.name, each.version))


def check_sdist(path: Path) -> None:
    """An sdist has all sources, and nothing that was made of them."""
    with tarfile.open(path) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    wanted = {'setup.py', 'pyproject.toml', 'README.rst', 'LICENSE', 'Makefile', 'tox.ini'}
    wanted |= {f'amqp/{source.name}' for source in sources('.py', '.pxd', '.pyx', '.typed')}
    wanted |= {'t/conftest.py', 'docs/index.rst', 'requirements/test.txt'}
    check(path, wanted - names, 'lacks')
    made = ('.c', '.so', '.pyd', '.pyc', '.o')
    check(path, {name for name in names if name.endswith(made)}, 'has')


def check_wheel(path: Path, suffix: str | None) -> None:
    """A wheel has the package, its types and, with *suffix*, its extensions; nothing else."""
    modules = {source.stem for source in sources('.pxd', '.pyx')} if suffix else set()
    wanted = {f'amqp/{source.name}' for source in sources('.py', '.typed')}
    wanted |= {f'amqp/{module}{suffix}' for module in modules}
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith('.dist-info/WHEEL')]
        pure = 'Root-Is-Purelib: true' in archive.read(metadata).decode()
    found = {name for name in names if '.dist-info/' not in name}
    check(path, wanted - found, 'lacks')
    check(path, found - wanted, 'has')
    if pure != path.name.endswith('-py3-none-any.whl') or pure != (suffix is None):
        sys.exit(f'{path.name} is {"pure" if pure else "not pure"}')


def sources(*suffixes: str) -> list[Path]:
    return [path for path in ROOT.glob('amqp/*') if path.name.endswith(suffixes)]


def check(path: Path, names: set[str], verb: str) -> None:
    if names:
        sys.exit(f'{path.name} {verb} {", ".join(sorted(names))}')


def only(directory: Path, pattern: str) -> Path:
    [path] = directory.glob(pattern)
    return path


def try_it(interpreter: Interpreter, wheel: Path, expected: str, work: Path) -> None:
    """Install a wheel and import it; an installation from a file is not built again."""
    python = interpreter.environment(work, wheel)
    run(python, '-I', '-c', f'import amqp; assert amqp.speedups == {expected!r}, amqp.speedups')


def sizes(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        extensions = [
            info for info in archive.infolist() if info.filename.endswith(('.so', '.pyd'))
        ]
    return ', '.join(
        f'{Path(each.filename).name} {each.file_size // 1024} KiB' for each in extensions
    )


def build(pythons: list[Interpreter], output: Path, work: Path) -> None:
    """Build and check everything."""
    builders = [
        each.environment(work / f'build-{number}', 'build') for number, each in enumerate(pythons)
    ]
    made = work / 'sdist'
    run(builders[0], '-m', 'build', '--sdist', '--outdir', made, ROOT)
    sdist = only(made, '*.tar.gz')
    check_sdist(sdist)
    print(sdist.name)
    shutil.copy(sdist, output)
    with tarfile.open(sdist) as archive:
        archive.extractall(work, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    tree = work / sdist.name.removesuffix('.tar.gz')
    jobs = [
        (each, builder, 'compiled')
        for each, builder in zip(pythons, builders, strict=True)
        if each.name == 'cpython'
    ]
    jobs.append((pythons[0], builders[0], 'pure'))
    for number, (interpreter, builder, kind) in enumerate(jobs):
        made = work / f'wheel-{number}'
        variable = 'AMQP_REQUIRE_CYTHON' if kind == 'compiled' else 'AMQP_SKIP_CYTHON'
        run(builder, '-m', 'build', '--wheel', '--outdir', made, tree, **{variable: '1'})
        wheel = only(made, '*.whl')
        check_wheel(wheel, interpreter.suffix if kind == 'compiled' else None)
        for tester in [interpreter] if kind == 'compiled' else pythons:
            try_it(tester, wheel, kind, work / f'try-{number}-{tester}')
        shutil.copy(wheel, output)
        print(wheel.name, sizes(wheel), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('directory', nargs='?', type=Path, default=ROOT / 'dist')
    parser.add_argument('--python', action='append', default=[], help='instead of all found')
    options = parser.parse_args()
    pythons = [Interpreter(each) for each in options.python] or interpreters()
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        build(pythons, options.directory, Path(work))


if __name__ == '__main__':
    main()
