"""The page for those who come from Pika: complete, and every counterpart it names exists."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

import amqp
from amqp.urls import parse_url
from t.helpers.scripts import ROOT

PAGE = ROOT / 'docs' / 'coming_from_pika.rst'
TITLE = re.compile(r'^(\S.*)\n-{3,}$', re.MULTILINE)
MARKED = re.compile(r'``(.+?)``|(?<![`:\w])`([^`]+?)`(?![_`])', re.DOTALL)
REFUSAL = 'Not here'


class Row(NamedTuple):
    """A row of a table: what Pika has, and the cell that tells what there is here."""

    part: str
    pika: list[str]
    here: str


def rows() -> Iterator[Row]:
    """The rows of all tables, part by part, without their headers."""
    text = PAGE.read_text(encoding='utf-8').partition('\nName by name\n')[2]
    _, *parts = TITLE.split(text)
    for part, body in zip(parts[::2], parts[1::2], strict=True):
        _, *cells = re.split(r'^   (?:\* |  )- ', body, flags=re.MULTILINE)
        for left, right in list(zip(cells[::2], cells[1::2], strict=True))[1:]:
            # What stands under the table isn't indented.
            here = re.split(r'\n\n', right)[0]
            yield Row(part, re.findall('``(.+?)``', left), ' '.join(here.split()))


ROWS = list(rows())


def row_id(row: Row) -> str:
    return f'{row.part}: {row.pika[0]}'


@cache
def names_of_pika() -> dict[str, list[str]]:
    path = ROOT / 't' / 'vectors' / 'pika_names.json'
    names: dict[str, list[str]] = json.loads(path.read_text(encoding='utf-8'))['names']
    return names


@pytest.mark.parametrize('part', names_of_pika())
def test_a_part_has_every_name_once(part: str) -> None:
    told = [name for row in ROWS if row.part == part for name in row.pika]
    assert sorted(told) == sorted(names_of_pika()[part])


def test_there_is_no_other_part() -> None:
    assert {row.part for row in ROWS} == set(names_of_pika())


@pytest.mark.parametrize('row', ROWS, ids=row_id)
def test_a_counterpart_exists(row: Row) -> None:
    marked = [literal or name for literal, name in MARKED.findall(row.here)]
    assert marked or row.here.startswith(REFUSAL)
    for text in marked:
        check(text)


# -- what the page says, looked up


@cache
def roots() -> dict[str, Any]:
    connection = amqp.Connection()
    return {
        'amqp': amqp,
        'connection': connection,
        'channel': amqp.Channel(connection, 1),
        'message': amqp.Message(''),
        'queue_declare_ok_t': importlib.import_module('amqp.protocol').queue_declare_ok_t,
    }


def check(text: str) -> None:
    """Fail unless there is what *text* names: an expression, a URL, or parameters of one."""
    if text.startswith('?'):
        parse_url(f'amqps://broker{text}')
    elif '://' in text:
        parse_url(text)
    else:
        # Arguments without a value: Connection(heartbeat=).
        expression = ast.parse(re.sub(r'=(?=[,)])', '=...', text), mode='eval').body
        CHECKS[type(expression)](expression)


def check_constant(node: ast.Constant) -> None:
    assert isinstance(node.value, (str, int))


def check_call(node: ast.Call) -> None:
    function = value_of(node.func)
    assert callable(function)
    known = parameters_of(function)
    if function is amqp.connect:
        known |= parameters_of(amqp.Connection)
    assert {keyword.arg for keyword in node.keywords} <= known


def parameters_of(function: Callable[..., Any]) -> set[str]:
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def check_subscript(node: ast.Subscript) -> None:
    """A property, something about a delivery, an event."""
    assert isinstance(node.slice, ast.Constant)
    assert isinstance(node.value, ast.Attribute)
    value_of(node.value)
    assert node.slice.value in keys_of(node.value)


def keys_of(node: ast.Attribute) -> set[str]:
    if node.attr == 'properties':
        return {name for name, _ in amqp.Message.PROPERTIES}
    if node.attr == 'delivery_info':
        methods = amqp.spec.METHODS
        deliveries = amqp.spec.Basic.Deliver, amqp.spec.Basic.GetOk
        return {name for method in deliveries for name, _ in methods[method].arguments}
    assert node.attr == 'events'
    return set(value_of(node).NAMES)


def value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return root(node.id)
    assert isinstance(node, ast.Attribute), ast.dump(node)
    return attribute(value_of(node.value), node.attr)


def root(name: str) -> Any:
    if name in roots():
        return roots()[name]
    return getattr(amqp, name, None) or getattr(builtins, name)


def attribute(owner: Any, name: str) -> Any:
    """An attribute, or the property that it is: not every one can be read before connecting."""
    if inspect.ismodule(owner) and not hasattr(owner, name):
        return importlib.import_module(f'{owner.__name__}.{name}')
    if inspect.isclass(owner) and issubclass(owner, amqp.AMQPError):
        owner = owner()
    static = inspect.getattr_static(owner, name)
    return static if isinstance(static, property) else getattr(owner, name)


CHECKS: dict[type[ast.expr], Callable[[Any], Any]] = {
    ast.Attribute: value_of,
    ast.Call: check_call,
    ast.Constant: check_constant,
    ast.Name: value_of,
    ast.Subscript: check_subscript,
}


@pytest.mark.parametrize(
    'text',
    [
        'Nothing',
        'Connection.nothing',
        'Connection(nothing=)',
        'amqp.nothing',
        'amqp.connect(nothing=)',
        "message.properties['nothing']",
        "message.delivery_info['nothing']",
        "channel.events['nothing']",
        '?nothing=1',
        'amqp://broker:nothing',
    ],
)
def test_what_does_not_exist_is_noticed(text: str) -> None:
    with pytest.raises((AssertionError, AttributeError, ImportError, ValueError)):
        check(text)
