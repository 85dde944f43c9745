"""The chart for the documentation: how many times less CPU than py-amqp, workload by workload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from t.benchmarks.contestants import BASELINE, CONTESTANTS
from t.benchmarks.floor import Floor
from t.benchmarks.report import COMPILED, PEER, Report, goal_of
from t.benchmarks.workloads import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ('#1b6ca8', '#7fb7de', '#e0a458', '#9c6b9e', '#8a8a8a', '#5b8c5a')
#: Height of a bar, in rows.
THICKNESS = 0.8


def draw(report: Report, path: Path) -> None:
    """Write the chart; the suffix of the file says in which format."""
    import matplotlib

    matplotlib.use('Agg')
    # The same figures make the same file; text stays text.
    matplotlib.rcParams.update({'svg.hashsalt': 'amqp', 'svg.fonttype': 'none', 'font.size': 9})
    from matplotlib import pyplot

    workloads = [each for each in report.workloads() if each.kind == 'cpu']
    keys = [key for key in report.contestants() if key not in (BASELINE, Floor.key)]
    height = 1 + len(workloads) * 0.15 * (len(keys) + 1)
    figure, axes = pyplot.subplots(figsize=(8, height), layout='constrained')
    for place, key in enumerate(keys):
        _bars(axes, report, workloads, key, place, len(keys))
    _goals(axes, workloads)
    _dress(axes, workloads)
    metadata = {'Date': None} if path.suffix == '.svg' else None
    figure.savefig(path, metadata=metadata)
    pyplot.close(figure)


def _bars(
    axes: Axes, report: Report, workloads: list[Workload], key: str, place: int, places: int
) -> None:
    thickness = THICKNESS / places
    offset = (place + 0.5) * thickness - THICKNESS / 2
    ratios = [report.ratio(workload, key, PEER) for workload in workloads]
    rows = [row + offset for row, ratio in enumerate(ratios) if ratio is not None]
    shown = [ratio for ratio in ratios if ratio is not None]
    bars = axes.barh(
        rows,
        # From 1, where py-amqp is, to the left or to the right.
        [ratio - 1 for ratio in shown],
        left=1,
        height=thickness,
        color=COLOURS[place % len(COLOURS)],
        label=CONTESTANTS[key].title,
    )
    axes.bar_label(bars, [f'{ratio:.3g}' for ratio in shown], padding=2, fontsize=6)


def _goals(axes: Axes, workloads: list[Workload]) -> None:
    goals = [
        (goal.value, row)
        for row, workload in enumerate(workloads)
        if (goal := goal_of(workload, COMPILED)) is not None
    ]
    if goals:
        values, rows = zip(*goals, strict=True)
        axes.scatter(
            values, rows, marker='|', s=120, color='#b03030', label='goal, compiled', zorder=3
        )


def _dress(axes: Axes, workloads: list[Workload]) -> None:
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}x')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_yticks(range(len(workloads)), [workload.title for workload in workloads])
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.grid(axis='x', alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_xlabel('so many times less CPU than py-amqp (to the right: better)')
    axes.legend(loc='lower right', fontsize=7)
