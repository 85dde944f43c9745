"""The processes and the ports of a private node."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

HOST = '127.0.0.1'
#: The environment variable by which the processes of one node are told from all others.
MARK = 'AMQP_TEST_BROKER'
HEADER = b'AMQP\x00\x00\x09\x01'


def processes_of(directory: Path) -> Iterator[int]:
    """The ids of the living processes that belong to the node in the directory."""
    mark = f'{MARK}={directory}'.encode()
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        # Gone meanwhile, or another user's. A zombie's environment is empty.
        with contextlib.suppress(OSError):
            if mark in (entry / 'environ').read_bytes().split(b'\0'):
                yield int(entry.name)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, all different.

    They lie below the range from which the kernel serves outgoing connections, so that none of
    those can take one before the node does.
    """
    low = int(Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])
    ports: list[int] = []
    while len(ports) < count:
        port = 10_000 + secrets.randbelow(max(low, 20_000) - 10_000)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """True when something takes connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def speaks_amqp(port: int) -> bool:
    """True when the peer answers the protocol header with a method frame (Connection.Start)."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as sock:
            sock.sendall(HEADER)
            return sock.recv(1) == b'\x01'
    except OSError:
        return False
