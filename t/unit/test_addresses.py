"""Hosts and ports taken apart, names looked up, and the error when none of them works."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from amqp import addresses as module
from amqp.addresses import connect_error, resolve, to_host_port
from amqp.deadline import Deadline
from t.helpers.streams import soon, within
from t.helpers.threads import SOON


@pytest.mark.parametrize(
    ('host', 'found'),
    [
        ('rabbit', ('rabbit', 5672)),
        ('rabbit:5673', ('rabbit', 5673)),
        ('rabbit:', ('rabbit', 5672)),
        ('10.0.0.1:1', ('10.0.0.1', 1)),
        ('[::1]', ('::1', 5672)),
        ('[::1]:65535', ('::1', 65535)),
        ('[::1]:', ('::1', 5672)),
        ('::1', ('::1', 5672)),
        ('fe80::1%eth0', ('fe80::1%eth0', 5672)),
    ],
)
def test_host_and_port(host, found):
    assert to_host_port(host) == found


@pytest.mark.parametrize(
    'host', ['h:0', 'h:65536', 'h:-1', 'h:abc', 'h:1.5', '[::1', '[::1]5672', '[::1]:x']
)
def test_host_that_is_none(host):
    with pytest.raises(ValueError, match='host '):
        to_host_port(host)


# -- names


def test_an_address_needs_no_resolver(monkeypatch):
    asked = []

    def getaddrinfo(host, port, flags=0):
        asked.append(flags)
        return ['found']

    monkeypatch.setattr(module, '_getaddrinfo', getaddrinfo)
    assert resolve('127.0.0.1', 1, soon()) == ['found']
    assert asked == [socket.AI_NUMERICHOST]


@pytest.mark.parametrize('deadline', [Deadline(None, 0.0), Deadline(1e9, 0.0)])
def test_a_name_is_looked_up(deadline):
    found = {each[4][0] for each in resolve('localhost', 1, deadline)}
    assert found & {'127.0.0.1', '::1'}


@pytest.mark.parametrize('deadline', [Deadline(None, 0.0), Deadline(1e9, 0.0)])
def test_a_name_that_nobody_knows(monkeypatch, deadline):
    def getaddrinfo(host, port, flags=0):
        raise socket.gaierror(socket.EAI_NONAME, 'unknown')

    monkeypatch.setattr(module, '_getaddrinfo', getaddrinfo)
    with pytest.raises(socket.gaierror, match='unknown'):
        resolve('rabbit', 1, deadline)


def test_a_resolver_that_does_not_answer(monkeypatch):
    answer = threading.Event()

    def getaddrinfo(host, port, flags=0):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, 'no number')
        answer.wait(SOON)
        return []

    monkeypatch.setattr(module, '_getaddrinfo', getaddrinfo)
    with pytest.raises(TimeoutError, match="address of 'rabbit' wasn't found in time"):
        resolve('rabbit', 5672, within(0.05))
    answer.set()


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, 'refused')
MUTE = TimeoutError('mute')


def test_the_error_of_a_single_address_is_passed_on():
    assert connect_error('rabbit', 1, [(('10.0.0.1', 1), REFUSED)]) is REFUSED


def test_one_error_for_all_addresses():
    error = connect_error('rabbit', 1, [(('10.0.0.1', 1), MUTE), (('10.0.0.2', 1), REFUSED)])
    assert type(error) is ConnectionRefusedError  # of the last one
    assert error.errno == errno.ECONNREFUSED
    assert 'no address of rabbit:1 could be reached (10.0.0.1: mute; 10.0.0.2: ' in str(error)
