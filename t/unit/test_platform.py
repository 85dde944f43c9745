from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from amqp import platform


@pytest.mark.parametrize(
    ('release', 'version'),
    [
        ('5.4.0-42-generic', (5, 4, 0)),
        ('2.6.32.1-rc1', (2, 6, 32)),
        ('6.1+', (6, 1)),
        ('6.1+5.2', (6, 1)),
        ('4.19.76-linuxkit', (4, 19, 76)),
        ('5', (5,)),
        ('', (0,)),
        ('unknown', (0,)),
    ],
)
def test_linux_version(release, version):
    assert platform.linux_version(release) == version


@pytest.mark.parametrize(
    ('name', 'version', 'has', 'lacks'),
    [
        ('linux', (5, 4, 0), {'TCP_USER_TIMEOUT', 'TCP_MAXSEG', 'TCP_KEEPIDLE'}, set()),
        ('linux2', (2, 6, 36), {'TCP_KEEPCNT'}, {'TCP_USER_TIMEOUT'}),
        ('linux', (2, 6, 37), {'TCP_USER_TIMEOUT'}, set()),
        ('darwin', (), {'TCP_KEEPALIVE', 'TCP_NODELAY'}, {'TCP_USER_TIMEOUT'}),
        ('freebsd14', (), {'TCP_KEEPIDLE'}, {'TCP_USER_TIMEOUT'}),
        ('sunos5', (), {'TCP_NODELAY'}, {'TCP_USER_TIMEOUT'}),
        ('win32', (), {'TCP_NODELAY'}, {'TCP_USER_TIMEOUT', 'TCP_MAXSEG'}),
        ('cygwin', (), {'TCP_NODELAY'}, {'TCP_KEEPIDLE'}),
        ('plan9', (), {'TCP_NODELAY'}, {'TCP_KEEPIDLE'}),
    ],
)
def test_known_tcp_opts(name, version, has, lacks):
    options = platform.known_tcp_opts(name, version)
    assert has <= options
    assert not lacks & options


def test_known_tcp_opts_is_a_copy():
    platform.known_tcp_opts('win32').clear()
    assert platform.known_tcp_opts('win32')


def test_numbers_are_those_of_the_socket_module():
    assert platform.SOL_TCP == socket.IPPROTO_TCP
    assert platform.HAS_TCP_USER_TIMEOUT == ('TCP_USER_TIMEOUT' in platform.KNOWN_TCP_OPTS)
    if platform.HAS_TCP_USER_TIMEOUT:
        assert platform.TCP_USER_TIMEOUT == socket.TCP_USER_TIMEOUT


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='about Linux')
def test_linux():
    assert platform.LINUX_VERSION > (2, 6)
    missing = {name for name in platform.KNOWN_TCP_OPTS if not hasattr(socket, name)}
    assert missing == set()


@pytest.mark.parametrize(('name', 'has'), [('win32', False), ('linux', True)])
def test_import_on_another_platform(name, has):
    code = (
        'import os, sys, types; from importlib.util import spec_from_file_location as at, '
        f'module_from_spec as new; sys.platform = {name!r}; '
        'os.uname = lambda: types.SimpleNamespace(release="5.4.0"); '
        f'spec = at("p", {platform.__file__!r}); p = new(spec); spec.loader.exec_module(p); '
        'print(p.HAS_TCP_USER_TIMEOUT, hasattr(p, "TCP_USER_TIMEOUT"), p.LINUX_VERSION)'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    ).stdout
    assert out.split(maxsplit=2) == [str(has), str(has), '(5, 4, 0)\n' if has else 'None\n']
