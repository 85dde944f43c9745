"""Draw the states of connections and channels from the transition tables of amqp/states.py.

    python extra/draw_states.py            write docs/images/*.dot and, by graphviz's dot, *.svg
    python extra/draw_states.py --check    say whether those files are up to date; needs no dot

Each SVG ends in a comment with the digest of the text that it was drawn from. So one that is out
of date is noticed where graphviz is not installed, too.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / 'docs' / 'images'

Transitions = Mapping[tuple[str, str], str]

STYLE = """\
    bgcolor="transparent"; nodesep=0.5; ranksep=0.45;
    node [shape=box, style="rounded,filled", fillcolor="#f4f7fb", color="#44607c",
          fontname="Helvetica,Arial,sans-serif", fontsize=12];
    edge [color="#44607c", fontname="Helvetica,Arial,sans-serif", fontsize=10];
    start [shape=point, width=0.12];
    anywhere [label="any state", style="rounded,dashed"];"""


def tables() -> dict[str, tuple[Transitions, str]]:
    """The tables to draw, each with its first state, by the name of its files."""
    sys.path.insert(0, str(ROOT))
    try:
        from amqp import states
    finally:
        sys.path.remove(str(ROOT))
    return {
        'connection_states': (states.CONNECTION_TRANSITIONS, states.ConnectionState.NEW),
        'channel_states': (states.CHANNEL_TRANSITIONS, states.ChannelState.NEW),
    }


def from_everywhere(transitions: Transitions) -> dict[str, str]:
    """Events that lead from every state to the same one, and where: they are drawn once."""
    states = {state for state, _ in transitions} | set(transitions.values())
    targets: dict[str, list[str]] = {}
    for (_, event), target in transitions.items():
        targets.setdefault(event, []).append(target)
    return {
        event: found[0]
        for event, found in targets.items()
        if len(found) == len(states) and len(set(found)) == 1
    }


def edge(source: str, target: str, labels: list[str], style: str = '') -> str:
    label = r'\n'.join(f' {each} ' for each in labels)
    return f'    {source} -> "{target}" [label="{label}"{style}];'


def to_dot(name: str, transitions: Transitions, start: str) -> str:
    """The diagram in graphviz's language; one arrow for all events between two states."""
    everywhere = from_everywhere(transitions)
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, event), target in transitions.items():
        if event not in everywhere:
            edges.setdefault((state, target), []).append(event)
    lines = [
        '// Made by extra/draw_states.py from amqp/states.py; do not edit.',
        f'digraph {name} {{',
        STYLE,
        f'    start -> "{start}";',
    ]
    lines += [edge(f'"{source}"', target, labels) for (source, target), labels in edges.items()]
    lines += [
        edge('anywhere', target, [event], ', style=dashed') for event, target in everywhere.items()
    ]
    return '\n'.join([*lines, '}']) + '\n'


def mark(dot: str) -> str:
    """The last line of an SVG that was drawn from this text."""
    return f'<!-- drawn from text of SHA-256 {hashlib.sha256(dot.encode()).hexdigest()} -->\n'


def draw(dot: str) -> str:
    """The SVG of a diagram. Needs graphviz."""
    command = ['dot', '-Tsvg']
    svg = subprocess.run(command, input=dot, capture_output=True, text=True, check=True).stdout
    return svg + mark(dot)


def stale() -> list[Path]:
    """The files that don't match the tables."""
    found = []
    for name, (transitions, start) in tables().items():
        text = to_dot(name, transitions, start)
        dot, svg = (IMAGES / f'{name}.{suffix}' for suffix in ('dot', 'svg'))
        if not dot.exists() or dot.read_text(encoding='utf-8') != text:
            found.append(dot)
        if not svg.exists() or not svg.read_text(encoding='utf-8').endswith(mark(text)):
            found.append(svg)
    return found


def write() -> bool:
    """Write all files; whether the SVGs are among them."""
    has_graphviz = shutil.which('dot') is not None
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, (transitions, start) in tables().items():
        text = to_dot(name, transitions, start)
        (IMAGES / f'{name}.dot').write_text(text, encoding='utf-8')
        if has_graphviz:
            (IMAGES / f'{name}.svg').write_text(draw(text), encoding='utf-8')
    return has_graphviz


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing')
    if parser.parse_args(argv).check:
        for path in (out_of_date := stale()):
            print(f'{path.relative_to(ROOT)} is out of date: run extra/draw_states.py')
        return 1 if out_of_date else 0
    if not write():
        print("graphviz's dot is not installed: the SVGs are left as they were", file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
