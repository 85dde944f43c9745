"""The Celery application of the tests and of their workers: ``celery -A celery_app worker``.

It is set up by environment variables, and needs nothing of this project but the
installed package: a worker starts in this directory, which has no package `amqp`.

Every execution is put down in a ledger, a file that outlives workers and brokers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from celery import Celery

BROKER_URL = 'AMQP_TEST_BROKER_URL'
HEARTBEAT = 'AMQP_TEST_HEARTBEAT'
HEARTBEAT_THREAD = 'AMQP_TEST_HEARTBEAT_THREAD'
LEDGER = 'AMQP_TEST_LEDGER'
QUEUE = 'AMQP_TEST_QUEUE'


def make_app(environment: Mapping[str, str]) -> Celery:
    """An application with the tasks below."""
    app = Celery('celery_app', set_as_current=False)
    app.conf.update(
        broker_url=environment.get(BROKER_URL, 'pyamqp://'),
        broker_transport_options={
            'confirm_publish': True,
            'heartbeat_thread': bool(environment.get(HEARTBEAT_THREAD)),
        },
        broker_heartbeat=float(environment.get(HEARTBEAT, '10')),
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        result_backend='rpc://',
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=environment.get(QUEUE, 'celery-test'),
        task_publish_retry_policy={
            'max_retries': 1000,
            'interval_start': 0.05,
            'interval_step': 0.05,
            'interval_max': 0.3,
        },
        worker_prefetch_multiplier=4,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    app.task(execute, name='execute')
    app.task(execute_at_second_try, name='execute_at_second_try', bind=True, max_retries=3)
    app.task(look_up, name='look_up')
    app.task(take_time, name='take_time', acks_late=False)
    app.task(fail, name='fail')
    app.finalize()
    return app


def execute(key):
    put_down('done', key)
    return key


def execute_at_second_try(self, key):
    if self.request.retries == 0:
        put_down('failed', key)
        raise self.retry(countdown=0.2)
    put_down('done', key)
    return key


def look_up(key):
    """Whether a task has been done, for a caller whose result was lost with the broker."""
    return ('done', str(key)) in ledger(Path(os.environ[LEDGER]))


def take_time(key, seconds):
    put_down('begun', key)
    time.sleep(seconds)
    put_down('done', key)
    return key


def fail(key):
    raise ValueError(key)


def put_down(event: str, key: object) -> None:
    """Add a line to the ledger: one write of a few bytes, so that processes don't mix theirs."""
    line = f'{event} {key}\n'.encode()
    descriptor = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def ledger(path: Path) -> list[tuple[str, str]]:
    """The events put down so far, each with its key."""
    if not path.exists():
        return []
    return [(event, key) for event, key in map(str.split, path.read_text().splitlines())]


app = make_app(os.environ)
