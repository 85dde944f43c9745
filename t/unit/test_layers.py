"""Imports go downward only, and nothing below layer 3 knows of sockets, TLS or threads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / 'amqp'

LAYERS = {
    0: {'_version', 'spec', 'protocol', 'platform', 'utils'},
    1: {'exceptions'},
    2: {
        'scalars',
        'tables',
        'serialization',
        'basic_message',
        'deadline',
        'heartbeat',
        'confirms',
        'delivery_errors',
        'channel_ids',
        'states',
        'body_buffer',
        'content',
        'read_buffer',
        'assembly',
        'outgoing',
        'negotiation',
        'urls',
        'queue_arguments',
        'timers',
        'unsettled',
        'callback_sets',
    },
    3: {
        'method_framing',
        'abstract_transport',
        'addresses',
        'clock',
        'locks',
        'sending',
        'polling',
        'parts',
        'tls',
        'transport',
        'sasl',
        'events',
        'thread_roles',
        'confirm_mode',
        'confirm_promise',
        'inbox',
        'outbox',
        'write_queue',
        'coalescing',
        'replies',
        'heartbeat_thread',
        'channel_registry',
        'credentials',
        'waker',
        'sockets',
        'garbage',
    },
    4: {
        'abstract_channel',
        'frame_reader',
        'reopenable_channel',
        'publishing_channel',
        'confirming_channel',
        'publish_batches',
        'consuming_channel',
        'single_use_connection',
        'writing_connection',
        'draining_connection',
        'streaming_channel',
        'message_stream',
        'message_processing',
    },
    5: {'channel', 'connecting', 'connection', 'handshake', 'rpc', 'worker_pool'},
    6: {'__init__'},
}
LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}

# Within a layer only these know each other.
SAME_LAYER = {
    ('tables', 'scalars'),
    ('serialization', 'scalars'),
    ('serialization', 'tables'),
    ('serialization', 'content'),
    ('content', 'scalars'),
    ('content', 'tables'),
    ('content', 'body_buffer'),
    ('basic_message', 'content'),
    ('basic_message', 'tables'),
    ('read_buffer', 'body_buffer'),
    ('assembly', 'basic_message'),
    ('assembly', 'read_buffer'),
    ('assembly', 'tables'),
    ('inbox', 'replies'),
    ('outbox', 'confirm_mode'),
    ('outbox', 'locks'),
    ('outbox', 'method_framing'),
    ('outgoing', 'basic_message'),
    ('outgoing', 'tables'),
    ('delivery_errors', 'basic_message'),
    ('delivery_errors', 'confirms'),
    ('events', 'thread_roles'),
    ('method_framing', 'abstract_transport'),
    ('method_framing', 'replies'),
    ('method_framing', 'clock'),
    ('connection', 'channel'),
    ('credentials', 'sasl'),
    ('connecting', 'connection'),
    ('rpc', 'channel'),
    ('reopenable_channel', 'abstract_channel'),
    ('publishing_channel', 'abstract_channel'),
    ('publishing_channel', 'reopenable_channel'),
    ('confirming_channel', 'publish_batches'),
    ('confirming_channel', 'publishing_channel'),
    ('consuming_channel', 'abstract_channel'),
    ('consuming_channel', 'confirming_channel'),
    ('consuming_channel', 'reopenable_channel'),
    ('single_use_connection', 'abstract_channel'),
    ('single_use_connection', 'frame_reader'),
    ('writing_connection', 'abstract_channel'),
    ('writing_connection', 'frame_reader'),
    ('writing_connection', 'single_use_connection'),
    ('draining_connection', 'writing_connection'),
    ('streaming_channel', 'abstract_channel'),
    ('streaming_channel', 'consuming_channel'),
    ('streaming_channel', 'message_stream'),
    ('streaming_channel', 'message_processing'),
    ('connection', 'handshake'),
    ('abstract_transport', 'addresses'),
    ('abstract_transport', 'waker'),
    ('abstract_transport', 'sockets'),
    ('sockets', 'polling'),
    ('sockets', 'waker'),
    ('tls', 'sockets'),
    ('abstract_transport', 'clock'),
    ('abstract_transport', 'locks'),
    ('abstract_transport', 'sending'),
    ('abstract_transport', 'parts'),
    ('abstract_transport', 'write_queue'),
    ('abstract_transport', 'coalescing'),
    ('tls', 'abstract_transport'),
    ('tls', 'addresses'),
    ('tls', 'sending'),
    ('transport', 'abstract_transport'),
    ('transport', 'addresses'),
    ('transport', 'tls'),
}

NEEDS_A_SOCKET_OR_A_THREAD = {
    'socket',
    'ssl',
    'threading',
    '_thread',
    'select',
    'selectors',
    'asyncio',
    'concurrent',
    'queue',
    'socketserver',
    'multiprocessing',
}
# A clock is passed in: pure logic is tested by calling it.
CLOCKS = {'time'}
# The transport moves bytes, and knows nothing of methods or of what is in them.
NOT_FOR_TRANSPORT = {
    'spec',
    'scalars',
    'tables',
    'serialization',
    'content',
    'basic_message',
    'assembly',
    'exceptions.METHOD_NAME_MAP',
}

PRESENT = sorted(PACKAGE.glob('*.py'))


def imports(source: str) -> set[str]:
    """Return what a module of the package imports: '.spec' for its own modules, else 'socket'.

    Imports inside functions count; those for a type checker only do not.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith('TYPE_CHECKING'):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, 'an import from outside of the package'
            if node.level and node.module is None:
                found |= {f'.{alias.name}' for alias in node.names}
            else:
                found.add('.' * node.level + str(node.module))
    return {name.removeprefix('amqp') if name.startswith('amqp.') else name for name in found}


