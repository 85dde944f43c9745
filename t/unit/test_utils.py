from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys

import pytest
import vine

from amqp import utils

TEXTS = [('a', b'a'), ('é', b'\xc3\xa9'), ('', b''), ('a\ud800', b'a\xed\xa0\x80')]


@pytest.mark.parametrize(('text', 'raw'), TEXTS)
def test_text_and_bytes(text, raw):
    assert utils.str_to_bytes(text) == raw
    assert utils.bytes_to_str(raw) == text
    assert utils.str_to_bytes(raw) is raw
    assert utils.bytes_to_str(text) is text


def test_bytes_to_str_refuses_what_is_not_utf8():
    with pytest.raises(UnicodeDecodeError):
        utils.bytes_to_str(b'\xff')


def test_set_cloexec_on_descriptor_and_on_socket():
    with socket.socket() as sock:
        utils.set_cloexec(sock, False)
        assert os.get_inheritable(sock.fileno())
        utils.set_cloexec(sock.fileno(), True)
        assert not os.get_inheritable(sock.fileno())


def test_get_logger_is_silent_until_configured():
    logger = utils.get_logger('amqp.test.silent')
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert utils.get_logger(logger) is logger
    assert len(logger.handlers) == 1


def test_get_logger_leaves_handlers_alone():
    logger = logging.getLogger('amqp.test.configured')
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    assert utils.get_logger('amqp.test.configured').handlers == [handler]


def test_promise_is_vines():
    assert utils.promise is vine.promise


def test_fork_generation_is_steady():
    assert utils.fork_generation() == utils.fork_generation() >= 0


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the platform cannot fork')
def test_fork_generation_changes_in_the_child():
    # In a process of its own: forking one that has threads, as a test run may have, is unsafe.
    code = (
        'import os\n'
        'from amqp.utils import fork_generation\n'
        'before = fork_generation()\n'
        'assert before == fork_generation()\n'
        'pid = os.fork()\n'
        'if not pid:\n'
        '    os._exit(0 if fork_generation() == before + 1 else 1)\n'
        'assert os.waitpid(pid, 0)[1] == 0\n'
        'assert fork_generation() == before\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
