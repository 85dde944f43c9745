"""Which RabbitMQ the tests start, and how its programs are run.

AMQP_TEST_RABBITMQ_ROOT  a folder that holds a whole Debian (see extra/debian13.sh); needs root
AMQP_TEST_RABBITMQ_HOME  an unpacked RabbitMQ: the directory that has sbin/ and plugins/ in it
neither                  Debian's package, /usr/lib/rabbitmq/lib/rabbitmq_server-*
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path


class BrokerError(Exception):
    """The node could not be had, did not come up, or refused a command."""


class Installation:
    """A RabbitMQ on this machine: where it is, and how its programs are run."""

    def __init__(self) -> None:
        #: The folder that the node takes for '/', or None for this machine's own.
        self.root = _path_from('AMQP_TEST_RABBITMQ_ROOT')
        self.home = _path_from('AMQP_TEST_RABBITMQ_HOME') or self._debian_home()
        self.version = self._version()

    def _debian_home(self) -> Path:
        found = sorted((self.root or Path('/')).glob('usr/lib/rabbitmq/lib/rabbitmq_server-*'))
        if not found:
            raise BrokerError('no RabbitMQ: install rabbitmq-server or set AMQP_TEST_RABBITMQ_HOME')
        return found[-1]

    def _version(self) -> tuple[int, ...]:
        for plugin in self.home.glob('plugins/rabbit-*'):
            if match := re.match(r'rabbit-(\d+)\.(\d+)\.(\d+)', plugin.name):
                return tuple(map(int, match.groups()))
        raise BrokerError(f'no plugins/rabbit-VERSION in {self.home}')

    @property
    def temporary(self) -> Path:
        """Where the node's directory goes: it must be inside the root."""
        return self.root / 'tmp' if self.root else Path(tempfile.gettempdir())

    def inside(self, path: Path) -> str:
        """The path as the node sees it."""
        return f'/{path.relative_to(self.root)}' if self.root else str(path)

    def command(self, program: str, *args: str) -> list[str]:
        """The command line of a program of RabbitMQ's; a bare name is looked up in the PATH."""
        if '/' in program:
            program = self.inside(self.home / program)
        if self.root is None:
            return [program, *args]
        # /proc for Erlang's memory monitor, in a mount namespace that ends with the process.
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        return ['unshare', '--mount', 'sh', '-c', script, str(self.root), program, *args]


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else None
