"""The program: chooses, measures, tells how far it is, and writes what came out."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from t.benchmarks import profiling
from t.benchmarks.contestant import ROOT, Contestant
from t.benchmarks.contestants import BASELINE, CONTESTANTS
from t.benchmarks.environments import EnvironmentFailed, interpreter
from t.benchmarks.measure import STEADY, Bench, MeasurementFailed, Options
from t.benchmarks.peer import PeerProcess
from t.benchmarks.report import BROKER, PEER, Report, machine, significant
from t.benchmarks.worker import Job
from t.benchmarks.workloads import WORKLOADS, Workload

QUICK = Options(rounds=1, budget=0.1)
QUICK_CONTESTANTS = ('compiled', 'pure', BASELINE)
#: Rounds against a broker: its own part of the noise is large, and each has to fill queues.
BROKER_ROUNDS = 3


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.load:
        write(Report.load(args.load), args)
        return 0
    try:
        contestants, interpreters, notes = prepare(args)
        with PeerProcess() as peer:
            bench = Bench(interpreters, peer.port, options(args))
            if args.profile:
                profiling.profile(bench, WORKLOADS[args.profile], args.profiler)
                return 0
            bench.notes += notes
            report = measure(bench, args, contestants)
    except (EnvironmentFailed, MeasurementFailed) as exc:
        raise SystemExit(str(exc)) from exc
    write(report, args)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m t.benchmarks', description=__doc__)
    parser.add_argument(
        '--only', nargs='+', metavar='WORKLOAD', help='a key, or how keys begin: consume'
    )
    parser.add_argument(
        '--contestants', nargs='+', metavar='KEY', choices=CONTESTANTS, help=', '.join(CONTESTANTS)
    )
    parser.add_argument('--list', action='version', version='\n'.join(WORKLOADS))
    parser.add_argument('--quick', action='store_true', help='less than a minute, less exact')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--budget', type=float, help='seconds of CPU of each measurement')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='write the table')
    parser.add_argument('--chart', type=Path, metavar='FILE', help='draw the chart (.svg, .png)')
    parser.add_argument('--load', type=Path, metavar='FILE', help='measure nothing; from --json')
    parser.add_argument('--broker', metavar='URL', default=os.environ.get('AMQP_URL'))
    parser.add_argument('--profile', metavar='WORKLOAD', choices=WORKLOADS, help='of our own')
    parser.add_argument('--profiler', choices=('perf', 'cprofile'), help='default: what there is')
    parser.add_argument(
        '--environments', type=Path, default=ROOT, metavar='FOLDER', help='where they are kept'
    )
    parser.add_argument(
        '--use',
        action='append',
        default=[],
        metavar='KEY=PYTHON',
        help='an interpreter with the contestant in it, instead of an environment of its own',
    )
    return parser


def options(args: argparse.Namespace) -> Options:
    default = QUICK if args.quick else Options()
    return Options(args.rounds or default.rounds, args.budget or default.budget)


def prepare(
    args: argparse.Namespace,
) -> tuple[list[Contestant], dict[str, Path], list[str]]:
    """The contestants that can be had, their interpreters, and what to say of the others."""
    default = QUICK_CONTESTANTS if args.quick else tuple(CONTESTANTS)
    keys = args.contestants or default
    if args.profile:
        keys = args.contestants or default[:1]
    given = dict(each.split('=', 1) for each in args.use)
    interpreters, notes = {}, []
    for key in keys:
        say(f'installing {key}')
        try:
            interpreters[key] = (
                Path(given[key])
                if key in given
                else interpreter(CONTESTANTS[key], args.environments)
            )
        except EnvironmentFailed as exc:
            if key in QUICK_CONTESTANTS:
                raise
            notes.append(f'{CONTESTANTS[key].title} is left out: it could not be installed.')
            print(exc, file=sys.stderr)
    return [CONTESTANTS[key] for key in interpreters], interpreters, notes


def measure(bench: Bench, args: argparse.Namespace, contestants: list[Contestant]) -> Report:
    about: dict[str, Any] = {
        'date': time.strftime('%Y-%m-%d'),
        **machine(),
        'contestants': {
            each.key: bench.work(Job('describe', each.key, {})) for each in contestants
        },
        'rounds': bench.options.rounds,
        'budget': bench.options.budget,
        'notes': bench.notes,
    }
    report = Report(about)
    workloads = chosen(args.only)
    if shutil.which('strace') is None:
        bench.notes.append('There is no strace here: system calls were not counted.')
        workloads = [each for each in workloads if each.kind != 'calls']
    run(report, bench, PEER, workloads, contestants)
    if args.broker and not args.quick:
        bench.options = Options(min(BROKER_ROUNDS, bench.options.rounds), bench.options.budget)
        on_broker = [each for each in workloads if each.broker]
        run(report, bench, BROKER, on_broker, contestants, args.broker)
    say('')
    return report


def run(
    report: Report,
    bench: Bench,
    where: str,
    workloads: list[Workload],
    contestants: list[Contestant],
    broker: str | None = None,
) -> None:
    rounds = sum(1 if each.kind in STEADY else bench.options.rounds for each in workloads)
    total, done = rounds * len(contestants), 0
    for workload, contestant, number, result in bench.rounds(workloads, contestants, broker):
        done += 1
        told = 'not there' if result is None else significant(result['figure'])
        say(f'{where} {done}/{total} {workload.key} {contestant.key} #{number + 1}: {told}')
        if result is not None:
            report.add(where, workload.key, contestant.key, number, result)


def chosen(prefixes: Iterable[str] | None) -> list[Workload]:
    if not prefixes:
        return list(WORKLOADS.values())
    found = [
        workload
        for key, workload in WORKLOADS.items()
        if any(key.startswith(prefix) for prefix in prefixes)
    ]
    if not found:
        raise SystemExit(f'no such workload; there are {", ".join(WORKLOADS)}')
    return found


def write(report: Report, args: argparse.Namespace) -> None:
    if args.json:
        report.save(args.json)
    text = report.markdown()
    if args.markdown:
        args.markdown.write_text(text)
    if args.chart:
        from t.benchmarks.chart import draw

        draw(report, args.chart)
    print(text)


def say(text: str) -> None:
    """The line that tells how far it is: one that is written over, on a terminal."""
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main())
