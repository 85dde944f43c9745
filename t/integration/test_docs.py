"""The documentation is true: its snippets are run, its programs do what they say."""

from __future__ import annotations

import asyncio
import doctest
import re
import shutil
import signal
import textwrap
from pathlib import Path

import pytest

import amqp
from t.helpers.broker import Broker
from t.helpers.examples import EXAMPLES, load_example, running
from t.helpers.scripts import ROOT

DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.rglob('*.rst'))
WITH_SNIPPETS = [page for page in PAGES if '>>> ' in page.read_text(encoding='utf-8')]
CODE_BLOCK = re.compile(r'^( *)\.\. code-block:: python\n((?:\1 +.*\n|\n)+)', re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pytestmark = pytest.mark.integration


def page_id(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.fixture
def certificates(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the snippets name, in the current directory."""
    shutil.copy(broker.ca_file, tmp_path / 'ca.pem')
    shutil.copy(broker.client_cert, tmp_path / 'client-cert.pem')
    shutil.copy(broker.client_key, tmp_path / 'client-key.pem')
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures('certificates')
@pytest.mark.parametrize('page', WITH_SNIPPETS, ids=page_id)
def test_the_snippets_of_a_page_run_in_order(page: Path, broker: Broker) -> None:
    text = page.read_text(encoding='utf-8')
    text = text.replace('localhost:5672', f'localhost:{broker.port}')
    text = text.replace('localhost:5671', f'localhost:{broker.tls_port}')
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert results.attempted
    assert not results.failed, ''.join(report)


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_python_blocks_compile(page: Path) -> None:
    for number, match in enumerate(CODE_BLOCK.finditer(page.read_text(encoding='utf-8'))):
        source = textwrap.dedent(match[2])
        # Some await: as the body of a coroutine they may.
        wrapped = 'async def block():\n' + textwrap.indent(source, '    ')
        compile(wrapped, f'{page.name}, block {number}', 'exec')


def test_every_example_is_on_a_page() -> None:
    text = ''.join(page.read_text(encoding='utf-8') for page in PAGES)
    names = [path.relative_to(DOCS).as_posix() for path in EXAMPLES.rglob('*.py')]
    assert [name for name in names if name not in text] == []


def test_asyncio_consumer(connection: amqp.Connection, queue: str) -> None:
    publisher = connection.channel()
    consumer_class = load_example('asyncio_consumer')['Consumer']
    seen = []

    async def consume() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def on_message(message: amqp.Message) -> None:
            message.channel.basic_ack(message.delivery_tag)
            seen.append(message.body)
            if len(seen) == 20:
                loop.call_soon_threadsafe(done.set)

        consumer = consumer_class(connection, queue, on_message)
        for number in range(20):
            await asyncio.to_thread(
                publisher.basic_publish_confirm, amqp.Message(str(number)), routing_key=queue
            )
        # Not before the last confirm, which may come behind the last message.
        await asyncio.wait_for(done.wait(), 30)
        consumer.stop()
        await consumer.lost

    asyncio.run(consume())
    assert seen == [str(number) for number in range(20)]
    assert not connection.connected


def test_asyncio_consumer_tells_of_a_loss(connection: amqp.Connection, queue: str) -> None:
    consumer_class = load_example('asyncio_consumer')['Consumer']

    async def consume() -> None:
        consumer = consumer_class(connection, queue, print)
        connection.channel().basic_publish(amqp.Message('x'), immediate=True)
        await asyncio.wait_for(consumer.lost, 30)

    with pytest.raises(amqp.AMQPNotImplementedError):
        asyncio.run(consume())


@pytest.mark.slow
def test_the_worker_lasts_over_a_restart(private_broker: Broker) -> None:
    host = f'{private_broker.host}:{private_broker.port}'

    def publish(body: str) -> None:
        with amqp.Connection(host, connect_timeout=10) as connection:
            channel = connection.channel()
            channel.queue_declare('tasks', durable=True, auto_delete=False)
            channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), routing_key='tasks')

    with running('worker', host) as worker:
        publish('before')
        worker.wait_for("working on 'before'")
        private_broker.restart()
        worker.wait_for('connecting again')
        publish('after')
        worker.wait_for("working on 'after'")


def test_the_pool_of_workers_ends_when_told_to(private_broker: Broker) -> None:
    host = f'{private_broker.host}:{private_broker.port}'
    with running('worker_pool', host) as pool:
        with amqp.Connection(host, connect_timeout=10) as connection:
            channel = connection.channel()
            channel.queue_declare('tasks', durable=True, auto_delete=False)
            channel.basic_publish_confirm(amqp.Message('x'), routing_key='tasks')
        pool.wait_for("working on 'x'")
        assert pool.stop(signal.SIGTERM) == 0


def test_the_asyncio_consumer_ends_when_told_to(
    connection: amqp.Connection, broker: Broker, queue: str
) -> None:
    connection.channel().basic_publish_confirm(amqp.Message('x'), routing_key=queue)
    host = f'{broker.host}:{broker.port}'
    with running('asyncio_consumer', host, queue) as consumer:
        consumer.wait_for("working on 'x'")
        assert consumer.stop(signal.SIGTERM) == 0
