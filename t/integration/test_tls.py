"""TLS towards a node whose certificate an authority of the tests' own has signed."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import amqp
from t.helpers.broker import CLIENT, Broker
from t.helpers.threads import Background
from t.integration.support import (
    PATIENCE,
    bodies,
    consume,
    drain_until,
    publish,
    ready,
    receive,
    takes,
)

pytestmark = pytest.mark.integration

Connect = Callable[..., amqp.Connection]

VERIFY_FAILED = ssl.SSLCertVerificationError
#: The node again, by a name that its certificate doesn't have.
ANOTHER_ADDRESS = '0.0.0.0'


@pytest.fixture
def secure(connect: Connect, broker: Broker) -> Connect:
    """Connect to the node's TLS port: by the name in its certificate, unless told otherwise."""

    def make(host: str = 'localhost', **options: Any) -> amqp.Connection:
        return connect(f'{host}:{broker.tls_port}', **options)

    return make


@pytest.fixture
def context(broker: Broker) -> ssl.SSLContext:
    """A context that trusts the node's authority."""
    return ssl.create_default_context(cafile=broker.ca_file)


def works(connection: amqp.Connection) -> bool:
    """Whether a message goes there and back."""
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
    publish(channel, queue, b'x' * 100_000)
    return len(channel.basic_get(queue).body) == 100_000


# -- trust


def test_a_context(secure: Connect, context: ssl.SSLContext) -> None:
    connection = secure(ssl=context)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.version() in ('TLSv1.2', 'TLSv1.3')
    assert works(connection)


def test_true_trusts_what_the_platform_trusts(
    secure: Connect, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VERIFY_FAILED):
        secure(ssl=True)
    monkeypatch.setenv('SSL_CERT_FILE', broker.ca_file)
    assert works(secure(ssl=True))
    assert works(secure(ssl={}))
    with pytest.raises(VERIFY_FAILED, match=r"(?i)hostname mismatch|not valid for '0.0.0.0'"):
        secure(ANOTHER_ADDRESS, ssl=True)


def test_the_name_in_the_certificate(secure: Connect, context: ssl.SSLContext) -> None:
    assert works(secure('localhost', ssl=context))
    assert works(secure('127.0.0.1', ssl=context))  # it is for the address too
    with pytest.raises(VERIFY_FAILED, match=r"(?i)hostname mismatch|not valid for '0.0.0.0'"):
        secure(ANOTHER_ADDRESS, ssl=context)
    context.check_hostname = False
    assert works(secure(ANOTHER_ADDRESS, ssl=context))


CERT_REQS = {
    'unset': None,
    'none': ssl.CERT_NONE,
    'optional': ssl.CERT_OPTIONAL,
    'required': ssl.CERT_REQUIRED,
}
MATRIX = list(
    itertools.product(
        CERT_REQS,
        ('no authority', 'the authority', 'another authority'),
        (None, 'localhost', 'elsewhere.example'),
        (None, True, False),
    )
)


@pytest.mark.parametrize('cert_reqs', CERT_REQS)
def test_options_one_by_one(secure: Connect, broker: Broker, cert_reqs: str) -> None:
    authorities = {'the authority': broker.ca_file, 'another authority': broker.other_ca_file}
    for requirement, authority, server_hostname, check_hostname in MATRIX:
        if requirement != cert_reqs:
            continue
        options: dict[str, Any] = {}
        if CERT_REQS[requirement] is not None:
            options['cert_reqs'] = CERT_REQS[requirement]
        if authority in authorities:
            options['ca_certs'] = authorities[authority]
        if server_hostname is not None:
            options['server_hostname'] = server_hostname
        if check_hostname is not None:
            options['check_hostname'] = check_hostname
        expected = outcome(requirement, authority, server_hostname, check_hostname)
        assert attempt(secure, options or {'cert_reqs': None}) is expected, options


def outcome(
    cert_reqs: str, authority: str, server_hostname: str | None, check_hostname: bool | None
) -> type[Exception] | None:
    """What the options mean."""
    verified = cert_reqs != 'none'
    if check_hostname and not verified:
        return ValueError  # Python's own: a name that nobody vouches for is no name
    if verified and authority != 'the authority':
        return VERIFY_FAILED
    matched = verified and (
        server_hostname is not None if check_hostname is None else check_hostname
    )
    if matched and server_hostname == 'elsewhere.example':
        return VERIFY_FAILED
    return None


def attempt(secure: Connect, options: dict[str, Any]) -> type[Exception] | None:
    try:
        connection = secure(ssl=options)
    except Exception as exc:  # noqa: BLE001 - its class is the result
        return type(exc)
    connection.close()
    return None


def test_options_for_a_context(secure: Connect, broker: Broker) -> None:
    options = {'cafile': broker.ca_file}
    assert works(secure(ssl={'context': options}))
    assert works(secure(ANOTHER_ADDRESS, ssl={'context': options}))
    assert works(secure(ANOTHER_ADDRESS, ssl={'context': options, 'server_hostname': 'localhost'}))
    with pytest.raises(VERIFY_FAILED):
        secure(ANOTHER_ADDRESS, ssl={'context': {**options, 'check_hostname': True}})
    with pytest.raises(VERIFY_FAILED):
        secure(ssl={'context': {'cafile': broker.other_ca_file}})


def test_a_context_in_the_options(secure: Connect, context: ssl.SSLContext) -> None:
    assert works(secure(ANOTHER_ADDRESS, ssl={'context': context, 'server_hostname': 'localhost'}))
    with pytest.raises(VERIFY_FAILED):
        secure(ANOTHER_ADDRESS, ssl={'context': context})


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(secure: Connect, broker: Broker, version: ssl.TLSVersion) -> None:
    connection = secure(
        ssl={
            'ca_certs': broker.ca_file,
            'tls_minimum_version': version,
            'tls_maximum_version': version,
        }
    )
    assert connection.sock.version() == version.name.replace('_', '.')
    assert works(connection)


