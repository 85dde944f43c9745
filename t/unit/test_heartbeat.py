"""Heartbeat arithmetic, on a clock that the tests set."""

from __future__ import annotations

from math import inf

import pytest

from amqp.heartbeat import Heartbeat, negotiated_interval


@pytest.mark.parametrize(
    ('client', 'server', 'interval'),
    [
        (0, 0, 0),
        (0, 60, 0),  # the client wants none
        (10, 0, 10),  # the server has no opinion
        (10, 60, 10),
        (60, 10, 10),
        (7, 7, 7),
    ],
)
def test_negotiation(client, server, interval):
    assert negotiated_interval(client, server) == interval


def test_without_an_interval_nothing_is_due():
    heartbeat = Heartbeat(0, 0.0)
    assert not heartbeat.must_send(1e9)
    assert not heartbeat.peer_is_dead(1e9)
    assert heartbeat.next_look() == inf


@pytest.mark.parametrize(('now', 'due'), [(104.9, False), (105.0, True), (200.0, True)])
def test_one_is_sent_after_half_an_interval_of_silence(now, due):
    assert Heartbeat(10, 100.0).must_send(now) is due


@pytest.mark.parametrize(('now', 'dead'), [(119.9, False), (120.0, True), (200.0, True)])
def test_the_peer_is_given_up_after_two_silent_intervals(now, dead):
    assert Heartbeat(10, 100.0).peer_is_dead(now) is dead


def test_what_went_is_no_sign_of_the_peer():
    heartbeat = Heartbeat(10, 100.0)
    heartbeat.last_sent = 119.0
    assert not heartbeat.must_send(123.9)
    assert heartbeat.must_send(124.0)
    assert heartbeat.peer_is_dead(120.0)


def test_what_came_is_none_of_ours():
    heartbeat = Heartbeat(10, 100.0)
    heartbeat.last_received = 119.0
    assert not heartbeat.peer_is_dead(138.9)
    assert heartbeat.peer_is_dead(139.0)
    assert heartbeat.must_send(105.0)


def test_the_next_look_is_at_whatever_comes_first():
    heartbeat = Heartbeat(10, 100.0)
    assert heartbeat.next_look() == 105.0
    heartbeat.last_sent = 118.0
    assert heartbeat.next_look() == 120.0
