"""pytest over greenlets: gevent or eventlet patches the standard library before anything else runs.

    python t/helpers/green.py gevent|eventlet [ARGUMENTS OF PYTEST]

Run by its path, with PYTHONSAFEPATH=1: what is tested is the package `amqp` that is installed.
"""

from __future__ import annotations

import sys


def patch(package: str) -> None:
    """Make sockets, threads, locks and sleep of the standard library the package's."""
    if package == 'gevent':
        from gevent import monkey

        monkey.patch_all()
    elif package == 'eventlet':
        import eventlet

        eventlet.monkey_patch()
    else:
        raise SystemExit(__doc__)


def patched_by() -> str | None:
    """The package that has patched this process."""
    if 'gevent.monkey' in sys.modules and sys.modules['gevent.monkey'].is_module_patched('socket'):
        return 'gevent'
    if 'eventlet.patcher' in sys.modules:
        if sys.modules['eventlet.patcher'].is_monkey_patched('socket'):
            return 'eventlet'
    return None


def main() -> int:
    patch(sys.argv[1] if len(sys.argv) > 1 else '')
    import pytest

    return pytest.main(sys.argv[2:])


if __name__ == '__main__':
    sys.exit(main())
