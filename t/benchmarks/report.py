"""From the figures of all rounds to tables with the goals beside them.

A figure is the median of the rounds. A ratio is the median of each round's ratio: what the machine
did besides in that round weighs on both.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from t.benchmarks.contestants import BASELINE, CONTESTANTS
from t.benchmarks.floor import Floor
from t.benchmarks.workloads import WORKLOADS, Goal, Workload

COMPILED, PURE, FLOOR = 'compiled', 'pure', Floor.key
UNITS = {
    'cpu': 'µs',
    'calls': '',
    'peak': 'MiB',
    'channels': 'KiB',
    'connections': 'KiB',
    'import': 'ms',
}
#: Kinds of which the ratio is told; of the others, the figure.
COMPARED = ('cpu', 'import')
PEER, BROKER = 'peer', 'broker'
TITLES = {PEER: 'Against the scripted peer', BROKER: 'Against RabbitMQ'}
SHORT = ' ✗'
NOTHING = '–'

Row = list[str]
#: What is said above it, its head and its lines.
Table = tuple[str, Row, list[Row]]


class Report:
    """What was measured, on which machine; may be saved and loaded."""

    def __init__(self, about: dict[str, Any], results: Iterable[dict[str, Any]] = ()) -> None:
        self.about = about
        self.results = list(results)

    @classmethod
    def load(cls, path: Path) -> Report:
        data = json.loads(path.read_text(encoding='utf-8'))
        return cls(data['about'], data['results'])

    def save(self, path: Path) -> None:
        about = json.dumps(self.about, indent=1, ensure_ascii=False)
        results = ',\n'.join(json.dumps(result, ensure_ascii=False) for result in self.results)
        path.write_text(f'{{"about": {about},\n"results": [\n{results}\n]}}\n', encoding='utf-8')

    def add(self, where: str, workload: str, contestant: str, number: int, result: Any) -> None:
        place = {'where': where, 'workload': workload, 'contestant': contestant, 'round': number}
        self.results.append(shortened({**place, **result}))

    # -- figures

    def rounds(
        self, workload: str, contestant: str, where: str = PEER, name: str = 'figure'
    ) -> list[float]:
        return [
            result[name]
            for result in self.results
            if (result['where'], result['workload'], result['contestant'])
            == (where, workload, contestant)
            and name in result
        ]

    def figure(
        self, workload: str, contestant: str, where: str = PEER, name: str = 'figure'
    ) -> float | None:
        rounds = self.rounds(workload, contestant, where, name)
        return statistics.median(rounds) if rounds else None

    def ratio(self, workload: Workload, contestant: str, where: str = PEER) -> float | None:
        """How many times less it takes than py-amqp."""
        mine = self.rounds(workload.key, contestant, where)
        other = self.rounds(workload.baseline or workload.key, BASELINE, where)
        pairs = [theirs / own for own, theirs in zip(mine, other, strict=False) if own > 0]
        return statistics.median(pairs) if pairs else None

    def falls_short(self, workload: Workload, contestant: str, where: str = PEER) -> bool:
        """Whether there is a goal for this contestant, and it's missed."""
        goal = goal_of(workload, contestant)
        if goal is None:
            return False
        reached = (
            self.ratio(workload, contestant, where)
            if goal.is_ratio
            else self.figure(workload.key, contestant, where)
        )
        return reached is not None and not goal.met(reached)

    # -- the tables

    def contestants(self, where: str = PEER) -> list[str]:
        seen = {result['contestant'] for result in self.results if result['where'] == where}
        return [key for key in CONTESTANTS if key in seen]

    def workloads(self, where: str = PEER) -> list[Workload]:
        seen = {result['workload'] for result in self.results if result['where'] == where}
        return [workload for key, workload in WORKLOADS.items() if key in seen]

    def markdown(self) -> str:
        return self._text(markdown_heading, markdown_table)

    def rst(self) -> str:
        """The same for the documentation, with names for single figures: |compiled ack-1k|."""
        names = '\n'.join(self._names())
        return f'{self._text(rst_heading, rst_table)}\n{names}\n'

    def _names(self) -> Iterator[str]:
        for where, suffix in ((PEER, ''), (BROKER, ', RabbitMQ')):
            for workload in self.workloads(where):
                for key in self.contestants(where):
                    for name, text in self._told(workload, key, where):
                        yield f'.. |{key} {workload.key}{suffix}{name}| replace:: {text}'

    def _told(self, workload: Workload, contestant: str, where: str) -> Iterator[tuple[str, str]]:
        """What there is to say of it, each with the end of its name."""
        if self.figure(workload.key, contestant, where) is None:
            return
        yield '', self._amount(workload, contestant, where)
        if workload.kind in COMPARED and self.ratio(workload, contestant, where) is not None:
            yield ', ratio', self._reached(workload, contestant, where).removesuffix(SHORT)

    def _text(self, heading: Callable[[str], str], table: Callable[[Row, list[Row]], str]) -> str:
        parts = [self._heading()]
        for where in (PEER, BROKER):
            if self.workloads(where):
                parts.append(heading(TITLES[where]))
                for said, head, lines in self._tables(where):
                    parts += [said, table(head, lines)]
        return '\n\n'.join(parts) + '\n'

    def _tables(self, where: str) -> Iterator[Table]:
        yield self._comparison(where)
        if where == PEER:
            yield from self._shortfalls()
        yield self._amounts(where)

    def _heading(self) -> str:
        about = self.about
        clients = ', '.join(
            f'{CONTESTANTS[key].title} ({each["version"]}, {each["build"]})'
            for key, each in about['contestants'].items()
        )
        notes = ''.join(f'\n\n{note}' for note in about.get('notes', ()))
        return (
            f'{about["date"]}: {about["cpu"]}, {about["cores"]} cores, {about["system"]}, '
            f'{about["python"]}. {clients}. Medians of {about["rounds"]} rounds.{notes}'
        )

    def _comparison(self, where: str) -> Table:
        """The goals, and what each contestant reaches of them."""
        keys = self.contestants(where)
        titles = [CONTESTANTS[key].title for key in keys]
        goals = ['goal'] if where == PEER else []
        table = [
            [
                workload.title,
                *([self._goals(workload)] if goals else []),
                *(self._reached(workload, key, where) for key in keys),
            ]
            for workload in self.workloads(where)
        ]
        said = f'Nx: so many times less than {CONTESTANTS[BASELINE].title}, by CPU time.'
        if goals:
            said += f' {SHORT.strip()}: short of the goal.'
        return said, ['workload', *goals, *titles], table

    def _shortfalls(self) -> Iterator[Table]:
        """The goals that are missed, beside what a socket alone reaches."""
        lines = [
            [
                f'{workload.title}, {key}',
                str(goal_of(workload, key)),
                self._reached(workload, key, PEER),
                self._reached(workload, FLOOR, PEER),
            ]
            for workload in self.workloads()
            for key in (COMPILED, PURE)
            if self.falls_short(workload, key)
        ]
        if lines:
            yield (
                'What falls short:',
                ['workload', 'goal', 'reached', CONTESTANTS[FLOOR].title],
                lines,
            )

    def _amounts(self, where: str) -> Table:
        """CPU time of a message, and messages a second of real time."""
        keys = self.contestants(where)
        table = [
            [workload.title, *(self._amount_and_rate(workload, key, where) for key in keys)]
            for workload in self.workloads(where)
            if workload.kind in COMPARED
        ]
        titles = [CONTESTANTS[key].title for key in keys]
        said = 'CPU time of a message in the client, and messages a second of real time.'
        return said, ['workload', *titles], table

    def _goals(self, workload: Workload) -> str:
        goals = [str(workload.goal)] if workload.goal else []
        if workload.pure_goal:
            goals.append(f'pure {workload.pure_goal}')
        return ', '.join(goals) or NOTHING

    def _reached(self, workload: Workload, contestant: str, where: str) -> str:
        mark = SHORT if where == PEER and self.falls_short(workload, contestant, where) else ''
        if workload.kind not in COMPARED:
            return self._amount(workload, contestant, where) + mark
        ratio = self.ratio(workload, contestant, where)
        return NOTHING if ratio is None else f'{significant(ratio)}x{mark}'

    def _amount(self, workload: Workload, contestant: str, where: str) -> str:
        figure = self.figure(workload.key, contestant, where)
        if figure is None:
            return NOTHING
        return f'{significant(figure)} {UNITS[workload.kind]}'.rstrip()

    def _amount_and_rate(self, workload: Workload, contestant: str, where: str) -> str:
        amount = self._amount(workload, contestant, where)
        rate = self.figure(workload.key, contestant, where, 'rate')
        return amount if rate is None else f'{amount}, {float(significant(rate)):,.0f}/s'


