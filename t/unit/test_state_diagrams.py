"""The diagrams in docs/images show the transition tables as they are."""

from __future__ import annotations

import re
from enum import Enum

import pytest

from t.helpers.scripts import load_script

draw_states = load_script('draw_states')

TABLES = draw_states.tables()

EDGE = re.compile(r'^ +"?([\w -]+?)"? -> "([^"]+)" \[label="([^"]+)"', re.MULTILINE)


class Light(Enum):
    RED = 'red'
    GREEN = 'green'
    DARK = 'dark'


class Cause(Enum):
    TIMER = 'timer'
    FAULT = 'fault'


LIGHTS = {
    (Light.RED, Cause.TIMER): Light.GREEN,
    (Light.GREEN, Cause.TIMER): Light.RED,
    **{(light, Cause.FAULT): Light.DARK for light in Light},
}


def test_the_committed_diagrams_are_up_to_date():
    assert draw_states.stale() == []


@pytest.mark.parametrize('name', TABLES)
def test_every_row_is_drawn(name):
    transitions, start = TABLES[name]
    dot = draw_states.to_dot(name, transitions, start)
    drawn = set()
    for source, target, label in EDGE.findall(dot):
        drawn |= {(source, event.strip(), target) for event in label.split(r'\n')}
    everywhere = draw_states.from_everywhere(transitions)
    assert drawn == {
        ('anywhere' if event in everywhere else state.value, event.value, target.value)
        for (state, event), target in transitions.items()
    }


def test_an_event_that_leads_from_everywhere_is_drawn_once():
    assert draw_states.from_everywhere(LIGHTS) == {Cause.FAULT: Light.DARK}
    dot = draw_states.to_dot('lights', LIGHTS, Light.RED)
    assert dot.count('fault') == 1
    assert 'start -> "red"' in dot


def test_a_change_of_a_table_shows(monkeypatch, tmp_path):
    monkeypatch.setattr(draw_states, 'IMAGES', tmp_path)
    monkeypatch.setattr(draw_states, 'tables', lambda: {'lights': (LIGHTS, Light.RED)})
    text = draw_states.to_dot('lights', LIGHTS, Light.RED)
    (tmp_path / 'lights.dot').write_text(text)
    (tmp_path / 'lights.svg').write_text('<svg/>\n' + draw_states.mark(text))
    assert draw_states.stale() == []
    (tmp_path / 'lights.svg').write_text('<svg/>\n' + draw_states.mark(text + ' '))
    assert draw_states.stale() == [tmp_path / 'lights.svg']
    (tmp_path / 'lights.dot').unlink()
    assert draw_states.stale() == [tmp_path / 'lights.dot', tmp_path / 'lights.svg']
