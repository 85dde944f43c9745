"""What is measured, and the goals: one table, from which the benchmarks run and the report is made.

A ratio is py-amqp's figure divided by the contestant's: how many times less it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from t.benchmarks.peer import Script

#: How many publishes go out before their confirms are waited for.
WINDOW = 100


@dataclass(frozen=True)
class Goal:
    """At least so many times less than py-amqp; or, with `unit`, at most so much of it."""

    value: float
    unit: str = ''

    @property
    def is_ratio(self) -> bool:
        return not self.unit

    def met(self, figure: float) -> bool:
        """Whether the figure, as exact as the goal is told, reaches it."""
        digits = max(1, len(f'{self.value:g}'.partition('.')[2]))
        figure = round(figure, digits)
        return figure >= self.value if self.is_ratio else figure <= self.value

    def __str__(self) -> str:
        return f'≥ {self.value:g}x' if self.is_ratio else f'≤ {self.value:g} {self.unit}'


@dataclass(frozen=True)
class Workload:
    """One row. `task` is a method of the contestants, `arguments` are its own.

    kind       cpu       CPU time of each message, in a worker
               calls     system calls of each message, by strace
               peak      MiB at most above what the process had before one large message
               channels  KiB of each idle channel
               connections  KiB of each idle connection
               import    CPU time of importing the client
    """

    key: str
    title: str
    kind: str = 'cpu'
    task: str = ''
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: The name of what is published or consumed.
    sample: str = ''
    script: Script | None = None
    goal: Goal | None = None
    #: For the pure build.
    pure_goal: Goal | None = None
    #: The row that py-amqp is measured on, where it hasn't this one.
    baseline: str = ''
    #: How many messages, channels, connections, where CPU time doesn't say how many are enough.
    count: int = 10_000
    #: Whether it runs against a broker, too.
    broker: bool = False


def _publish(key: str, title: str, sample: str, goal: float, **more: Any) -> Workload:
    return Workload(
        key,
        title,
        task='publish',
        sample=sample,
        script=Script(sink=True, sample=sample),
        goal=Goal(goal),
        **more,
    )


def _consume(
    key: str,
    title: str,
    sample: str,
    goal: float,
    task: str = 'consume',
    prefetch: int = 0,
    **more: Any,
) -> Workload:
    return Workload(
        key,
        title,
        task=task,
        sample=sample,
        script=Script(sample=sample, prefetch=prefetch),
        goal=Goal(goal),
        **more,
    )


PURE_PUBLISH, PURE_CONSUME = Goal(1.8), Goal(2.5)
ACK = {'ack': True}
#: What the peer sends ahead of acks.
PREFETCH = 10_000

_TABLE = (
    _publish('publish-16', 'publish 16 B', '16 B', 9, pure_goal=PURE_PUBLISH, broker=True),
    _publish('publish-1k', 'publish 1 KiB', '1 KiB', 8, pure_goal=PURE_PUBLISH, broker=True),
    _publish(
        'publish-celery',
        "publish 1 KiB, Celery's properties",
        'Celery',
        12,
        pure_goal=PURE_PUBLISH,
        broker=True,
    ),
    _publish('publish-100k', 'publish 100 KiB', '100 KiB', 3.8),
    _consume('consume-16', 'consume 16 B', '16 B', 50, pure_goal=PURE_CONSUME, broker=True),
    _consume('consume-1k', 'consume 1 KiB', '1 KiB', 45, pure_goal=PURE_CONSUME, broker=True),
    _consume(
        'consume-celery-header',
        "consume 1 KiB, Celery's, one header read",
        'Celery',
        30,
        arguments={'touch': 'header'},
        pure_goal=PURE_CONSUME,
        broker=True,
    ),
    _consume(
        'consume-celery-body',
        "consume 1 KiB, Celery's, the body read",
        'Celery',
        70,
        arguments={'touch': 'body'},
        pure_goal=PURE_CONSUME,
        broker=True,
    ),
    _consume('consume-100k', 'consume 100 KiB', '100 KiB', 4.5),
    _consume(
        'ack-1k',
        'consume and ack 1 KiB',
        '1 KiB',
        13,
        prefetch=PREFETCH,
        arguments=ACK,
        broker=True,
    ),
    _consume(
        'ack-celery',
        "consume and ack 1 KiB, Celery's",
        'Celery',
        16,
        prefetch=PREFETCH,
        arguments=ACK,
        broker=True,
    ),
    _consume(
        'batch-1k',
        'consume and ack 1 KiB in a batch',
        '1 KiB',
        30,
        task='consume_batch',
        prefetch=PREFETCH,
        baseline='ack-1k',
        broker=True,
    ),
    _consume(
        'batch-celery',
        "consume and ack 1 KiB, Celery's, in a batch",
        'Celery',
        30,
        task='consume_batch',
        prefetch=PREFETCH,
        baseline='ack-celery',
        broker=True,
    ),
    Workload(
        'batch-publish-1k',
        'publish 1 KiB in a batch',
        task='publish_batch',
        sample='1 KiB',
        script=Script(sink=True, sample='1 KiB'),
        baseline='publish-1k',
        broker=True,
    ),
    Workload(
        'confirm',
        'publish 1 KiB, confirmed one by one',
        task='confirm',
        sample='1 KiB',
        script=Script(window=1),
        goal=Goal(3.8),
        broker=True,
        count=2_000,
    ),
    Workload(
        'confirm-pipelined',
        f'publish 1 KiB, confirmed {WINDOW} at once',
        task='confirm_pipelined',
        arguments={'window': WINDOW},
        sample='1 KiB',
        script=Script(window=WINDOW),
        goal=Goal(7),
        broker=True,
    ),
    Workload(
        'declare',
        'passive declare',
        task='declare',
        script=Script(),
        goal=Goal(2.4),
        broker=True,
        count=2_000,
    ),
    Workload(
        'get',
        'basic_get 1 KiB',
        task='get',
        script=Script(sample='1 KiB'),
        goal=Goal(3.7),
        broker=True,
        count=2_000,
    ),
    Workload('dumps', "dumps of Celery's header table", task='dumps', goal=Goal(15)),
    Workload('loads', "loads of Celery's header table", task='loads', goal=Goal(15)),
    Workload(
        'calls-publish',
        'system calls: publish 16 B',
        kind='calls',
        task='publish',
        sample='16 B',
        script=Script(sink=True),
        goal=Goal(1, 'calls'),
    ),
    Workload(
        'calls-consume',
        'system calls: consume 16 B',
        kind='calls',
        task='consume',
        sample='16 B',
        script=Script(sample='16 B'),
        goal=Goal(0.02, 'calls'),
    ),
    Workload(
        'calls-ack',
        'system calls: consume and ack 16 B',
        kind='calls',
        task='consume',
        arguments=ACK,
        sample='16 B',
        script=Script(sample='16 B', prefetch=1_000),
        goal=Goal(1.02, 'calls'),
    ),
    Workload(
        'calls-declare',
        'system calls: passive declare',
        kind='calls',
        task='declare',
        script=Script(),
        count=2_000,
    ),
    Workload(
        'peak-consume',
        'peak memory: consume 64 MiB',
        kind='peak',
        task='consume',
        sample='64 MiB',
        script=Script(sample='64 MiB', limit=1),
        goal=Goal(66, 'MiB'),
    ),
    Workload(
        'peak-publish',
        'peak memory: publish 64 MiB',
        kind='peak',
        task='publish',
        sample='64 MiB',
        script=Script(sink=True, sample='64 MiB'),
        goal=Goal(66, 'MiB'),
    ),
    Workload(
        'idle-channel',
        'memory: idle channel',
        kind='channels',
        script=Script(),
        goal=Goal(2.5, 'KiB'),
        count=2_000,
    ),
    Workload(
        'idle-connection',
        'memory: idle connection',
        kind='connections',
        script=Script(),
        goal=Goal(20, 'KiB'),
        count=200,
    ),
    # 0.4 of py-amqp's time.
    Workload('import', 'import', kind='import', goal=Goal(2.5)),
)
WORKLOADS = {workload.key: workload for workload in _TABLE}
