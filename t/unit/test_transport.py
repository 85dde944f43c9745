"""Which stream a connection gets, and the names that are looked for here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from amqp import abstract_transport, addresses, tls
from amqp import transport as module
from amqp.transport import SSLTransport, TCPTransport, Transport


@pytest.mark.parametrize(
    ('options', 'cls', 'port'),
    [
        ({}, TCPTransport, 5672),
        ({'ssl': False}, TCPTransport, 5672),
        ({'ssl': None}, TCPTransport, 5672),
        ({'ssl': True}, SSLTransport, 5671),
        ({'ssl': {}}, SSLTransport, 5671),
        ({'ssl': {'ca_certs': 'x'}}, SSLTransport, 5671),
    ],
)
def test_which_transport(options, cls, port):
    made = Transport('rabbit', **options)
    assert type(made) is cls
    assert (made.host, made.port) == ('rabbit', port)


def test_names_of_the_other_modules():
    assert module._AbstractTransport is abstract_transport._AbstractTransport
    assert module.SSLTransport is tls.SSLTransport
    assert module.to_host_port is addresses.to_host_port
    assert (module.AMQP_PORT, module.AMQPS_PORT) == (5672, 5671)
    assert module.AMQP_PROTOCOL_HEADER == b'AMQP\x00\x00\x09\x01'
    assert module.DEFAULT_SOCKET_SETTINGS is abstract_transport.DEFAULT_SOCKET_SETTINGS


def test_plain_connections_load_no_tls():
    """The ssl module is slow to import, and may be missing."""
    code = 'import amqp, sys; amqp.transport.SSLTransport; print("ssl" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == 'False'
