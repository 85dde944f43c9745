"""Connecting by URLs: plain, by TLS, by a certificate, and beside brokers that are dead or mute."""

from __future__ import annotations

import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest

import amqp
from t.helpers.broker import CLIENT, Broker
from t.helpers.threads import Background
from t.integration.support import PATIENCE, bodies, consume, drain_until, publish, until

pytestmark = pytest.mark.integration


@pytest.fixture
def connect() -> Iterator[Callable[..., amqp.Connection]]:
    with ExitStack() as stack:

        def make(*args: object, **options: object) -> amqp.Connection:
            connection = amqp.connect(*args, **{'timeout': PATIENCE, **options})
            stack.callback(connection.collect)
            return connection

        yield make


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a port that takes connections and says nothing."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        yield f'amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}'


@pytest.fixture
def dead() -> str:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return f'amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}'


def user(broker: Broker, connection: amqp.Connection) -> str:
    """Whom the broker takes this connection for."""
    port = connection.sock.getsockname()[1]
    rows = broker.ctl('list_connections', 'peer_port', 'user').splitlines()
    return dict(row.split('\t') for row in rows)[str(port)]


@pytest.mark.parametrize('path', ['', '/%2F', '/%2f?heartbeat=20', '//'])
def test_plain(broker: Broker, connect, path: str) -> None:
    connection = connect(f'amqp://guest:guest@{broker.host}:{broker.port}{path}')
    assert connection.channel().is_open
    assert connection.heartbeat == (20 if 'heartbeat' in path else 0)


def test_the_helpers_own_urls(broker: Broker, connect) -> None:
    assert connect(broker.url).is_alive()
    connection = amqp.Connection.from_url(broker.tls_url, ssl={'ca_certs': broker.ca_file})
    connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    connection.close()


def test_a_virtual_host_and_a_user_with_special_names(module_broker: Broker, connect) -> None:
    vhost, name, password = 'a/b ü?', 'us:er@x', 'p/?#@%:+é'
    module_broker.ctl('add_vhost', vhost)
    module_broker.ctl('add_user', name, password)
    module_broker.ctl('set_permissions', '-p', vhost, name, '.*', '.*', '.*')
    login = f'{quote(name, "")}:{quote(password, "")}'
    url = f'amqp://{login}@{module_broker.host}:{module_broker.port}/{quote(vhost, "")}'
    connection = connect(url)
    assert connection.channel().queue_declare(exclusive=True).queue
    assert user(module_broker, connection) == name
    with pytest.raises(amqp.ConnectFailed, match='NOT_ALLOWED'):
        connect(f'amqp://{login}@{module_broker.host}:{module_broker.port}/')  # the nameless one


def test_tls(broker: Broker, connect) -> None:
    url = f'amqps://localhost:{broker.tls_port}'
    connection = connect(f'{url}?cacertfile={quote(broker.ca_file)}')
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert user(broker, connection) == 'guest'
    # Verified: by an authority that one trusts, and by name.
    for wrong in (
        url,
        f'{url}?cacertfile={quote(broker.other_ca_file)}',
        f'amqps://0.0.0.0:{broker.tls_port}?cacertfile={quote(broker.ca_file)}',
        f'{url}?cacertfile={quote(broker.ca_file)}&server_name_indication=other.example',
    ):
        with pytest.raises(amqp.ConnectFailed) as caught:
            connect(wrong)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    renamed = f'cacertfile={quote(broker.ca_file)}&server_name_indication=localhost'
    for right in (
        f'{url}?verify=verify_none',
        f'amqps://127.0.0.1:{broker.tls_port}?{renamed}',
        f'{url}?ssl_options={quote(repr({"ca_certs": broker.ca_file}))}',
    ):
        assert connect(right).is_alive()


def test_by_a_certificate(broker: Broker, connect) -> None:
    files = {
        'cacertfile': broker.ca_file,
        'certfile': broker.client_cert,
        'keyfile': broker.client_key,
    }
    query = '&'.join(f'{name}={quote(path)}' for name, path in files.items())
    host = f'localhost:{broker.tls_port}'
    assert user(broker, connect(f'amqps://{host}?{query}')) == CLIENT
    assert user(broker, connect(f'amqps://{host}?{query}&auth_mechanism=external')) == CLIENT
    assert user(broker, connect(f'amqps://guest:guest@{host}?{query}')) == 'guest'
    assert user(broker, connect(f'amqps://{host}?{query}&auth_mechanism=plain')) == 'guest'
    both = 'auth_mechanism=external&auth_mechanism=plain'
    assert user(broker, connect(f'amqps://{host}?{query}&{both}')) == CLIENT
    # Offered by TLS only for who shows a certificate; else the next is taken.
    ca = quote(broker.ca_file)
    with pytest.raises(amqp.AccessRefused):
        connect(f'amqps://{host}?cacertfile={ca}&auth_mechanism=external')


