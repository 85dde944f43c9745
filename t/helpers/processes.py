"""The processes and the ports of a private node.

As a program, `python -m t.helpers.processes DIRECTORY` waits for the end of its input and then ends
what is left of the node in the directory, and the directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOST = '127.0.0.1'
#: The environment variable by which the processes of one node are told from all others.
MARK = 'AMQP_TEST_BROKER'
#: Seconds in which killed processes have to be gone.
PATIENCE = 30
ROOT = Path(__file__).resolve().parents[2]
HEADER = b'AMQP\x00\x00\x09\x01'


class Undertaker:
    """A process that outlives this one, and buries the node when called or when this one is dead.

    Erlang's helpers outlive their parent, and a killed test run stops nothing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process = subprocess.Popen(
            [sys.executable, '-m', 't.helpers.processes', str(directory)],
            cwd=ROOT,
            # Where PYTHONSAFEPATH is set, `t` would not be found.
            env={key: value for key, value in os.environ.items() if key != 'PYTHONSAFEPATH'},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def call(self) -> None:
        self._process.communicate(timeout=2 * PATIENCE)
        if self._process.returncode:
            raise RuntimeError(f'not all of {self.directory} is gone')


def bury(directory: Path) -> None:
    """End the processes of the node in the directory, wait until they are gone, and remove it."""
    deadline = time.monotonic() + PATIENCE
    while pids := list(processes_of(directory)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise SystemExit(f'processes that will not end: {pids}')
        time.sleep(0.01)
    shutil.rmtree(directory)


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


def is_stopped(pid: int) -> bool:
    """True when every thread of the process stands still, by SIGSTOP."""
    stats = [file.read_bytes() for file in Path(f'/proc/{pid}/task').glob('*/stat')]
    return all(stat.rpartition(b')')[2].split()[0] == b'T' for stat in stats)


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


if __name__ == '__main__':
    sys.stdin.read()
    bury(Path(sys.argv[1]))
