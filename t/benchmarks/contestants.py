"""The clients that are compared."""

from __future__ import annotations

from t.benchmarks.amqp_clients import Compiled, Pure, PyAMQP, PyAMQPCompiled
from t.benchmarks.contestant import Contestant
from t.benchmarks.floor import Floor
from t.benchmarks.pika_client import Pika

CONTESTANTS: dict[str, Contestant] = {
    each.key: each() for each in (Compiled, Pure, PyAMQP, PyAMQPCompiled, Pika, Floor)
}
#: The one that the others are compared with.
BASELINE = PyAMQP.key
