"""A worker measures, in a process of its own, what is installed beside these tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import amqp
from t.benchmarks.contestants import CONTESTANTS
from t.benchmarks.measure import Bench, MeasurementFailed, Options
from t.benchmarks.peer import PeerProcess
from t.benchmarks.worker import Job
from t.benchmarks.workloads import WORKLOADS, Workload

PURE, PIKA = CONTESTANTS['pure'], CONTESTANTS['pika']


@pytest.fixture(scope='module')
def bench() -> Iterator[Bench]:
    interpreters = dict.fromkeys(('pure', 'pika'), Path(sys.executable))
    with PeerProcess() as peer:
        yield Bench(interpreters, Options(rounds=2, budget=0.01), peer.port)


def small(key: str, count: int) -> Workload:
    workload = WORKLOADS[key]
    return Workload(
        key, workload.title, workload.kind, workload.task, script=workload.script, count=count
    )


def test_the_worker_has_the_client_that_is_installed(bench: Bench) -> None:
    assert bench.work(Job('describe', 'pure', {})) == {
        'version': amqp.__version__,
        'build': amqp.speedups,
    }


@pytest.mark.parametrize('key', ['publish-celery', 'consume-16', 'ack-celery', 'dumps'])
def test_cpu(bench: Bench, key: str) -> None:
    result = bench.measure(WORKLOADS[key], PURE)
    assert result is not None
    assert result['figure'] > 0
    assert all(run['count'] > 0 for run in result['runs'])


def test_idle_channels(bench: Bench) -> None:
    result = bench.measure(small('idle-channel', 100), PURE)
    assert result is not None
    assert 0 < result['figure'] < 100


@pytest.mark.skipif(shutil.which('strace') is None, reason='strace is not there')
def test_system_calls(bench: Bench) -> None:
    workload = WORKLOADS['calls-publish']
    result = bench.measure(workload, PURE)
    assert result is not None
    assert 0.9 < result['calls']['sendto'] < 1.1


def test_rounds_by_turns_until_it_is_known_what_is_not_there(bench: Bench) -> None:
    told = [
        (contestant.key, number, result is not None)
        for _, contestant, number, result in bench.rounds([WORKLOADS['dumps']], [PIKA, PURE])
    ]
    assert told == [('pika', 0, False), ('pure', 0, True), ('pure', 1, True)]


def test_a_failure_of_another_client_is_noted(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    # Nothing that is called Pika is installed here.
    assert bench.try_to_measure(WORKLOADS['publish-16'], PIKA) is None
    assert bench.notes == ['Pika 1.4 fails at: publish 16 B.']
    assert 'ModuleNotFoundError' in capfd.readouterr().err


def test_a_failure_of_our_own_is_an_error(bench: Bench) -> None:
    nowhere = Bench(bench.interpreters, bench.options, port=1)
    with pytest.raises(MeasurementFailed):
        nowhere.try_to_measure(WORKLOADS['publish-16'], PURE)
