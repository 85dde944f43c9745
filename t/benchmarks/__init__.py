"""What the client costs beside others: `python -m t.benchmarks --help`.

samples.py       the messages that are published and consumed
contestant.py    what a contestant is: how a client is installed, how it does each task
contestants.py   the list of them; amqp_clients.py, pika_client.py, floor.py: a class for each
workloads.py     the table of workloads, with the goals beside them
peer.py          a process that speaks pre-encoded bytes, so that the client alone is measured
worker.py        a process that measures one workload with one contestant, once
environments.py  a virtual environment for each contestant
measure.py       rounds of workers, interleaved; strace, import time, profiles
report.py        medians, ratios, the Markdown table
chart.py         the chart for the documentation

How it's measured, and what that leans to:

* Each figure comes from a process of its own, in the contestant's own environment; the contestants
  take turns; of five runs in a process, and of the rounds, the median counts. A ratio is taken
  within a round.
* A message costs the CPU time of the client's process, its part in the kernel included. The peer
  sees to it that this part is small and the same for all: it reads in bursts, has the next
  deliveries ready, and runs on the same CPU. Over a network it's larger, and ratios are smaller.
  What is left of them when the client costs nothing is what the bare socket reaches.
* Messages a second, on the peer, are those of client and peer together on one CPU; its pauses count
  as well. On RabbitMQ they are mostly RabbitMQ's.
* The ids in Celery's messages differ from message to message, bodies do not. A callback counts, and
  reads what the workload names.
* System calls are the difference of two runs under strace, which slows the client down: what it
  does by the clock, it does more often for each message.
* Memory is that of the process: resident, after a garbage collection; half-used pages count.
"""
