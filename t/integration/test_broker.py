"""The node that the other tests rely on does what they rely on: seen with plain sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pamqp import commands, frame, header

from t.helpers.broker import Broker
from t.helpers.processes import PATIENCE, ROOT, accepts, processes_of

pytestmark = pytest.mark.integration


def greet(sock: socket.socket) -> commands.Connection.Start:
    sock.sendall(header.ProtocolHeader(0, 9, 1).marshal())
    received = b''
    while True:
        received += sock.recv(65536)
        taken, channel, method = frame.unmarshal(received)
        if taken:
            assert channel == 0
            return method


def greet_plain(broker: Broker) -> commands.Connection.Start:
    with socket.create_connection((broker.host, broker.port), timeout=10) as sock:
        return greet(sock)


def test_greets_with_its_version_and_mechanisms(broker: Broker) -> None:
    start = greet_plain(broker)
    assert start.server_properties['product'] == 'RabbitMQ'
    assert start.server_properties['version'] == '.'.join(map(str, broker.version))
    assert {'PLAIN', 'AMQPLAIN'} <= set(start.mechanisms.split())


def test_tls_with_a_certificate_for_localhost(broker: Broker) -> None:
    context = ssl.create_default_context(cafile=broker.ca_file)
    context.load_cert_chain(broker.client_cert, broker.client_key)
    with (
        socket.create_connection((broker.host, broker.tls_port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname='localhost') as tls,
    ):
        assert 'EXTERNAL' in greet(tls).mechanisms.split()


def test_the_other_authority_did_not_sign(broker: Broker) -> None:
    context = ssl.create_default_context(cafile=broker.other_ca_file)
    with socket.create_connection((broker.host, broker.tls_port), timeout=10) as sock:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(sock, server_hostname='localhost')


def test_listens_on_the_loopback_only(broker: Broker) -> None:
    assert set(listening_addresses(broker)) <= {'0100007F', f'{1 << 24:032X}'}


def listening_addresses(broker: Broker) -> list[str]:
    """Of all processes of the node, as /proc writes them: 127.0.0.1 and, for epmd alone, ::1."""
    inodes = set()
    for pid in processes_of(broker.directory):
        for fd in Path(f'/proc/{pid}/fd').iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                inodes.add(os.readlink(fd).removeprefix('socket:[').removesuffix(']'))
    addresses = []
    for table in ('tcp', 'tcp6'):
        for line in Path(f'/proc/net/{table}').read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == '0A' and fields[9] in inodes:
                addresses.append(fields[1].split(':')[0])
    assert addresses
    return addresses


def test_ctl(broker: Broker) -> None:
    assert 'amqp-client' in broker.ctl('list_users')
    assert isinstance(broker.list_queues(), dict)


def test_breaks_and_comes_back() -> None:
    with Broker(tls=False) as broker:
        with socket.create_connection((broker.host, broker.port), timeout=10) as sock:
            greet(sock)
            broker.suspend()
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            broker.resume()
            broker.kill()
            sock.settimeout(10)
            assert end_of(sock)
        assert not accepts(broker.port)
        broker.start_again()
        assert greet_plain(broker)
        broker.restart()
        assert greet_plain(broker)
        directory = broker.directory
    assert not directory.exists()
    assert not list(processes_of(directory))


def end_of(sock: socket.socket) -> bool:
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_killed_test_run_leaves_nothing() -> None:
    """The node is buried by a process that outlives the one that started it."""
    script = (
        'import os, signal\n'
        'from t.helpers.broker import Broker\n'
        'node = Broker(tls=False).start()\n'
        'print(node.directory, flush=True)\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    environment = {key: os.environ[key] for key in os.environ if key != 'PYTHONSAFEPATH'}
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == -signal.SIGKILL
    directory = Path(done.stdout.strip())
    deadline = time.monotonic() + PATIENCE
    while directory.exists() or list(processes_of(directory)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
