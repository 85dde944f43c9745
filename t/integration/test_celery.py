"""Celery, as it is on the package index, over this library and a RabbitMQ node."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from celery import group
from celery.exceptions import TimeoutError as ResultTimeoutError
from celery.result import ResultSet
from kombu.pools import reset as reset_pools

from .celery_app import BROKER_URL, HEARTBEAT, HEARTBEAT_THREAD, LEDGER, QUEUE, ledger, make_app
from .outage import Outage
from .support import until

pytestmark = pytest.mark.integration

#: How many tasks each pool does while its broker is restarted.
TASKS = int(os.environ.get('AMQP_TEST_CELERY_TASKS', '150'))
#: Seconds that a worker may take to start or to stop, with all the machine's cores busy.
PATIENCE = 30
POOLS = ['prefork', 'threads', 'solo', 'gevent', 'eventlet']


class Worker:
    """``celery worker`` in a process of its own; its output is printed in the end."""

    def __init__(self, environment, directory, pool):
        self.name = f'{pool}-{uuid.uuid4().hex[:8]}@test'
        self.log = directory / f'{self.name}.log'
        arguments = ['-P', pool, '-c', '2', '-n', self.name, '--loglevel=INFO']
        with self.log.open('wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'celery', '-A', 'celery_app', 'worker', *arguments],
                cwd=Path(__file__).parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self):
        until(lambda: self.has_logged(' ready.'), PATIENCE)

    def has_logged(self, text):
        assert self.process.poll() is None, 'the worker has ended'
        return text in self.log.read_text(errors='replace')

    def stop(self):
        """Warm shutdown: what has begun is finished."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        sys.stdout.write(self.log.read_text(errors='replace'))


class Site:
    """A broker, a ledger and a queue, with workers and a client that share them."""

    def __init__(self, broker, directory, heartbeat=10, heartbeat_thread=False):
        self.broker = broker
        self.directory = directory
        self.ledger_path = directory / 'ledger'
        self.queue = f'celery-{uuid.uuid4().hex}'
        self.environment = {
            BROKER_URL: broker.url.replace('amqp:', 'pyamqp:'),
            QUEUE: self.queue,
            HEARTBEAT: str(heartbeat),
            HEARTBEAT_THREAD: 'yes' if heartbeat_thread else '',
            LEDGER: str(self.ledger_path),
        }
        self.app = make_app(self.environment)
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for worker in self.workers:
            worker.close()
        if self.app.backend.result_consumer._consumer is not None:
            self.app.backend.result_consumer.stop()
        reset_pools()
        self.app.close()

    def task(self, name):
        return self.app.tasks[name]

    def start_worker(self, pool):
        worker = Worker({**os.environ, **self.environment}, self.directory, pool)
        self.workers.append(worker)
        worker.wait_until_ready()
        return worker

    def done(self):
        return [key for event, key in ledger(self.ledger_path) if event == 'done']

    def has_begun(self, key):
        return ('begun', key) in ledger(self.ledger_path)


@pytest.fixture
def site(broker, tmp_path):
    with Site(broker, tmp_path) as site:
        yield site


# -- work goes on across a restart


def send(site, key):
    """One task; the ways in which tasks are sent take turns."""
    execute = site.task('execute')
    if key % 10 == 0:
        return site.task('execute_at_second_try').delay(key)
    if key % 10 == 1:
        return execute.apply_async((key,), countdown=0.5)
    if key % 10 == 2:
        eta = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=0.3)
        return execute.apply_async((key,), eta=eta)
    return execute.delay(key)


def send_all(site, count, rate):
    """So many tasks, so many a second at most; each retried until the broker has confirmed it."""
    pause = threading.Event()
    started = time.monotonic()
    results = {}
    for key in range(count):
        results[key] = send(site, key)
        pause.wait(max(0, started + (key + 1) / rate - time.monotonic()))
    return results