def test_two_of_three_are_dead_or_mute(broker: Broker, connect, dead: str, mute: str) -> None:
    for urls in ([dead, mute, broker.url], [mute, dead, broker.url]):
        began = time.monotonic()
        connection = connect(urls, timeout=4)
        assert time.monotonic() - began < 3
        assert connection.sock.getpeername()[1] == broker.port
    assert connect([broker.url, dead, mute], shuffle=True, timeout=6).is_alive()


def test_all_three_are(dead: str, mute: str, connect) -> None:
    with socket.create_server(('127.0.0.1', 0)) as rude:

        def answer() -> None:
            sock, _ = rude.accept()
            sock.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
            sock.close()

        server = Background(answer)
        http = f'amqp://guest:guest@127.0.0.1:{rude.getsockname()[1]}'
        began = time.monotonic()
        with pytest.raises(amqp.Connection.recoverable_connection_errors) as caught:
            connect([dead, mute, http], timeout=1.5)
        assert time.monotonic() - began < 3
        server.result()
    text = str(caught.value)
    for url in (dead, mute, http):
        assert url.replace('guest:guest@', 'guest@') in text
    assert [type(cause) for _, cause in caught.value.causes] == [
        ConnectionRefusedError,
        TimeoutError,
        amqp.FrameError,
    ]


def test_refused_credentials_stop_the_trying(broker: Broker, connect) -> None:
    wrong = broker.url.replace('guest:guest', 'guest:wr0ng')
    before = broker.log.count("refused: user 'guest'")
    with pytest.raises(amqp.AccessRefused) as caught:
        connect([wrong, broker.url], attempts=5, retry_delay=0)
    assert 'wr0ng' not in ''.join(traceback.format_exception(caught.value))
    until(lambda: broker.log.count("refused: user 'guest'") > before)
    assert broker.log.count("refused: user 'guest'") == before + 1


def test_a_broker_that_starts_is_waited_for(private_broker: Broker, connect, caplog) -> None:
    caplog.set_level(logging.INFO, 'amqp')
    private_broker.kill()
    waiting = Background(
        connect, private_broker.url, attempts=0, retry_delay=0.2, timeout=5 * PATIENCE
    )
    until(lambda: 'could not connect' in caplog.text)
    private_broker.start_again()
    deadline = time.monotonic() + PATIENCE
    while waiting._thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert waiting.result().channel().is_open
    assert 'guest:guest' not in caplog.text


def test_a_suspended_broker_leaves_time_for_another(
    private_broker: Broker, broker: Broker, connect
) -> None:
    private_broker.suspend()
    try:
        connection = connect([private_broker.url, broker.url], timeout=4)
        assert connection.sock.getpeername()[1] == broker.port
    finally:
        private_broker.resume()


# -- credentials


def test_tokens_are_renewed_while_one_consumes(broker: Broker, connect, queue: str) -> None:
    asked = []

    def provider() -> tuple[str, str, float]:
        asked.append(time.monotonic())
        return 'guest', 'guest', 0.25

    connection = connect(broker.url, credentials=provider)
    messages = consume(connection.channel(), queue, no_ack=True)
    publisher = connect(broker.url).channel()
    for number in range(20):
        publish(publisher, queue, str(number))
        while len(messages) <= number:
            connection.drain_events(timeout=PATIENCE)
    drain_until(connection, lambda: len(asked) > 4)
    assert bodies(messages) == [str(number) for number in range(20)]
    assert connection.is_alive()


def test_a_password_is_changed_at_the_broker(private_broker: Broker, connect) -> None:
    """Who asks a function needs no restart."""
    passwords = ['guest', 'changed']
    source = lambda: ('guest', passwords[0])  # noqa: E731
    first = connect(private_broker.url, credentials=source)
    private_broker.ctl('change_password', 'guest', 'changed')
    with pytest.raises(amqp.AccessRefused):
        connect(private_broker.url, credentials=source)
    passwords.pop(0)
    assert connect(private_broker.url, credentials=source).is_alive()
    assert first.is_alive()
