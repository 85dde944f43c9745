"""Check amqp/spec.py, and the properties in amqp/serialization.py, against protocol.json.

    python extra/check_spec.py

Prints what differs and exits with 1, or exits with 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from amqp import serialization, spec

TABLE = Path(__file__).with_name('protocol.json')


def load(path: Path = TABLE) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    return table


def expected_methods(table: dict[str, Any]) -> dict[tuple[int, int], spec.Method]:
    """Return what `spec.METHODS` must be."""
    formats = table['formats']
    methods = {}
    for cls in table['classes']:
        ids = {method['name']: (cls['id'], method['id']) for method in cls['methods']}
        for method in cls['methods']:
            arguments = tuple((name, formats[kind]) for name, kind in method['arguments'])
            methods[ids[method['name']]] = spec.Method(
                name=f'{cls["name"]}.{method["name"]}',
                arguments=arguments,
                content=method['content'],
                replies=tuple(ids[reply] for reply in method['replies']),
                direction=method['direction'],
                format=''.join(letter for _, letter in arguments),
            )
    return methods


def _public(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if not name.startswith('_')}


def class_problems(table: dict[str, Any]) -> list[str]:
    """Compare the id classes: spec.Queue.Declare and the like."""
    problems = []
    names = [cls['name'] for cls in table['classes']]
    if sorted(names) != sorted(cls.__name__ for cls in spec.CLASSES):
        problems.append(f'classes: {names} in the table')
    for cls in table['classes']:
        want = {method['name']: (cls['id'], method['id']) for method in cls['methods']}
        want['CLASS_ID'] = cls['id']
        have = _public(getattr(spec, cls['name'], object))
        problems += [
            f'{cls["name"]}.{name}: {have.get(name)}, but {want.get(name)} in the table'
            for name in sorted(want.keys() | have.keys())
            if want.get(name) != have.get(name)
        ]
    return problems


def method_problems(table: dict[str, Any]) -> list[str]:
    """Compare `spec.METHODS`."""
    want = expected_methods(table)
    return [
        f'METHODS[{sig}]: {spec.METHODS.get(sig)}, but {want.get(sig)} in the table'
        for sig in sorted(want.keys() | spec.METHODS.keys())
        if want.get(sig) != spec.METHODS.get(sig)
    ]


def data_problems(table: dict[str, Any]) -> list[str]:
    """Compare constants, reply codes and properties."""
    formats = table['formats']
    want = {name.upper(): value for name, value in table['constants'].items()}
    want['REPLY_CODES'] = {int(code): name for code, name in table['reply_codes'].items()}
    have = {name: getattr(spec, name, None) for name in want}
    want['BASIC_PROPERTIES'] = [
        (each['name'], formats[each['type']]) for each in table['basic_properties']
    ]
    have['BASIC_PROPERTIES'] = serialization.BASIC_PROPERTIES
    return [
        f'{name}: {have[name]}, but {want[name]} in the table'
        for name in want
        if have[name] != want[name]
    ]


def problems(table: dict[str, Any]) -> list[str]:
    return class_problems(table) + method_problems(table) + data_problems(table)


def main() -> int:
    found = problems(load())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