def goal_of(workload: Workload, contestant: str) -> Goal | None:
    return {COMPILED: workload.goal, PURE: workload.pure_goal}.get(contestant)


def markdown_heading(title: str) -> str:
    return f'### {title}'


def rst_heading(title: str) -> str:
    return f'{title}\n{"-" * len(title)}'


def rst_table(head: Row, lines: list[Row]) -> str:
    rows = '\n'.join(
        f'   * - {first}\n' + '\n'.join(f'     - {cell}' for cell in rest)
        for first, *rest in (head, *lines)
    )
    return f'.. list-table::\n   :header-rows: 1\n\n{rows}'


def markdown_table(head: Row, lines: list[Row]) -> str:
    rule = ['---'] + ['---:'] * (len(head) - 1)
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (head, rule, *lines))


def significant(number: float, digits: int = 3) -> str:
    """With so many digits that count, and no exponent."""
    if not number:
        return '0'
    text = f'{float(f"{number:.{digits}g}"):f}'
    return text.rstrip('0').rstrip('.')


def shortened(result: dict[str, Any]) -> dict[str, Any]:
    """With floats of six digits: no figure has more, and files are half as large."""
    short: dict[str, Any] = json.loads(
        json.dumps(result), parse_float=lambda text: float(f'{float(text):.6g}')
    )
    return short


def machine() -> dict[str, Any]:
    """What the figures depend on. No names."""
    return {
        'cpu': cpu_model(),
        'cores': os.cpu_count(),
        'system': f'{platform.system()} {".".join(platform.release().split(".")[:2])}',
        'python': f'{platform.python_implementation()} {platform.python_version()}',
    }


def cpu_model() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()
