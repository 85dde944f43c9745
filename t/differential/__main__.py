"""Run the comparison: see the package's docstring."""

# ruff: noqa: T201 (a program, and this is its output)
from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from t.differential.assembly import Assembly
from t.differential.build import Builds
from t.differential.outgoing import Outgoing
from t.differential.run import Target, run
from t.differential.tables import Tables

TARGETS: tuple[type[Target], ...] = (Tables, Assembly, Outgoing)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m t.differential')
    parser.add_argument('--count', type=int, default=100_000, help='cases for each module')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--module', choices=[target.module for target in TARGETS])
    args = parser.parse_args(argv)
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        builds = Builds(Path(directory))
        try:
            for target in TARGETS:
                if args.module in (None, target.module):
                    failed |= report(target(), builds, args.count, args.seed)
        finally:
            builds.close()
    return 1 if failed else 0


def report(target: Target, builds: Builds, count: int, seed: int) -> bool:
    """Run one target, print what came of it, and return whether it failed."""
    finding = run(target, builds, count, seed)
    if finding is None:
        print(f'{target.module}: {count} cases with seed {seed}, no difference')
        return False
    print(f'{target.module}, seed {seed}: {finding.case!r}')
    print(f'  pure:     {finding.pure}')
    print(f'  compiled: {finding.compiled}')
    return True


if __name__ == '__main__':
    sys.exit(main())
