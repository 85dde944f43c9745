"""The diagrams in docs/images show the transition tables as they are."""

from __future__ import annotations

import re

import pytest

from t.helpers.scripts import load_script

draw_states = load_script('draw_states')

TABLES = draw_states.tables()

EDGE = re.compile(r'^ +"?([\w -]+?)"? -> "([^"]+)" \[label="([^"]+)"', re.MULTILINE)


RED, GREEN, DARK = COLOURS = ('red', 'green', 'dark')
TIMER, FAULT = 'timer', 'fault'

LIGHTS = {
    (RED, TIMER): GREEN,
    (GREEN, TIMER): RED,
    **{(light, FAULT): DARK for light in COLOURS},
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
        ('anywhere' if event in everywhere else state, event, target)
        for (state, event), target in transitions.items()
    }


def test_an_event_that_leads_from_everywhere_is_drawn_once():
    assert draw_states.from_everywhere(LIGHTS) == {FAULT: DARK}
    dot = draw_states.to_dot('lights', LIGHTS, RED)
    assert dot.count('fault') == 1
    assert 'start -> "red"' in dot


def test_a_change_of_a_table_shows(monkeypatch, tmp_path):
    monkeypatch.setattr(draw_states, 'IMAGES', tmp_path)
    monkeypatch.setattr(draw_states, 'tables', lambda: {'lights': (LIGHTS, RED)})
    text = draw_states.to_dot('lights', LIGHTS, RED)
    (tmp_path / 'lights.dot').write_text(text)
    (tmp_path / 'lights.svg').write_text('<svg/>\n' + draw_states.mark(text))
    assert draw_states.stale() == []
    (tmp_path / 'lights.svg').write_text('<svg/>\n' + draw_states.mark(text + ' '))
    assert draw_states.stale() == [tmp_path / 'lights.svg']
    (tmp_path / 'lights.dot').unlink()
    assert draw_states.stale() == [tmp_path / 'lights.dot', tmp_path / 'lights.svg']