def test_ciphers(secure: Connect, broker: Broker) -> None:
    connection = secure(
        ssl={
            'ca_certs': broker.ca_file,
            'tls_maximum_version': ssl.TLSVersion.TLSv1_2,
            'ciphers': 'ECDHE+AESGCM',
        }
    )
    assert 'GCM' in connection.sock.cipher()[0]
    with pytest.raises(ssl.SSLError, match=r'(?i)cipher'):
        secure(ssl={'ca_certs': broker.ca_file, 'ciphers': 'NONE-SUCH'})


def test_one_side_speaks_tls_alone(
    connect: Connect, broker: Broker, context: ssl.SSLContext
) -> None:
    with takes(0, 5), pytest.raises(ssl.SSLError):
        connect(f'localhost:{broker.port}', ssl=context)
    with takes(0, 5), pytest.raises((amqp.RecoverableConnectionError, amqp.FrameError)):
        connect(f'localhost:{broker.tls_port}', connect_timeout=4)


# -- who we are


@pytest.mark.parametrize('login_method', ['PLAIN', 'AMQPLAIN'])
def test_a_password_over_tls(secure: Connect, context: ssl.SSLContext, login_method: str) -> None:
    assert works(secure(ssl=context, login_method=login_method))
    with pytest.raises(amqp.AccessRefused):
        secure(ssl=context, login_method=login_method, password='wrong')


def test_a_certificate_instead_of_a_password(
    secure: Connect, broker: Broker, context: ssl.SSLContext
) -> None:
    context.load_cert_chain(broker.client_cert, broker.client_key)
    options = {
        'ca_certs': broker.ca_file,
        'certfile': broker.client_cert,
        'keyfile': broker.client_key,
    }
    for each in (context, options):
        connection = secure(ssl=each, login_method='EXTERNAL', password='not needed')
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        publish(channel, queue, 'x', user_id=CLIENT)  # the broker knows us by that name
        with pytest.raises(amqp.PreconditionFailed):
            publish(channel, queue, 'x', user_id='guest')


def test_no_certificate_to_log_in_with(secure: Connect, context: ssl.SSLContext) -> None:
    with pytest.raises(amqp.AccessRefused, match='EXTERNAL'):
        secure(ssl=context, login_method='EXTERNAL')


def test_a_certificate_that_the_broker_does_not_trust(
    secure: Connect, broker: Broker, context: ssl.SSLContext
) -> None:
    context.load_cert_chain(broker.other_client_cert, broker.other_client_key)
    with pytest.raises((OSError, amqp.RecoverableConnectionError)):
        secure(ssl=context, login_method='EXTERNAL')


# -- working over TLS


def test_many_messages_with_calls_between(
    secure: Connect, context: ssl.SSLContext, queue: str
) -> None:
    """A record holds many frames: what OpenSSL has decrypted must not be overlooked."""
    connection = secure(ssl=context)
    channel = connection.channel()
    messages = consume(channel, queue, no_ack=True)
    other = connection.channel()
    sent = []
    for number in range(3_000):
        body = b'%d ' % number * (number % 50)
        other.basic_publish(amqp.Message(body), routing_key=queue)
        sent.append(body)
        if number % 30 == 0:
            ready(other, queue)
        if number % 700 == 0:
            drain_until(connection, lambda: len(messages) == len(sent))
    drain_until(connection, lambda: len(messages) == len(sent))
    assert bodies(messages) == sent


def test_large_bodies(secure: Connect, context: ssl.SSLContext, queue: str) -> None:
    channel = secure(ssl=context).channel()
    sent = [bytes([number]) * (number * 1_000_000 + 1) for number in range(9)]
    publish(channel, queue, *sent)
    assert bodies(receive(channel, queue, len(sent), no_ack=True)) == sent


def test_a_poll_sees_what_is_decrypted(
    secure: Connect, context: ssl.SSLContext, queue: str
) -> None:
    publish(secure(ssl=context).channel(), queue, *map(str, range(100)))
    connection = secure(ssl=context)
    messages = consume(connection.channel(), queue, no_ack=True)
    drain_until(connection, lambda: messages)
    deadline = time.monotonic() + PATIENCE
    while len(messages) < 100 and time.monotonic() < deadline:
        try:
            connection.drain_events(timeout=0)
        except TimeoutError:
            continue
    assert bodies(messages) == list(map(str, range(100)))


def test_silence_lasts_longer_than_connecting_may(
    connect: Connect, secure: Connect, context: ssl.SSLContext, name: str
) -> None:
    """``connect_timeout`` is over once we are connected, with TLS and without."""
    connections = [secure(ssl=context, connect_timeout=1), connect(connect_timeout=1)]
    received = []
    for number, connection in enumerate(connections):
        channel = connection.channel()
        channel.queue_declare(f'{name}-{number}', exclusive=True)
        received.append(consume(channel, f'{name}-{number}', no_ack=True))
    threads = [Background(connection.drain_events) for connection in connections]
    threading.Event().wait(3.2)  # three times as long; nobody sets it
    assert received == [[], []]
    for number, connection in enumerate(connections):
        publish(connection.channel(), f'{name}-{number}', 'still here')
        threads[number].result()
        drain_until(connection, lambda number=number: received[number])


def test_closing(secure: Connect, context: ssl.SSLContext) -> None:
    connection = secure(ssl=context)
    sock = connection.sock
    connection.close()
    assert sock.fileno() == -1
    with pytest.raises(amqp.RecoverableConnectionError):
        connection.channel()
