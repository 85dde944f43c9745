"""Rounds of measurements, each in a process of its own, the contestants by turns."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from t.benchmarks.contestant import Contestant, Target
from t.benchmarks.contestants import CONTESTANTS
from t.benchmarks.peer import QUEUE
from t.benchmarks.worker import Job
from t.benchmarks.workloads import Workload

WORKER = Path(__file__).with_name('worker.py')
#: Seconds that one measurement may take.
PATIENCE = 60
#: What a broker may send ahead of acknowledgements.
PREFETCH = 500
#: Imports in one measurement.
IMPORTS = 5
#: Kinds that come out the same every time: once is enough.
STEADY = ('calls', 'peak', 'channels', 'connections')

Result = dict[str, Any]


class MeasurementFailed(Exception):
    """A worker ended with an error, or not in time."""


@dataclass(frozen=True)
class Options:
    rounds: int = 5
    #: Seconds of CPU of each measurement.
    budget: float = 0.3


class Bench:
    """Measures workloads, with an interpreter for each contestant, on the peer or on a broker."""

    def __init__(
        self,
        interpreters: dict[str, Path],
        options: Options,
        port: int = 0,
        broker: str | None = None,
    ) -> None:
        self.interpreters = interpreters
        self.options = options
        self.port = port
        self.broker = broker
        #: What to say beside the figures.
        self.notes: list[str] = []

    # -- rounds

    def rounds(
        self, workloads: Iterable[Workload], contestants: Iterable[Contestant]
    ) -> Iterator[tuple[Workload, Contestant, int, Result | None]]:
        """Each figure as it comes; None where the contestant can't do it."""
        contestants = list(contestants)
        for workload in workloads:
            missing: set[str] = set()
            for number in range(1 if workload.kind in STEADY else self.options.rounds):
                for contestant in contestants:
                    if contestant.key in missing:
                        continue
                    result = self.try_to_measure(workload, contestant)
                    if result is None:
                        missing.add(contestant.key)
                    yield workload, contestant, number, result

    def try_to_measure(self, workload: Workload, contestant: Contestant) -> Result | None:
        """As `measure`; what another client cannot do is noted, and no reason to give up."""
        try:
            return self.measure(workload, contestant)
        except MeasurementFailed as exc:
            if contestant.is_own:
                raise
            self.notes.append(f'{contestant.title} fails at: {workload.title}.')
            print(f'\n{exc}', file=sys.stderr)
            return None

    def measure(self, workload: Workload, contestant: Contestant) -> Result | None:
        """One measurement: `figure` in the unit of the kind, less is better; and what it's from."""
        if self.broker:
            return self._on_broker(workload, contestant, self.broker)
        measure: Callable[[Workload, Contestant], Result | None] = getattr(
            self, f'_{workload.kind}', self._plain
        )
        return measure(workload, contestant)

    # -- kinds

    def _plain(self, workload: Workload, contestant: Contestant) -> Result | None:
        return self.work(self.job(workload, contestant, kind=workload.kind, count=workload.count))

    def _cpu(self, workload: Workload, contestant: Contestant) -> Result | None:
        job = self.job(workload, contestant, kind='cpu', budget=self.options.budget)
        return per_message(self.work(job))

    def _calls(self, workload: Workload, contestant: Contestant) -> Result | None:
        """System calls of each further message: the difference of two runs."""
        strace = shutil.which('strace')
        if strace is None:
            return None
        few, many = workload.count // 10, workload.count // 10 + workload.count
        totals = []
        for count in (few, many):
            job = self.job(workload, contestant, kind='fixed', count=count)
            with tempfile.NamedTemporaryFile('r') as summary:
                if self.work(job, [strace, '-f', '-c', '-o', summary.name]) is None:
                    return None
                totals.append(system_calls(summary.read()))
        names = totals[1]
        each = {name: (names[name] - totals[0].get(name, 0)) / (many - few) for name in names}
        return {
            'figure': sum(each.values()),
            'calls': {name: each[name] for name in each if each[name] > 0},
        }

    def _import(self, workload: Workload, contestant: Contestant) -> Result | None:
        """Milliseconds of CPU of importing the client, without the interpreter's own start."""
        python = self.interpreters[contestant.key]
        bare, loaded = [], []
        for _ in range(IMPORTS):
            bare.append(cpu_of([str(python), '-I', '-c', 'pass']))
            loaded.append(cpu_of([str(python), '-I', '-c', f'import {contestant.module}']))
        return {'figure': (statistics.median(loaded) - statistics.median(bare)) * 1e3}

    def _on_broker(self, workload: Workload, contestant: Contestant, url: str) -> Result | None:
        consumes = workload.task in ('consume', 'consume_batch', 'get')
        acks = workload.arguments.get('ack') or workload.task == 'consume_batch'
        place = Target(
            port=urlsplit(url).port or 5672,
            virtual_host='/',
            queue=QUEUE if consumes or workload.task == 'declare' else f'{QUEUE}-nowhere',
            prefetch=PREFETCH if acks else 0,
        )
        job = self.job(workload, contestant, kind='cpu', count=workload.count, target=asdict(place))
        if place.queue == QUEUE:
            self._fill(job, workload, workload.count * 2 if consumes else 1)
        return per_message(self.work(job))

    def _fill(self, job: Job, workload: Workload, count: int) -> None:
        filler = next(key for key in self.interpreters if hasattr(CONTESTANTS[key], 'fill'))
        assert workload.script is not None
        sample = workload.sample or workload.script.sample
        self.work(Job('fill', filler, job.target, sample=sample, count=count))

    # -- workers

    def job(self, workload: Workload, contestant: Contestant, **more: Any) -> Job:
        target = {}
        if workload.script is not None:
            target = asdict(Target(self.port, workload.script.encode()))
        return Job(
            **{
                'contestant': contestant.key,
                'target': target,
                'task': workload.task,
                'arguments': dict(workload.arguments),
                'sample': workload.sample,
                **more,
            }
        )

    def work(self, job: Job, wrapper: Iterable[str] = (), *flags: str) -> Result | None:
        """What a worker says; None where the contestant has no such thing."""
        status, output = call(self.command(job, wrapper, *flags))
        if status:
            raise MeasurementFailed(f'status {status}: {job}')
        result: Result = json.loads(output)
        return None if result.get('unsupported') else result

    def command(self, job: Job, wrapper: Iterable[str] = (), *flags: str) -> list[str]:
        python = self.interpreters[job.contestant]
        return [*wrapper, str(python), str(WORKER), job.encode(), *flags]


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this process and those that it starts on one CPU.

    Client and peer take turns there. On two CPUs each of them, going to sleep and being woken, pays
    for messages between the CPUs, which on a virtual machine cost more than a client does.
    """
    if not hasattr(os, 'sched_setaffinity'):
        yield
        return
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {random.choice(sorted(all_of_them))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def call(command: list[str]) -> tuple[int, str]:
    """Status and output of a program. It and its children end with this call."""
    with subprocess.Popen(
        command,
        cwd=tempfile.gettempdir(),
        env=environ(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=PATIENCE)
        except BaseException as exc:
            # All of them: strace has started the worker.
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(exc, subprocess.TimeoutExpired):
                raise MeasurementFailed(f'not done within {PATIENCE} s: {command}') from exc
            raise
    return child.returncode, output


def per_message(result: Result | None) -> Result | None:
    """With microseconds of CPU of each message, and messages a second of real time."""
    if result is None:
        return None
    runs = result['runs']
    return {
        **result,
        'figure': statistics.median(run['cpu'] / run['count'] for run in runs) * 1e6,
        'rate': statistics.median(run['count'] / run['wall'] for run in runs),
    }


def environ() -> dict[str, str]:
    """Of a worker: nothing of this one's that changes what Python finds or does."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith('PYTHON')}
    return {**kept, 'PYTHONSAFEPATH': '1', 'PYTHONHASHSEED': '0'}


def system_calls(summary: str) -> dict[str, int]:
    """Calls by name, from what `strace -c` writes."""
    calls = {}
    for line in summary.splitlines():
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != 'total':
            calls[words[-1]] = int(words[3])
    return calls


def cpu_of(command: list[str]) -> float:
    """Seconds of CPU of a program, from its start to its end."""
    child = subprocess.Popen(command, cwd=tempfile.gettempdir(), env=environ())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise MeasurementFailed(f'status {child.returncode}: {command}')
    return usage.ru_utime + usage.ru_stime
