"""Sphinx configuration: ``sphinx-build -W -n docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sphinx.util.nodes import make_refnode  # noqa: E402

import amqp  # noqa: E402

project = 'amqp'
author = 'The amqp authors'
project_copyright = f'the {project} authors'
version = '.'.join(amqp.__version__.split('.')[:2])
release = amqp.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx.ext.viewcode']
exclude_patterns = ['_build', 'includes']
if not (ROOT / 'Changelog.rst').exists():
    exclude_patterns.append('changelog.rst')
    suppress_warnings = ['toc.excluded']
nitpicky = True

# `Name` in a docstring is a name of Python.
default_role = 'py:obj'
highlight_language = 'none'
pygments_style = 'friendly'
trim_doctest_flags = True

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_preserve_defaults = True
autoclass_content = 'class'
python_use_unqualified_type_names = True
python_display_short_literal_types = True
add_module_names = False

# What these stand for is said where they are used. No inventory of another
# project is fetched, so that the build needs no network.
nitpick_ignore_regex = [
    (r'py:.*', r'(collections|contextlib|datetime|decimal|enum|logging|types|typing)\..*'),
    (r'py:.*', r'(socket|ssl|ssl_module|vine)\..*'),
    (
        r'py:.*',
        r'(Iterable|Mapping|Sequence|Callable|Iterator|Enum|Logger|TracebackType|Decimal|datetime)',
    ),
    # Type variables and aliases that are private to their modules.
    (
        r'py:.*',
        r'.*\b(ChannelT|ReturnedT|StateT|EventT|MethodSig|_Sig|_E|_Bytes|_Write|Buffer|_Channel)',
    ),
    (r'py:.*', r'.*\b(Table|ConsumerCallback|CancelCallback)'),
    (r'py:.*', r'.*\b(FrameHandler|FrameWriter|InboundMethod)'),
]

html_theme = 'alabaster'
html_title = f'{project} {release}'
html_show_sourcelink = False
html_theme_options = {
    'description': 'AMQP 0-9-1 for RabbitMQ: blocking calls, many threads, no surprises',
    'fixed_sidebar': True,
    'page_width': '1080px',
    'sidebar_width': '250px',
    'body_max_width': '800px',
}


def resolve_short_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Find what is named without its module: `Message`, `Channel.basic_qos`, `amqp.Connection`.

    Of several objects the one with the shortest path is meant. Where two are
    equally short nothing is guessed: that stays a warning.
    """
    if node.get('refdomain') != 'py':
        return None
    target = node['reftarget'].lstrip('.').removeprefix('amqp.')
    objects = env.get_domain('py').objects
    found = [name for name in objects if name.endswith(f'.{target}') and not objects[name].aliased]
    # Its classes are tables of numbers, named as the classes that act.
    found = [name for name in found if not name.startswith('amqp.spec.')] or found
    found.sort(key=lambda name: name.count('.'))
    if not found or (len(found) > 1 and found[0].count('.') == found[1].count('.')):
        return None
    entry = objects[found[0]]
    return make_refnode(
        app.builder, node['refdoc'], entry.docname, entry.node_id, contnode, found[0]
    )


def setup(app: Any) -> dict[str, bool]:
    app.connect('missing-reference', resolve_short_name)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
