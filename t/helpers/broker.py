"""A private RabbitMQ node: started, controlled, broken and removed by the tests.

    with Broker() as broker:
        connection = amqp.Connection(f'{broker.host}:{broker.port}')

Everything of the node lives in one temporary directory, listens on free ports of 127.0.0.1 only,
and has an epmd and an Erlang cookie of its own: a broker that runs on the machine already is
neither seen nor touched. Every process is stopped by its id, even if the tests are killed. Linux
only.

`t.helpers.installation` tells which RabbitMQ is started.

As a program it starts a node, runs a command with AMQP_URL pointing at it, and stops the node:

    python -m t.helpers.broker python my_script.py
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from t.helpers.certificates import CLIENT, Certificates
from t.helpers.installation import BrokerError, Installation
from t.helpers.processes import (
    HOST,
    MARK,
    Undertaker,
    accepts,
    free_ports,
    is_stopped,
    speaks_amqp,
)

__all__ = ('CLIENT', 'HOST', 'Broker', 'BrokerError')

#: Seconds in which a node has to come up or go down; ten times what it takes.
PATIENCE = 60
PLUGINS = ('rabbitmq_auth_mechanism_ssl',)


class Broker(Certificates):
    """One private node. Starts with `start()` or as a context manager; single-threaded use.

    `config` adds lines to rabbitmq.conf. Without `tls` there are no certificates and no `tls_port`.
    """

    host = HOST

    def __init__(
        self,
        tls: bool = True,
        plugins: Iterable[str] = PLUGINS,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.installation = Installation()
        self.version = self.installation.version
        self.tls = tls
        self._plugins = tuple(plugins)
        self._config = dict(config or {})
        self.directory = self._make_directory()
        self.name = f'amqp-test-{os.getpid()}-{secrets.token_hex(4)}@localhost'
        self.port, self.tls_port, self._dist_port, self._epmd_port = free_ports(4)
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._undertaker = Undertaker(self.directory)
        self._write_files()

    # -- what the tests connect with

    @property
    def url(self) -> str:
        return f'amqp://guest:guest@{self.host}:{self.port}//'

    @property
    def tls_url(self) -> str:
        return f'amqps://guest:guest@localhost:{self.tls_port}//'

    @property
    def log(self) -> str:
        """All that the node has written so far."""
        files = [self.directory / 'output', *sorted(self.directory.glob('log/*.log'))]
        return '\n'.join(file.read_text(errors='replace') for file in files if file.exists())

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine."""
        if self._node is None:
            raise BrokerError('the node is not running')
        return self._node.pid

    # -- life and death

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> Broker:
        """Start the node and return when it takes connections on each of its ports."""
        try:
            self._start_epmd()
            self._start_node()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process of the node, without ceremony, and remove its directory."""
        for child in (self._node, self._epmd):
            if child is not None:
                child.kill()
                child.wait(PATIENCE)
        self._node = self._epmd = None
        self._undertaker.call()

    def restart(self) -> None:
        """An operator's restart: clients are told (320), durable things come back."""
        self._end_node(signal.SIGTERM)
        self.start_again()

    def kill(self) -> None:
        """End the node at once, as a power cut does; it can be started again."""
        self._end_node(signal.SIGKILL)

    def start_again(self) -> None:
        """Start the node after `kill`: same name, same ports, same data."""
        self._start_node()

    def suspend(self) -> None:
        """Stop the node where it stands: its sockets stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # Its threads stop one after the other; until then they may answer.
        self._await(lambda: is_stopped(self.pid), self._node)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    # -- control

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl and return what it prints."""
        command = self.installation.command('sbin/rabbitmqctl', '-q', '-n', self.name, *args)
        done = subprocess.run(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode:
            raise BrokerError(f'rabbitmqctl {" ".join(args)}: {done.stderr or done.stdout}')
        return done.stdout

    def memory_alarm(self, on: bool) -> None:
        """Raise the memory alarm, which blocks every connection that publishes; or clear it."""
        self.ctl('set_vm_memory_high_watermark', '0' if on else '0.6')

    def list_queues(self, vhost: str = '/') -> dict[str, int]:
        """Name -> number of messages."""
        rows = json.loads(self.ctl('list_queues', '-p', vhost, '--formatter', 'json'))
        return {row['name']: row['messages'] for row in rows}

    def close_all_connections(self, reason: str = 'closed by the test') -> None:
        """Have the broker close every connection with 320."""
        self.ctl('close_all_connections', reason)

    # -- files

    def _make_directory(self) -> Path:
        return Path(tempfile.mkdtemp(prefix='amqp-test-', dir=self.installation.temporary))

    def _write_files(self) -> None:
        home = self.directory / 'home'
        home.mkdir()
        cookie = home / '.erlang.cookie'
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
        if self.tls:
            self.write_certificates()
        self._write_text('enabled_plugins', f'[{", ".join(self._plugins)}].\n')
        self._write_text('definitions.json', json.dumps(definitions()))
        lines = {**self._settings(), **self._config}
        self._write_text('rabbitmq.conf', ''.join(f'{key} = {lines[key]}\n' for key in lines))
        self._write_text('rabbitmq-env.conf', '')

    def _write_text(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def _inside(self, name: str) -> str:
        return self.installation.inside(self.directory / name)

    def _settings(self) -> dict[str, object]:
        settings: dict[str, object] = {
            'listeners.tcp.1': f'{HOST}:{self.port}',
            'load_definitions': self._inside('definitions.json'),
            'disk_free_limit.absolute': '1MB',
            'vm_memory_high_watermark.relative': 0.6,
            'log.console': 'false',
            'auth_mechanisms.1': 'PLAIN',
            'auth_mechanisms.2': 'AMQPLAIN',
        }
        if self.version >= (4,):
            # What AMQP 0-9-1 has and RabbitMQ is about to give up.
            settings['deprecated_features.permit.transient_nonexcl_queues'] = 'true'
            settings['deprecated_features.permit.global_qos'] = 'true'
        if self.tls:
            settings |= self._tls_settings()
        return settings

    def _tls_settings(self) -> dict[str, object]:
        return {
            'listeners.ssl.1': f'{HOST}:{self.tls_port}',
            'ssl_options.cacertfile': self._inside('ca.pem'),
            'ssl_options.certfile': self._inside('server.pem'),
            'ssl_options.keyfile': self._inside('server.key'),
            'ssl_options.verify': 'verify_peer',
            'ssl_options.fail_if_no_peer_cert': 'false',
            'ssl_cert_login_from': 'common_name',
            'auth_mechanisms.3': 'EXTERNAL',
        }

    # -- processes

    def _environment(self) -> dict[str, str]:
        """The environment of every process of the node: nothing of it from /etc or from $HOME."""
        loopback = '-kernel inet_dist_use_interface {127,0,0,1}'
        inside = self._inside
        return {
            MARK: str(self.directory),
            'PATH': f'{os.environ.get("PATH", "")}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
            'LANG': 'C.UTF-8',
            'HOME': inside('home'),
            'ERL_EPMD_ADDRESS': HOST,
            'ERL_EPMD_PORT': str(self._epmd_port),
            # +S 2:2: two schedulers are what a test needs, whatever the machine has.
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': f'{loopback} -start_epmd false +S 2:2',
            'RABBITMQ_CTL_ERL_ARGS': f'{loopback} -start_epmd false +S 1:1',
            # Run Erlang in place of the shell, whose process id is then Erlang's.
            'RABBITMQ_ALLOW_INPUT': '1',
            'RABBITMQ_ADVANCED_CONFIG_FILE': inside('advanced.config'),
            'RABBITMQ_CONF_ENV_FILE': inside('rabbitmq-env.conf'),
            'RABBITMQ_CONFIG_FILE': inside('rabbitmq.conf'),
            'RABBITMQ_DIST_PORT': str(self._dist_port),
            'RABBITMQ_ENABLED_PLUGINS_FILE': inside('enabled_plugins'),
            'RABBITMQ_GENERATED_CONFIG_DIR': inside('config'),
            'RABBITMQ_LOG_BASE': inside('log'),
            'RABBITMQ_MNESIA_BASE': inside('data'),
            'RABBITMQ_NODENAME': self.name,
            'RABBITMQ_PID_FILE': inside('pid'),
            'RABBITMQ_PLUGINS_EXPAND_DIR': inside('plugins'),
        }

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / 'output').open('ab') as output:
            return subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A ^C at the terminal is for the tests, which then stop the node.
                start_new_session=True,
            )

    def _start_epmd(self) -> None:
        args = ('-address', HOST, '-port', str(self._epmd_port))
        self._epmd = self._spawn(self.installation.command('epmd', *args))
        self._await(lambda: accepts(self._epmd_port), self._epmd)

    def _start_node(self) -> None:
        self._node = self._spawn(self.installation.command('sbin/rabbitmq-server', '-noinput'))
        self._await(lambda: speaks_amqp(self.port), self._node)
        if self.tls:
            self._await(lambda: accepts(self.tls_port), self._node)

    def _await(self, ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None:
                raise BrokerError(f'{process.args!r} ended: {process.returncode}\n{self._tail()}')
            if time.monotonic() > deadline:
                raise BrokerError(f'not ready within {PATIENCE} s\n{self._tail()}')
            time.sleep(0.02)

    def _tail(self, lines: int = 40) -> str:
        return '\n'.join(self.log.splitlines()[-lines:])

    def _end_node(self, signum: int) -> None:
        if self._node is None:
            return
        self._node.send_signal(signum)
        if signum != signal.SIGKILL:
            # A suspended node would never get to see it.
            self._node.send_signal(signal.SIGCONT)
        self._node.wait(PATIENCE)
        self._node = None


def definitions() -> dict[str, Any]:
    """guest, and the user that the client certificate names. Saves two runs of rabbitmqctl."""
    names = {'guest': ['administrator'], CLIENT: []}
    users = [
        {
            'name': name,
            'password_hash': password_hash(name),
            'hashing_algorithm': 'rabbit_password_hashing_sha256',
            'tags': tags,
        }
        for name, tags in names.items()
    ]
    anything = {'vhost': '/', 'configure': '.*', 'write': '.*', 'read': '.*'}
    return {
        'users': users,
        'vhosts': [{'name': '/'}],
        'permissions': [{'user': name, **anything} for name in names],
    }


def password_hash(password: str) -> str:
    """RabbitMQ's form: base64 of salt and SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='python -m t.helpers.broker',
        description='Run a command beside a private RabbitMQ node, whose URL is in AMQP_URL.',
    )
    parser.add_argument('command', nargs=argparse.REMAINDER)
    command = parser.parse_args().command
    try:
        with Broker(tls=False, plugins=()) as broker:
            environment = {**os.environ, 'AMQP_URL': broker.url}
            return subprocess.run(command, env=environment, check=False).returncode
    except BrokerError as exc:
        raise SystemExit(str(exc)) from exc


if __name__ == '__main__':
    sys.exit(main())
