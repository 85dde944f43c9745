"""Where our own time goes: perf where there is one, which sees into compiled code, or cProfile."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from t.benchmarks.measure import Bench, environ
from t.benchmarks.workloads import Workload

#: Lines of the profile that are shown.
LINES = 60
#: Times the workload's count: enough for a few thousand samples.
FACTOR = 20


def profile(bench: Bench, workload: Workload, profiler: str | None = None) -> None:
    """Print a profile of a workload for each contestant that `bench` has."""
    profiler = profiler or ('perf' if shutil.which('perf') else 'cprofile')
    with tempfile.TemporaryDirectory() as folder:
        for key in bench.interpreters:
            print(f'== {workload.title}: {key}, by {profiler}', flush=True)
            {'perf': _perf, 'cprofile': _cprofile}[profiler](bench, workload, key, Path(folder))


def _perf(bench: Bench, workload: Workload, key: str, folder: Path) -> None:
    data = str(folder / 'perf.data')
    _run(bench, workload, key, ['perf', 'record', '-q', '-F', '2999', '-o', data, '--'])
    report = ['perf', 'report', '-i', data, '--stdio', '--sort', 'dso,symbol']
    shown = subprocess.run(report, capture_output=True, text=True, check=False).stdout
    lines = [line for line in shown.splitlines() if line and not line.startswith('#')]
    print('\n'.join(lines[:LINES]))


def _cprofile(bench: Bench, workload: Workload, key: str, folder: Path) -> None:
    stats = str(folder / 'cprofile')
    _run(bench, workload, key, [], ['-m', 'cProfile', '-o', stats])
    show = f'import pstats; pstats.Stats({stats!r}).sort_stats("tottime").print_stats({LINES})'
    subprocess.run([str(bench.interpreters[key]), '-c', show], check=False)


def _run(
    bench: Bench, workload: Workload, key: str, wrapper: list[str], flags: list[str] | None = None
) -> None:
    from t.benchmarks.contestants import CONTESTANTS

    job = bench.job(workload, CONTESTANTS[key], kind='fixed', count=workload.count * FACTOR)
    python, *rest = bench.command(job)
    command = [*wrapper, python, *(flags or []), *rest, '--profile']
    subprocess.run(command, cwd=tempfile.gettempdir(), env=environ(), check=True, timeout=300)
