"""The two transition tables: what may happen, and that nothing else may."""

from __future__ import annotations

import pytest

from amqp.states import (
    CHANNEL_TRANSITIONS,
    CONNECTION_TRANSITIONS,
    ChannelEvent,
    ChannelState,
    ConnectionEvent,
    ConnectionState,
    IllegalTransition,
    StateMachine,
)

TABLES = [
    pytest.param(CONNECTION_TRANSITIONS, ConnectionState, ConnectionEvent, id='connection'),
    pytest.param(CHANNEL_TRANSITIONS, ChannelState, ChannelEvent, id='channel'),
]


def words(names):
    return [word for name, word in vars(names).items() if name.isupper()]


def walk(transitions, start, events):
    machine = StateMachine(transitions, start)
    return [machine.advance(event) for event in events][-1]


@pytest.mark.parametrize(
    ('events', 'end'),
    [
        ('SEND_HEADER RECV_START RECV_TUNE RECV_OPEN_OK', 'OPEN'),
        ('SEND_HEADER RECV_START RECV_SECURE RECV_SECURE RECV_TUNE RECV_OPEN_OK', 'OPEN'),
        ('SEND_HEADER RECV_CLOSE', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_CLOSE', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_TUNE RECV_CLOSE', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_TUNE RECV_OPEN_OK RECV_CLOSE', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_TUNE RECV_OPEN_OK SEND_CLOSE RECV_CLOSE_OK', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_TUNE RECV_OPEN_OK SEND_CLOSE RECV_CLOSE', 'CLOSED'),
        ('SEND_HEADER RECV_START RECV_TUNE RECV_OPEN_OK SEND_CLOSE', 'CLOSING'),
        ('LOST LOST', 'CLOSED'),
    ],
)
def test_life_of_a_connection(events, end):
    steps = [getattr(ConnectionEvent, name) for name in events.split()]
    assert walk(CONNECTION_TRANSITIONS, ConnectionState.NEW, steps) is getattr(ConnectionState, end)


@pytest.mark.parametrize(
    ('events', 'end'),
    [
        ('SEND_OPEN RECV_OPEN_OK', 'OPEN'),
        ('SEND_OPEN RECV_OPEN_OK SEND_CLOSE RECV_CLOSE_OK', 'CLOSED'),
        ('SEND_OPEN RECV_OPEN_OK SEND_CLOSE RECV_CLOSE', 'CLOSED'),
        ('SEND_OPEN RECV_OPEN_OK RECV_CLOSE', 'REOPENABLE'),
        ('SEND_OPEN RECV_CLOSE', 'REOPENABLE'),
        ('SEND_OPEN RPC_TIMEOUT SEND_OPEN', 'OPENING'),
        ('SEND_OPEN RECV_OPEN_OK RPC_TIMEOUT SEND_OPEN RECV_OPEN_OK', 'OPEN'),
        ('SEND_OPEN RECV_OPEN_OK RECV_CLOSE SEND_OPEN RECV_OPEN_OK', 'OPEN'),
        ('SEND_OPEN RECV_OPEN_OK RECV_CLOSE SEND_CLOSE', 'CLOSED'),
        ('SEND_CLOSE', 'CLOSED'),
    ],
)
def test_life_of_a_channel(events, end):
    steps = [getattr(ChannelEvent, name) for name in events.split()]
    assert walk(CHANNEL_TRANSITIONS, ChannelState.NEW, steps) is getattr(ChannelState, end)


@pytest.mark.parametrize(('transitions', 'states', 'events'), TABLES)
def test_a_loss_ends_everything_and_nothing_follows(transitions, states, events):
    for state in words(states):
        assert transitions[state, events.LOST] is states.CLOSED
    for event in words(events):
        if event is not events.LOST:
            assert (states.CLOSED, event) not in transitions


@pytest.mark.parametrize(('transitions', 'states', 'events'), TABLES)
def test_every_state_is_reached_and_every_event_has_a_row(transitions, states, events):
    reached, todo = {states.NEW}, [states.NEW]
    while todo:
        here = todo.pop()
        for (state, _), there in transitions.items():
            if state is here and there not in reached:
                reached.add(there)
                todo.append(there)
    assert reached == set(words(states))
    assert {event for _, event in transitions} == set(words(events))


@pytest.mark.parametrize(('transitions', 'states', 'events'), TABLES)
def test_what_has_no_row_is_refused_and_changes_nothing(transitions, states, events):
    for state in words(states):
        for event in words(events):
            machine = StateMachine(transitions, state)
            if (state, event) in transitions:
                assert machine.advance(event) is machine.state is transitions[state, event]
                continue
            with pytest.raises(IllegalTransition) as caught:
                machine.advance(event)
            assert machine.state is state
            assert (caught.value.state, caught.value.event) == (state, event)
            assert str(caught.value) == f'{event} is not possible while {state}'


@pytest.mark.parametrize(
    ('state', 'event'),
    [
        (ConnectionState.NEW, ConnectionEvent.RECV_START),
        (ConnectionState.AWAITING_START, ConnectionEvent.RECV_TUNE),
        (ConnectionState.AWAITING_START, ConnectionEvent.RECV_SECURE),
        (ConnectionState.AWAITING_OPEN_OK, ConnectionEvent.RECV_TUNE),
        (ConnectionState.OPEN, ConnectionEvent.RECV_START),
        (ConnectionState.OPEN, ConnectionEvent.RECV_OPEN_OK),
        (ConnectionState.OPEN, ConnectionEvent.RECV_CLOSE_OK),
        (ConnectionState.CLOSING, ConnectionEvent.SEND_CLOSE),
    ],
)
def test_out_of_order_on_a_connection(state, event):
    with pytest.raises(IllegalTransition):
        StateMachine(CONNECTION_TRANSITIONS, state).advance(event)
