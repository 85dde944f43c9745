"""Render protocol.json as reStructuredText: what of the protocol is supported, and by which name.

python extra/render_supported.py                                        to standard output
python extra/render_supported.py --out docs/includes/supported_methods.rst
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name('protocol.json')
SENT_BY = {'client': 'client', 'server': 'broker', 'both': 'both'}


def _names(support: list[str]) -> str:
    return ', '.join(f'``{name}``' for name in support) or 'not supported'


def _list_table(title: str, widths: str, rows: list[list[str]]) -> list[str]:
    lines = [f'.. list-table:: {title}', '   :header-rows: 1', f'   :widths: {widths}', '']
    for row in rows:
        lines += [
            f'   {"*" if index == 0 else " "} - {cell}'.rstrip() for index, cell in enumerate(row)
        ]
    return [*lines, '']


def method_tables(table: dict[str, Any]) -> list[str]:
    lines = []
    for cls in table['classes']:
        rows = [['Method', 'Ids', 'Sent by', 'Supported by', 'Remarks']]
        for method in cls['methods']:
            remarks = ['RabbitMQ extension'] if method['extension'] else []
            remarks += [method['note']] if 'note' in method else []
            rows.append(
                [
                    f'``{cls["name"]}.{method["name"]}``',
                    f'{cls["id"]}, {method["id"]}',
                    SENT_BY[method['direction']],
                    _names(method['support']),
                    '; '.join(remarks),
                ]
            )
        lines += _list_table(f'Class {cls["name"].lower()}', '20 10 10 35 25', rows)
    return lines


def extension_table(table: dict[str, Any]) -> list[str]:
    rows = [['Extension', 'Supported by', 'Remarks']]
    rows += [[each['name'], _names(each['support']), each['note']] for each in table['extensions']]
    return _list_table('Extensions of RabbitMQ', '30 40 30', rows)


def render(table: dict[str, Any]) -> str:
    head = ['.. Made by extra/render_supported.py from extra/protocol.json; do not edit.', '']
    return '\n'.join([*head, *method_tables(table), *extension_table(table)]).rstrip() + '\n'


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--out', type=Path, help='write to this file')
    out = parser.parse_args(argv).out
    text = render(json.loads(TABLE.read_text(encoding='utf-8')))
    if out is None:
        print(text, end='')
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