def fetch(results):
    """The results that arrive, by task; what was lost with the broker's queue does not."""
    keys = {result.id: key for key, result in results.items()}
    values = {}

    def collect(task_id, value):
        values[keys[task_id]] = value

    with suppress(ResultTimeoutError):
        ResultSet(list(results.values())).join_native(timeout=5, callback=collect)
    return values


@pytest.mark.parametrize(
    ('pool', 'way'),
    [('prefork', 'restart'), ('threads', 'kill'), ('solo', 'restart'), ('gevent', 'kill')],
)
@pytest.mark.timeout(60 + TASKS / 5)
def test_no_task_is_lost_when_the_broker_goes_away(
    pool, way, private_broker, tmp_path, record_property
):
    """Every task is executed, some twice; every result arrives or can be asked for again."""
    with Outage(private_broker) as outage, Site(private_broker, tmp_path) as site:
        site.start_worker(pool)
        # A connection that consumes results, to be lost with the broker.
        assert site.task('execute').delay(-1).get(timeout=PATIENCE) == -1
        started = time.monotonic()
        before = []

        def a_quarter_is_done():
            before[:] = site.done()[1:]
            return len(before) >= TASKS // 4

        outage.begin(way, a_quarter_is_done)
        # The broker is gone for some five seconds: let them fall into the sending.
        results = send_all(site, TASKS, rate=max(TASKS / 12, 20))
        outage.wait()
        until(lambda: len(set(site.done())) == TASKS + 1, PATIENCE + TASKS / 20)
        executed = site.done()[1:]
        seconds = time.monotonic() - started
        values = fetch(results)
        again = Counter(executed) - Counter(set(executed))
        missing = {key: site.task('look_up').delay(key) for key in results if key not in values}
        assert all(result.get(timeout=PATIENCE) for result in missing.values())
        assert values == {key: key for key in values}
        figures = {
            'pool': pool,
            'tasks': TASKS,
            'seconds': round(seconds, 1),
            'lost': TASKS - len(set(executed)),
            'executed again': again.total(),
            # What isn't acknowledged comes again.
            'acknowledged before': sum(key not in again for key in set(before)),
            'results asked for again': len(missing),
        }
        record_property('figures', figures)
        sys.stdout.write(f'{figures}\n')
        # What was done twice was unacknowledged when the broker went: no more than was prefetched.
        assert again.total() <= TASKS // 4
        assert figures['acknowledged before'] > 0
        assert len(missing) <= TASKS // 2
        assert site.workers[0].stop() == 0


# -- everyday


@pytest.mark.parametrize('pool', POOLS)
def test_results_groups_and_failures(site, pool):
    site.start_worker(pool)
    execute = site.task('execute')
    assert group(execute.s(key) for key in range(20))().get(timeout=PATIENCE) == list(range(20))
    assert site.task('execute_at_second_try').delay(7).get(timeout=PATIENCE) == 7
    failing = site.task('fail').delay('on purpose')
    with pytest.raises(ValueError, match='on purpose'):
        failing.get(timeout=PATIENCE)
    assert failing.state == 'FAILURE'


@pytest.mark.parametrize('pool', POOLS)
def test_remote_control(site, pool):
    worker = site.start_worker(pool)
    control, execute = site.app.control, site.task('execute')
    # A worker over greenlets may be ready before it listens: who asks too early is not heard.
    until(lambda: control.ping([worker.name], timeout=1, limit=1), PATIENCE)
    assert control.ping([worker.name], timeout=5, limit=1) == [{worker.name: {'ok': 'pong'}}]
    inspect = control.inspect([worker.name], timeout=5, limit=1)
    broker = inspect.stats()[worker.name]['broker']
    assert broker['port'] == site.broker.port
    assert broker['heartbeat'] == 10
    assert 'execute' in inspect.registered()[worker.name]
    (queue,) = inspect.active_queues()[worker.name]
    assert queue['name'] == site.queue

    other = f'{site.queue}-other'
    reply = control.add_consumer(other, destination=[worker.name], reply=True, timeout=5, limit=1)
    assert 'ok' in reply[0][worker.name]
    assert execute.apply_async((1,), queue=other).get(timeout=PATIENCE) == 1
    reply = control.cancel_consumer(
        other, destination=[worker.name], reply=True, timeout=5, limit=1
    )
    assert 'ok' in reply[0][worker.name]
    assert execute.delay(2).get(timeout=PATIENCE) == 2


