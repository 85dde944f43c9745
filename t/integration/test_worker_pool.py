"""A pool of workers at a real broker: nothing is lost, whatever ends it, and the broker agrees."""

from __future__ import annotations

import collections
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import amqp
from amqp.worker_pool import WorkerPool
from t.helpers.broker import Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, publish, ready, until

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('on_error', ['requeue', 'reject'])
def test_two_thousand_messages(connect: Connect, queue: str, name: str, on_error: str) -> None:
    """Eight workers; one message in ten fails at its first delivery. The broker's counts agree."""
    admin = connect().channel()
    dead = f'{name}-dead'
    source = f'{name}-source'
    admin.queue_declare(dead, exclusive=False, auto_delete=False)
    admin.queue_declare(
        source,
        auto_delete=False,
        arguments={'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead},
    )
    try:
        for number in range(2_000):
            admin.basic_publish(amqp.Message(str(number)), routing_key=source)
        until(lambda: ready(admin, source) == 2_000)
        handled: collections.Counter[str] = collections.Counter()
        failed: collections.Counter[str] = collections.Counter()
        lock, threads = threading.Lock(), set()
        expected = 2_000 if on_error == 'requeue' else 1_800
        finished = threading.Event()

        def handle(message: amqp.Message) -> None:
            body = str(message.body)
            with lock:
                threads.add(threading.get_ident())
                if int(body) % 10 == 0 and not failed[body]:
                    failed[body] += 1
                    raise RuntimeError('the first time')
                handled[body] += 1
                if len(handled) == expected:
                    finished.set()

        pool = WorkerPool(connect(), 8, on_error)
        pool.consume(source, handle, prefetch=100)
        run = Background(pool.run)
        assert finished.wait(60)
        if on_error == 'reject':
            until(lambda: ready(admin, dead) == 200)
        pool.stop()
        run.result()
        assert len(handled) == expected
        assert set(handled.values()) == {1}, 'a message was handled twice'
        assert len(failed) == 200
        assert len(threads) > 1  # all eight, unless they are greenlets
        # The channel is closed: what was not settled would be back.
        assert ready(admin, source) == 0
        assert ready(admin, dead) == 2_000 - expected
    finally:
        admin.queue_delete(source)
        admin.queue_delete(dead)


@pytest.mark.parametrize('kind', ['classic', 'quorum'])
def test_ordered(connect: Connect, name: str, kind: str) -> None:
    """One at a time in the queue's order, in whichever worker.

    In a classic queue, one that failed comes again first.
    """
    admin = connect().channel()
    arguments = {'x-queue-type': kind}
    admin.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    try:
        publish(admin, name, *map(str, range(100)))
        failing = set(map(str, range(3, 100, 7))) if kind == 'classic' else set()
        seen: list[str] = []
        busy = threading.Lock()

        def handle(message: amqp.Message) -> None:
            assert busy.acquire(blocking=False), 'two at the same time'
            try:
                seen.append(str(message.body))
                if str(message.body) in failing and not message.delivery_info['redelivered']:
                    raise RuntimeError('the first time')
            finally:
                busy.release()
            if message.body == '99':
                pool.stop()

        pool = WorkerPool(connect(), 8, 'requeue')
        pool.consume(name, handle, ordered=True)
        Background(pool.run).result()
        expected = [body for body in map(str, range(100)) for _ in range(1 + (body in failing))]
        assert seen == expected
        assert ready(admin, name) == 0
    finally:
        admin.queue_delete(name)


def test_stop_from_another_thread_loses_nothing(connect: Connect, queue: str) -> None:
    """Whatever it is at: handled and left over are all there is, and nothing is in both."""
    admin = connect().channel()
    for number in range(2_000):
        admin.basic_publish(amqp.Message(str(number)), routing_key=queue)
    until(lambda: ready(admin, queue) == 2_000)
    handled: list[str] = []
    enough = threading.Event()

    def handle(message: amqp.Message) -> None:
        handled.append(str(message.body))
        if len(handled) > 500:
            enough.set()

    pool = WorkerPool(connect(), 8, 'requeue')
    pool.consume(queue, handle, prefetch=200)
    run = Background(pool.run)
    assert enough.wait(PATIENCE)
    pool.stop()
    run.result()
    left = []
    while (message := admin.basic_get(queue, no_ack=True)) is not None:
        left.append(str(message.body))
    assert sorted(handled + left, key=int) == [str(number) for number in range(2_000)]


def test_the_loss_of_the_connection(connect: Connect, broker: Broker, queue: str) -> None:
    """It is raised; what was handled meanwhile comes again, and nothing is lost."""
    admin = connect().channel()
    publish(admin, queue, *map(str, range(20)))
    gate, begun = threading.Event(), threading.Semaphore(0)
    ended: list[str] = []

    def handle(message: amqp.Message) -> None:
        begun.release()
        assert gate.wait(PATIENCE)
        ended.append(str(message.body))

    connection = connect()
    pool = WorkerPool(connection, 4, 'requeue')
    pool.consume(queue, handle)
    run = Background(pool.run)
    for _ in range(4):
        assert begun.acquire(timeout=PATIENCE)
    connection.sock.shutdown(socket.SHUT_RDWR)
    until(lambda: ready(admin, queue) == 20)
    gate.set()
    assert isinstance(run.error(), amqp.RecoverableConnectionError)
    assert len(ended) == 4
    assert ready(admin, queue) == 20


@pytest.mark.skipif(sys.platform == 'win32', reason='sends signals')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_program(
    connect: Connect, broker: Broker, queue: str, tmp_path: Path, number: int
) -> None:
    """What is in hand is finished, the rest is given back, and the program ends well."""
    admin = connect().channel()
    publish(admin, queue, *map(str, range(50)))
    command = [
        sys.executable,
        str(ROOT / 't' / 'integration' / 'pool_worker.py'),
        f'{broker.host}:{broker.port}',
        queue,
        str(tmp_path),
    ]
    environment = {**os.environ, 'PYTHONPATH': str(Path(amqp.__file__).parents[1])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            begun = [process.stdout.readline().split()[1] for _ in range(4)]
            until(lambda: ready(admin, queue) == 30)  # 20 are with the program, 4 in hand
            process.send_signal(number)
            until(lambda: ready(admin, queue) == 46)  # the 16 that were not begun are back
            (tmp_path / 'gate').touch()
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[-1] == 'over'
    assert sorted(line.split()[1] for line in lines[:-1]) == sorted(begun)
    left = []
    while (message := admin.basic_get(queue, no_ack=True)) is not None:
        left.append(str(message.body))
    assert sorted(begun + left, key=int) == [str(number) for number in range(50)]
