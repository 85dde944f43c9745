"""spec.py against protocol.json, and both against pamqp, which nobody here has written."""

from __future__ import annotations

import copy
import inspect
import re

import pamqp.commands
import pytest

import amqp
from amqp import exceptions, sasl, spec
from t.helpers.scripts import load_script

check_spec = load_script('check_spec')
render_supported = load_script('render_supported')


@pytest.fixture
def table():
    return copy.deepcopy(check_spec.load())


def test_spec_is_as_the_table(table):
    assert check_spec.problems(table) == []


def drop_method(table):
    del table['classes'][0]['methods'][0]


def other_argument_type(table):
    table['classes'][0]['methods'][0]['arguments'][0][1] = 'short'


def other_id(table):
    table['classes'][0]['methods'][0]['id'] = 99


def other_content(table):
    table['classes'][0]['methods'][0]['content'] = True


def other_direction(table):
    table['classes'][0]['methods'][0]['direction'] = 'client'


def other_reply(table):
    table['classes'][0]['methods'][0]['replies'] = []


def other_constant(table):
    table['constants']['frame_end'] = 207


def other_reply_code(table):
    table['reply_codes']['312'] = 'no-way'


def other_property(table):
    table['basic_properties'][0]['type'] = 'longstr'


def additional_class(table):
    table['classes'].append({'id': 30, 'name': 'Access', 'methods': []})


@pytest.mark.parametrize(
    'change',
    [
        drop_method,
        other_argument_type,
        other_id,
        other_content,
        other_direction,
        other_reply,
        other_constant,
        other_reply_code,
        other_property,
        additional_class,
    ],
)
def test_the_check_sees_every_kind_of_difference(table, change, monkeypatch, capsys):
    change(table)
    assert check_spec.problems(table)
    monkeypatch.setattr(check_spec, 'load', lambda: table)
    assert check_spec.main() == 1
    assert 'in the table' in capsys.readouterr().out


def test_check_script_is_silent_when_all_is_well(capsys):
    assert check_spec.main() == 0
    assert capsys.readouterr().out == ''


PAMQP_FORMATS = {
    'bit': 'b',
    'octet': 'o',
    'short': 'B',
    'long': 'l',
    'longlong': 'L',
    'shortstr': 's',
    'longstr': 'S',
    'table': 'F',
    'timestamp': 'L',
}
# pamqp names what 0-9-1 calls reserved, and avoids words of Python.
PAMQP_NAMES = {
    'ticket': 'reserved_1',
    'out_of_band': 'reserved_1',
    'capabilities': 'reserved_1',
    'insist': 'reserved_2',
    'known_hosts': 'reserved_1',
    'channel_id': 'reserved_1',
    'cluster_id': 'reserved_1',
    'exchange_type': 'type',
    'global_': 'a_global',
}


def test_the_same_methods_as_pamqp():
    ids = {(index >> 16, index & 0xFFFF) for index in pamqp.commands.INDEX_MAPPING}
    assert ids == set(spec.METHODS)


@pytest.mark.parametrize('sig', spec.METHODS, ids=lambda sig: spec.METHODS[sig].name)
def test_method_is_as_in_pamqp(sig):
    ours = spec.METHODS[sig]
    theirs = pamqp.commands.INDEX_MAPPING[sig[0] << 16 | sig[1]]
    assert ours.name == theirs.name
    assert ours.arguments == tuple(
        (PAMQP_NAMES.get(name, name), PAMQP_FORMATS[getattr(theirs, f'_{name}')])
        for name in theirs.__slots__
    )
    assert ours.format == ''.join(letter for _, letter in ours.arguments)
    assert bool(ours.replies) == theirs.synchronous
    assert [spec.METHODS[reply].name for reply in ours.replies] == theirs.valid_responses
    cls, name = ours.name.split('.')
    assert getattr(getattr(spec, cls), name) == sig


def test_properties_are_as_in_pamqp():
    theirs = pamqp.commands.Basic.Properties
    names = {'headers': 'application_headers', 'message_type': 'type'}
    assert check_spec.serialization.BASIC_PROPERTIES == [
        (names.get(name, name), PAMQP_FORMATS[getattr(theirs, f'_{name}')])
        for name in theirs.__slots__
    ]


def test_directions_agree_with_replies():
    # A reply comes from the other side, or from either.
    opposite = {'client': 'server', 'server': 'client', 'both': 'both'}
    for method in spec.METHODS.values():
        for reply in method.replies:
            assert spec.METHODS[reply].direction == opposite[method.direction]


def test_methods_with_content():
    names = {method.name for method in spec.METHODS.values() if method.content}
    assert names == {'Basic.Publish', 'Basic.Return', 'Basic.Deliver', 'Basic.GetOk'}


def test_method_t():
    assert spec.method((1, 2)) == spec.method_t((1, 2), None, False)
    method = spec.method((60, 60), 'sLbss', True)
    assert (method.method_sig, method.args, method.content) == ((60, 60), 'sLbss', True)


def test_protocol_header():
    assert spec.PROTOCOL_HEADER == b'AMQP' + bytes((0, 0, 9, 1))


def test_error_classes_have_codes_of_the_protocol():
    assert set(exceptions.ERROR_MAP) == set(spec.REPLY_CODES) - {200}


# -- what protocol.json says is supported --------------------------------------------------------

NAME = re.compile(
    r'(?P<path>[\w.]+)(?:\((?P<keywords>[\w=, ]+?)(?:=\w+)?\))?(?P<event>\[\'\w+\'\])?$'
)


def all_support(table):
    rows = [method for cls in table['classes'] for method in cls['methods']] + table['extensions']
    return sorted({name for row in rows for name in row['support']})


@pytest.mark.parametrize('name', all_support(check_spec.load()))
def test_what_is_named_as_support_exists(name):
    match = NAME.match(name)
    assert match, name
    path = match['path'].split('.')
    if match['event']:
        assert path == ['Channel', 'events']
        return
    found = sasl if path[0] == 'sasl' else getattr(amqp, path[0])
    for part in path[1:]:
        found = getattr(found, part)
    for keyword in filter(None, re.split('[=, ]+', match['keywords'] or '')):
        if path == ['Message']:  # an extension type where compiled, which has no signature
            assert found(**{keyword: None}).properties == {keyword: None}
            continue
        parameters = inspect.signature(found).parameters
        assert keyword in parameters


def test_every_method_says_who_supports_it(table):
    assert all(method['support'] for cls in table['classes'] for method in cls['methods'])


def test_render_supported(tmp_path, capsys):
    out = tmp_path / 'includes' / 'supported.rst'
    assert render_supported.main(['--out', str(out)]) == 0
    assert render_supported.main([]) == 0
    text = capsys.readouterr().out
    assert out.read_text(encoding='utf-8') == text
    for method in spec.METHODS.values():
        assert f'``{method.name}``' in text


def test_rendered_table_is_valid_rst(table):
    docutils_core = pytest.importorskip('docutils.core')
    docutils_core.publish_doctree(
        render_supported.render(table), settings_overrides={'halt_level': 2, 'report_level': 2}
    )


def test_not_supported_is_said(table):
    table['extensions'].append({'name': 'magic', 'support': [], 'note': ''})
    assert 'not supported' in render_supported.render(table)
