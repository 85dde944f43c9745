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
from t.benchmarks.contestant import ROOT
from t.benchmarks.contestants import BASELINE, CONTESTANTS
from t.benchmarks.environments import EnvironmentFailed, interpreter
from t.benchmarks.measure import STEADY, Bench, MeasurementFailed, Options, one_cpu
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
        interpreters, notes = prepare(args)
        if args.profile:
            with one_cpu(), PeerProcess() as peer:
                bench = Bench(interpreters, options(args), peer.port)
                profiling.profile(bench, WORKLOADS[args.profile], args.profiler)
            return 0
        report = measure(interpreters, args, notes)
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
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='write the tables')
    parser.add_argument('--rst', type=Path, metavar='FILE', help='the same for the documentation')
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


def prepare(args: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """Interpreters of the contestants that can be had, and what to say of the others."""
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
    return interpreters, notes


def measure(interpreters: dict[str, Path], args: argparse.Namespace, notes: list[str]) -> Report:
    workloads = chosen(args.only)
    if shutil.which('strace') is None:
        notes.append('There is no strace here: system calls were not counted.')
        workloads = [each for each in workloads if each.kind != 'calls']
    chosen_options = options(args)
    with one_cpu(), PeerProcess() as peer:
        bench = Bench(interpreters, chosen_options, peer.port)
        report = Report({**about(bench), 'notes': notes})
        run(report, bench, PEER, workloads)
        notes += bench.notes
    if args.broker and not args.quick:
        rounds = min(BROKER_ROUNDS, chosen_options.rounds)
        bench = Bench(interpreters, Options(rounds), broker=args.broker)
        run(report, bench, BROKER, [each for each in workloads if each.broker])
        notes += bench.notes
    say('')
    return report


def about(bench: Bench) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        'date': time.strftime('%Y-%m-%d'),
        **machine(),
        'rounds': bench.options.rounds,
        'budget': bench.options.budget,
        'contestants': {key: bench.work(Job('describe', key, {})) for key in bench.interpreters},
    }


def run(report: Report, bench: Bench, where: str, workloads: list[Workload]) -> None:
    contestants = [CONTESTANTS[key] for key in bench.interpreters]
    rounds = sum(1 if each.kind in STEADY else bench.options.rounds for each in workloads)
    total, done = rounds * len(contestants), 0
    for workload, contestant, number, result in bench.rounds(workloads, contestants):
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
        args.markdown.write_text(text, encoding='utf-8')
    if args.rst:
        args.rst.write_text(report.rst(), encoding='utf-8')
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
