"""What a contestant is: how a client is installed, and how it does each task.

To add one, derive from `Contestant` in a module beside this one, name what to install, and write
the tasks that the client can do, each as its users would; then list it in contestants.py. A task
sets things up and returns a `Run`: called with a number, it does that many messages (or a few more)
and returns how many. The methods run inside a worker, in the contestant's own environment: import
the client there, and nothing but the standard library, `contestant` and `samples` at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from t.benchmarks.samples import Sample

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[[int], int]


class UnsupportedError(Exception):
    """The client has no such thing."""


@dataclass(frozen=True)
class Target:
    """Where to connect, and the queue to use there."""

    port: int
    virtual_host: str
    host: str = '127.0.0.1'
    queue: str = 'bench'
    #: Messages that a consumer gets ahead of its acknowledgements; 0 is no limit.
    prefetch: int = 0


class Contestant:
    """A client. Each task raises `UnsupportedError` where there is no such thing."""

    key: ClassVar[str]
    title: ClassVar[str]
    #: What is imported.
    module: ClassVar[str]
    #: What pip installs. The project's own folder is a source: installed anew when it changes.
    requirements: ClassVar[tuple[str, ...]]
    pip_options: ClassVar[tuple[str, ...]] = ()
    #: What has to be there before that, as a build without isolation needs.
    build_requirements: ClassVar[tuple[str, ...]] = ()
    environ: ClassVar[Mapping[str, str]] = {}

    @property
    def is_own(self) -> bool:
        """Whether it's this project."""
        return str(ROOT) in self.requirements

    def describe(self) -> dict[str, Any]:
        """Version and build, as found in the environment."""
        module = __import__(self.module)
        folder = Path(module.__file__ or '').parent
        compiled = any(folder.glob('*.so')) or any(folder.glob('*.pyd'))
        return {'version': module.__version__, 'build': 'compiled' if compiled else 'pure'}

    def connect(self, target: Target) -> Any:
        raise UnsupportedError

    def channel(self, connection: Any) -> Any:
        return connection.channel()

    def publish(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def consume(self, target: Target, sample: Sample, touch: str = '', ack: bool = False) -> Run:
        raise UnsupportedError

    def publish_batch(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def consume_batch(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def confirm(self, target: Target, sample: Sample) -> Run:
        raise UnsupportedError

    def confirm_pipelined(self, target: Target, sample: Sample, window: int) -> Run:
        raise UnsupportedError

    def declare(self, target: Target) -> Run:
        raise UnsupportedError

    def get(self, target: Target) -> Run:
        raise UnsupportedError

    def dumps(self) -> Run:
        raise UnsupportedError

    def loads(self) -> Run:
        raise UnsupportedError
