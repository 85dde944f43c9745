"""The table says what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t.benchmarks.contestant import Contestant
from t.benchmarks.contestants import CONTESTANTS
from t.benchmarks.measure import per_message, system_calls
from t.benchmarks.report import BROKER, PEER, Report, significant
from t.benchmarks.workloads import WORKLOADS, Goal


def about() -> dict[str, Any]:
    return {
        'date': '2026-01-02',
        'cpu': 'a processor',
        'cores': 2,
        'system': 'Linux',
        'python': 'CPython',
        'rounds': 3,
        'contestants': {
            key: {'version': '1', 'build': 'pure'} for key in ('compiled', 'pure', 'py-amqp')
        },
        'notes': ['There is no strace here.'],
    }


@pytest.fixture
def report() -> Report:
    report = Report(about())
    for number, (compiled, pure, other) in enumerate([(2, 5, 20), (2, 10, 22), (4, 5, 36)]):
        for key, figure in (('compiled', compiled), ('pure', pure), ('py-amqp', other)):
            result = {'figure': figure, 'rate': 1e6 / figure}
            report.add(PEER, 'publish-16', key, number, result)
    report.add(PEER, 'idle-channel', 'compiled', 0, {'figure': 4.29})
    report.add(PEER, 'calls-publish', 'compiled', 0, {'figure': 1.01})
    report.add(PEER, 'ack-1k', 'py-amqp', 0, {'figure': 60.0})
    report.add(PEER, 'batch-1k', 'compiled', 0, {'figure': 1.5})
    return report


def line(report: Report, title: str) -> list[str]:
    [found] = [
        line
        for line in report.markdown().splitlines()
        if f'| {title} |' in line and '/s' not in line
    ][:1]
    return [cell.strip() for cell in found.split('|')[1:-1]]


def test_a_ratio_is_the_median_of_the_rounds(report: Report) -> None:
    assert report.ratio(WORKLOADS['publish-16'], 'compiled') == 10
    assert report.figure('publish-16', 'compiled') == 2


def test_what_py_amqp_has_not_is_compared_with_what_it_has(report: Report) -> None:
    assert report.ratio(WORKLOADS['batch-1k'], 'compiled') == 40


def test_table(report: Report) -> None:
    title = WORKLOADS['publish-16'].title
    assert line(report, title) == [title, '≥ 9x, pure ≥ 1.8x', '10x', '4x', '1x']
    title = WORKLOADS['idle-channel'].title
    assert line(report, title) == [title, '≤ 2.5 KiB', '4.29 KiB ✗', '–', '–']
    assert 'There is no strace here.' in report.markdown()
    assert '| publish 16 B | 2 µs, 500,000/s |' in report.markdown()


def test_the_same_for_the_documentation(report: Report) -> None:
    text = report.rst()
    assert '   * - publish 16 B\n     - ≥ 9x, pure ≥ 1.8x\n     - 10x\n' in text
    assert 'Against the scripted peer\n----' in text
    assert '\n.. |compiled publish-16| replace:: 2 µs\n' in text
    assert '\n.. |compiled publish-16, ratio| replace:: 10x\n' in text


def test_what_falls_short_is_told_apart(report: Report) -> None:
    text = report.markdown().partition('What falls short')[2].partition('CPU time')[0]
    assert '| memory: idle channel, compiled | ≤ 2.5 KiB | 4.29 KiB ✗ | – |' in text
    assert 'publish 16 B' not in text


def test_what_falls_short(report: Report) -> None:
    assert report.falls_short(WORKLOADS['idle-channel'], 'compiled')
    assert not report.falls_short(WORKLOADS['publish-16'], 'compiled')
    assert not report.falls_short(WORKLOADS['publish-1k'], 'compiled')  # not measured


@pytest.mark.parametrize(
    ('goal', 'figure', 'met'),
    [
        (Goal(9), 8.96, True),
        (Goal(9), 8.94, False),
        (Goal(1, 'calls'), 1.01, True),
        (Goal(1, 'calls'), 1.1, False),
        (Goal(0.02, 'calls'), 0.024, True),
        (Goal(0.02, 'calls'), 0.026, False),
        (Goal(66, 'MiB'), 128, False),
    ],
)
def test_a_figure_is_as_exact_as_its_goal(goal: Goal, figure: float, met: bool) -> None:
    assert goal.met(figure) is met


def test_saved_and_loaded(report: Report, tmp_path: Path) -> None:
    path = tmp_path / 'figures.json'
    report.save(path)
    assert Report.load(path).markdown() == report.markdown()


def test_a_broker_has_a_table_of_its_own_without_goals(report: Report) -> None:
    report.add(BROKER, 'publish-16', 'compiled', 0, {'figure': 3.0})
    text = report.markdown().partition('### Against RabbitMQ')[2]
    assert '3 µs' in text
    assert '✗' not in text


def test_chart(report: Report, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    from t.benchmarks.chart import draw

    path = tmp_path / 'chart.svg'
    draw(report, path)
    text = path.read_text()
    assert '<svg' in text
    assert WORKLOADS['publish-16'].title in text
    assert CONTESTANTS['pure'].title in text


def test_every_task_is_one_of_the_contestants() -> None:
    tasks = {workload.task for workload in WORKLOADS.values()} - {''}
    assert [task for task in tasks if not hasattr(Contestant, task)] == []


def test_baselines_exist() -> None:
    assert {workload.baseline for workload in WORKLOADS.values()} - {''} <= set(WORKLOADS)


@pytest.mark.parametrize(
    ('number', 'text'),
    [(0, '0'), (0.0018, '0.0018'), (12.345, '12.3'), (98765, '98800'), (1, '1')],
)
def test_digits_that_count(number: float, text: str) -> None:
    assert significant(number) == text


def test_figure_of_a_message() -> None:
    runs = [
        {'count': count, 'cpu': cpu, 'wall': 0.5}
        for count, cpu in ((1000, 0.002), (2000, 0.002), (1000, 0.003))
    ]
    result = per_message({'runs': runs})
    assert result is not None
    assert result['figure'] == pytest.approx(2)
    assert result['rate'] == 2000


def test_summary_of_strace() -> None:
    summary = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000006           6      1200           sendto
 40.00    0.000004           0        29        27 access
------ ----------- ----------- --------- --------- ----------------
100.00    0.000010           6      1229        27 total
"""
    assert system_calls(summary) == {'sendto': 1200, 'access': 29}
