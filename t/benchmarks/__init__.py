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
"""
