"""One measurement, in a process of its own and in a contestant's environment.

    python worker.py JOB

JOB is a `Job` as JSON; the result is printed as JSON. It's run by its path, so that the project's
folder comes last in the search: `amqp` is what the environment has installed.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __name__ == '__main__':
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from t.benchmarks.contestant import Contestant, Run, Target, UnsupportedError
from t.benchmarks.contestants import CONTESTANTS
from t.benchmarks.samples import SAMPLES

#: Runs of a measurement: what disturbs one of them doesn't count.
RUNS = 5


@dataclass(frozen=True)
class Job:
    """What to measure. `kind` is the name of a function here."""

    kind: str
    contestant: str
    target: dict[str, Any]
    task: str = ''
    arguments: dict[str, Any] = field(default_factory=dict)
    sample: str = ''
    #: Of messages; where it's 0, as many as take `budget` seconds of CPU.
    count: int = 0
    budget: float = 0.3

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @property
    def client(self) -> Contestant:
        return CONTESTANTS[self.contestant]

    @property
    def place(self) -> Target:
        return Target(**self.target)

    def prepare(self) -> Run:
        """Set the task up."""
        arguments = dict(self.arguments)
        if self.sample:
            arguments['sample'] = SAMPLES[self.sample]
        if self.target:
            arguments['target'] = self.place
        run: Run = getattr(self.client, self.task)(**arguments)
        return run


def describe(job: Job) -> dict[str, Any]:
    return job.client.describe()


def cpu(job: Job) -> dict[str, Any]:
    """Runs of a number of messages: CPU time of all threads, the user's and the kernel's part."""
    run = job.prepare()
    if job.count:
        run(max(1, job.count // 10))
        count = job.count // RUNS
    else:
        count = calibrate(run, job.budget / RUNS)
    gc.collect()
    return {'runs': [timed(run, count) for _ in range(RUNS)]}


def timed(run: Run, count: int) -> dict[str, float]:
    wall, spent = time.perf_counter(), time.process_time()
    done = run(count)
    spent, wall = time.process_time() - spent, time.perf_counter() - wall
    return {'count': done, 'cpu': spent, 'wall': wall}


def calibrate(run: Run, budget: float) -> int:
    """How many messages take `budget` seconds of CPU. Warms up as well."""
    count = 16
    while True:
        start = time.process_time()
        done = run(count)
        spent = time.process_time() - start
        if spent >= budget / 2:
            return max(1, int(done * budget / spent))
        count *= 4


def fixed(job: Job) -> dict[str, Any]:
    """So many messages and nothing else: for strace and for profilers."""
    return {'count': job.prepare()(job.count)}


def fill(job: Job) -> dict[str, Any]:
    """Leave so many messages in the queue."""
    job.client.fill(job.place, SAMPLES[job.sample], job.count)
    return {'count': job.count}


def peak(job: Job) -> dict[str, Any]:
    """MiB that one message takes above what there was before, at the worst moment."""
    run = job.prepare()
    gc.collect()
    Path('/proc/self/clear_refs').write_text('5')
    before = memory('VmRSS')
    run(1)
    return {'figure': (memory('VmHWM') - before) / 1024}


def channels(job: Job) -> dict[str, Any]:
    """KiB of resident memory of each channel that does nothing."""
    connection = job.client.connect(job.place)
    return {'figure': each(lambda: job.client.channel(connection), job.count)}


def connections(job: Job) -> dict[str, Any]:
    """KiB of resident memory of each connection that does nothing."""
    return {'figure': each(lambda: job.client.connect(job.place), job.count)}


def each(make: Any, count: int) -> float:
    """What many of a thing take; the first few have paid for what they share."""
    kept = [make() for _ in range(10)]
    gc.collect()
    before = memory('VmRSS')
    kept += [make() for _ in range(count)]
    gc.collect()
    return (memory('VmRSS') - before) / count


def memory(name: str) -> int:
    """A line of /proc/self/status in KiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    raise LookupError(name)


KINDS = {
    function.__name__: function
    for function in (describe, cpu, fixed, fill, peak, channels, connections)
}


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    try:
        result = KINDS[job.kind](job)
    except UnsupportedError:
        result = {'unsupported': True}
    except Exception as exc:
        if job.client.is_own:
            raise
        # What the others look like inside is nothing that we show.
        raise SystemExit(f'{type(exc).__name__}: {exc}') from None
    print(json.dumps(result), flush=True)
    if '--profile' not in sys.argv:
        # Nobody needs a farewell: the peer might not even read it.
        os._exit(0)


if __name__ == '__main__':
    main()