def upward(module: str, source: str) -> list[str]:
    """Return the imports of `module` that its layer forbids."""
    wrong = []
    for name in sorted(imports(source)):
        if not name.startswith('.'):
            top = name.partition('.')[0]
            below = LAYER_OF[module] <= 2
            if top == 'amqp' or (below and top in NEEDS_A_SOCKET_OR_A_THREAD):
                wrong.append(name)
            continue
        other = name[1:].partition('.')[0]
        if LAYER_OF.get(other, 99) > LAYER_OF[module] or (
            LAYER_OF[other] == LAYER_OF[module] and (module, other) not in SAME_LAYER
        ):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize('path', PRESENT, ids=lambda path: path.stem)
def test_imports_go_downward(path):
    assert path.stem in LAYER_OF, 'give the new module a layer'
    assert upward(path.stem, path.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(
    'path', [path for path in PRESENT if LAYER_OF.get(path.stem) == 2], ids=lambda path: path.stem
)
def test_pure_logic_has_no_clock(path):
    assert not CLOCKS & imports(path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('module', ['abstract_transport', 'addresses', 'tls', 'transport'])
def test_transports_know_nothing_of_methods(module):
    source = (PACKAGE / f'{module}.py').read_text(encoding='utf-8')
    assert not {name[1:] for name in imports(source)} & (NOT_FOR_TRANSPORT - {'spec'})
    # Of spec it may use frame types and sizes, no ids of methods.
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == 'spec'
    }
    used |= {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == 'spec'
        for alias in node.names
    }
    assert all(name.startswith('FRAME_') or name == 'PROTOCOL_HEADER' for name in used)


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('spec', 'from . import exceptions'),
        ('spec', 'from .utils import get_logger'),
        ('exceptions', 'from .serialization import dumps'),
        ('serialization', 'import socket'),
        ('serialization', 'import threading as t'),
        ('serialization', 'from ssl import SSLError'),
        ('heartbeat', 'def f():\n    import socket'),
        ('heartbeat', 'from .serialization import dumps'),
        ('serialization', 'from .basic_message import Message'),
        ('channel', 'from .connection import Connection'),
        ('channel', 'from amqp.connection import Connection'),
        ('channel', 'import amqp'),
        ('transport', 'from .abstract_channel import AbstractChannel'),
        ('transport', 'from .sasl import PLAIN'),
        ('channel', 'from .unheard_of import x'),
    ],
)
def test_the_walk_sees_what_is_forbidden(module, source):
    assert upward(module, source)


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('exceptions', 'from . import spec'),
        ('basic_message', 'from .content import GenericContent'),
        ('connection', 'from .channel import Channel\nimport socket'),
        ('transport', 'import ssl, socket'),
        ('serialization', 'from struct import Struct'),
        ('channel', 'if TYPE_CHECKING:\n    from .connection import Connection'),
        ('channel', 'if typing.TYPE_CHECKING:\n    from .connection import Connection'),
    ],
)
def test_the_walk_allows_the_rest(module, source):
    assert upward(module, source) == []


@pytest.mark.parametrize('module', sorted(LAYERS[0] | LAYERS[1] | LAYERS[2] - {'_version'}))
def test_pure_modules_load_no_socket_indirectly(module):
    """Not even through what they import, vine aside (utils re-exports its promise)."""
    if not (PACKAGE / f'{module}.py').exists():
        pytest.skip('not there')
    code = (
        'import sys, types\n'
        'import vine\n'
        'for name in ("socket", "ssl", "_socket"): sys.modules.pop(name, None)\n'
        'package = types.ModuleType("amqp")\n'  # without __init__, which imports everything
        f'package.__path__ = [{str(PACKAGE)!r}]\n'
        'sys.modules["amqp"] = package\n'
        f'import amqp.{module}\n'
        'print(*sorted({"socket", "ssl"} & set(sys.modules)))\n'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    ).stdout
    assert out.strip() == ''