@pytest.mark.parametrize('pool', ['prefork', 'threads'])
def test_a_warm_shutdown_finishes_what_has_begun(site, pool):
    worker = site.start_worker(pool)
    result = site.task('take_time').delay('slow', 2)
    until(lambda: site.has_begun('slow'), PATIENCE)
    assert worker.stop() == 0
    assert site.done() == ['slow']
    assert result.get(timeout=PATIENCE) == 'slow'
    # What had not begun is another worker's.
    later = site.task('execute').delay(1)
    site.start_worker('threads')
    assert later.get(timeout=PATIENCE) == 1


def test_a_full_prefetch_window_never_stalls(broker, tmp_path):
    """The event loop sleeps unless the socket is readable: what has left the kernel is lost to it.

    Requests and publishes of the worker's own, upon remote commands, take in deliveries besides
    their replies. Nothing else wakes the worker then: no heartbeat, and no further delivery, for
    its prefetch window is full.
    """
    with Site(broker, tmp_path, heartbeat=0) as site:
        worker = site.start_worker('prefork')
        control, execute = site.app.control, site.task('execute')
        for number in range(2):
            other = f'{site.queue}-{number}'
            results = [execute.delay(key) for key in range(100)]
            for command in (control.add_consumer, control.cancel_consumer):
                answer = command(
                    other, destination=[worker.name], reply=True, timeout=PATIENCE, limit=1
                )
                assert 'ok' in answer[0][worker.name]
                results += [execute.delay(key) for key in range(50)]
            assert [result.get(timeout=PATIENCE) for result in results] == [
                *range(100),
                *range(50),
                *range(50),
            ]


# -- heartbeats


@pytest.mark.parametrize('pool', ['prefork', 'threads'])
def test_a_worker_keeps_up_heartbeats_while_tasks_run(broker, tmp_path, pool):
    with Site(broker, tmp_path, heartbeat=1) as site:
        worker = site.start_worker(pool)
        assert site.task('take_time').delay('slow', 5).get(timeout=PATIENCE) == 'slow'
        assert site.task('execute').delay(1).get(timeout=PATIENCE) == 1
        assert not worker.has_logged('onnection to broker lost')


def test_a_solo_worker_outlives_a_task_longer_than_two_intervals(broker, tmp_path):
    """Nobody sends heartbeats while the only thread is busy: the broker gives the connection up.

    The worker notices when the task ends, connects again, and goes on. It can't acknowledge the
    task any more (with this pool Celery does so afterwards in any case), which is then done again:
    such tasks want the prefork or threads pool, or a heartbeat thread.
    """
    with Site(broker, tmp_path, heartbeat=1) as site:
        worker = site.start_worker('solo')
        assert site.task('take_time').delay('slow', 4).get(timeout=PATIENCE) == 'slow'
        until(lambda: worker.has_logged('onnection to broker lost'), PATIENCE)
        assert site.task('execute').delay(1).get(timeout=PATIENCE) == 1
        assert set(site.done()) == {'slow', '1'}


def test_a_solo_worker_with_a_heartbeat_thread(broker, tmp_path):
    """The connection lasts over the task, and the task is done once."""
    with Site(broker, tmp_path, heartbeat=1, heartbeat_thread=True) as site:
        worker = site.start_worker('solo')
        assert site.task('take_time').delay('slow', 4).get(timeout=PATIENCE) == 'slow'
        assert site.task('execute').delay(1).get(timeout=PATIENCE) == 1
        assert not worker.has_logged('onnection to broker lost')
        assert site.done() == ['slow', '1']
