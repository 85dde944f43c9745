"""A pool of workers: what it settles, and in which order it ends, whatever ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import pytest
from pamqp import commands
from pamqp.heartbeat import Heartbeat

import amqp
from amqp.worker_pool import WorkerPool
from t.helpers.threads import SOON, Background, Interrupted, until

LOST = amqp.RecoverableConnectionError


class Bench:
    """A pool beside a scripted peer, running in a thread of its own."""

    def __init__(self, peer, connect):
        self.peer = peer
        self.connect = connect
        self.gate = threading.Event()
        self.begun = []

    def start(self, handler, workers=4, on_error='reject', deliveries=0, serve=None, **options):
        heartbeat = options.pop('heartbeat', 0)
        grace = options.pop('grace', SOON)
        self.peer.serve(handshake={'heartbeat': heartbeat}, **(serve or {}))
        self.connection = self.connect(heartbeat=heartbeat)
        self.wire = self.peer.wire()
        self.pool = WorkerPool(self.connection, workers, on_error, grace=grace)
        self.pool.consume('q', handler, **options)
        self.run = Background(self.pool.run)
        self.deliver(deliveries)

    def deliver(self, count, first=1):
        [consume] = self.wire.seen(commands.Basic.Consume)
        for tag in range(first, first + count):
            self.wire.deliver(1, consume.consumer_tag, tag, b'%d' % tag)

    def wait_at_the_gate(self, message):
        self.begun.append(message.delivery_tag)
        assert self.gate.wait(SOON)

    def sent(self, *kinds):
        """What came of these kinds, in order: their names and delivery tags."""
        return [
            (type(frame).__name__, getattr(frame, 'delivery_tag', None))
            for _, frame in list(self.wire.received)
            if isinstance(frame, kinds)
        ]


SETTLED = (commands.Basic.Ack, commands.Basic.Nack, commands.Basic.Reject)


@pytest.fixture
def bench(peer, connect):
    bench = Bench(peer, connect)
    yield bench
    bench.gate.set()


def stopped(bench):
    bench.pool.stop()
    bench.run.result()


# -- handling


def test_messages_are_handled_side_by_side_and_acknowledged(bench):
    """Four at the same time: none would pass the barrier otherwise."""
    barrier = threading.Barrier(4)
    names = set()

    def handle(message):
        barrier.wait(SOON)
        names.add(threading.current_thread().name)

    bench.start(handle, deliveries=20)
    acks = bench.wire.seen(commands.Basic.Ack, 20)
    assert sorted(ack.delivery_tag for ack in acks) == list(range(1, 21))
    assert not any(ack.multiple for ack in acks)
    assert len(names) == 4
    assert all(name.startswith('amqp worker') for name in names)
    stopped(bench)
    assert bench.connection.connected


@pytest.mark.parametrize(
    ('options', 'limit'), [({}, 8), ({'prefetch': 50}, 50), ({'ordered': True}, 1)]
)
def test_what_the_broker_entrusts_to_us_is_limited(bench, options, limit):
    bench.start(print, **options)
    bench.wire.seen(commands.Basic.Consume)
    [qos] = bench.wire.seen(commands.Basic.Qos)
    assert (qos.prefetch_count, qos.global_) == (limit, False)
    kinds = [kind for kind, _ in bench.sent(commands.Basic.Qos, commands.Basic.Consume)]
    assert kinds == ['Qos', 'Consume']
    stopped(bench)


def test_several_queues(peer, connect):
    peer.serve()
    pool = WorkerPool(connect(), 2, 'reject')
    handled = []
    pool.consume('a', lambda message: handled.append(('a', message.body)))
    pool.consume('b', lambda message: handled.append(('b', message.body)), ordered=True)
    run = Background(pool.run)
    wire = peer.wire()
    consumers = wire.seen(commands.Basic.Consume, 2)
    assert [consume.queue for consume in consumers] == ['a', 'b']
    assert [qos.prefetch_count for qos in wire.seen(commands.Basic.Qos, 2)] == [4, 1]
    for tag, consume in enumerate(consumers):
        wire.deliver(1, consume.consumer_tag, tag + 1, b'for ' + consume.queue.encode())
    wire.seen(commands.Basic.Ack, 2)
    pool.stop()
    run.result()
    assert sorted(handled) == [('a', b'for a'), ('b', b'for b')]
    assert len(wire.seen(commands.Basic.Cancel, 2)) == 2


def test_other_arguments_of_the_consumer(bench):
    bench.start(print, consumer_tag='mine', exclusive=True, arguments={'x-priority': 5})
    [consume] = bench.wire.seen(commands.Basic.Consume)
    assert (consume.consumer_tag, consume.exclusive) == ('mine', True)
    assert consume.arguments == {'x-priority': 5}
    stopped(bench)


# -- handlers that fail


def fail(message):
    raise KeyError(message.body)


@pytest.mark.parametrize('on_error', ['requeue', 'reject'])
def test_a_failed_message_goes_where_it_was_decided(bench, on_error, caplog):
    with caplog.at_level(logging.ERROR, 'amqp'):
        bench.start(fail, on_error=on_error, deliveries=1)
        [reject] = bench.wire.seen(commands.Basic.Reject)
    assert (reject.delivery_tag, reject.requeue) == (1, on_error == 'requeue')
    [record] = caplog.records
    assert record.exc_info[0] is KeyError
    assert on_error in record.getMessage()
    stopped(bench)  # the pool has gone on
    assert bench.sent(*SETTLED) == [('Reject', 1)]


def test_a_callable_decides_for_each_failure(bench):
    verdicts = {'1': 'requeue', '2': 'reject', '3': 'ack'}
    threads = set()

    def decide(message, exc):
        threads.add(threading.current_thread().name)
        assert isinstance(exc, KeyError)
        return verdicts[bytes(message.body).decode()]

    bench.start(fail, on_error=decide, deliveries=3)
    rejects = bench.wire.seen(commands.Basic.Reject, 2)
    assert sorted((each.delivery_tag, each.requeue) for each in rejects) == [(1, True), (2, False)]
    assert [ack.delivery_tag for ack in bench.wire.seen(commands.Basic.Ack)] == [3]
    assert all(name.startswith('amqp worker') for name in threads)
    stopped(bench)


def raising(*args):
    raise LookupError('in on_error')


@pytest.mark.parametrize(
    ('on_error', 'error'), [(lambda *_: None, ValueError), (raising, LookupError)]
)
def test_a_callable_that_fails_itself_ends_the_pool(bench, on_error, error):
    """Its message is nobody's: it returns to the queue with the channel."""
    bench.start(fail, on_error=on_error, deliveries=1)
    assert isinstance(bench.run.error(), error)
    assert bench.sent(*SETTLED) == []
    assert bench.wire.seen(commands.Channel.Close)
    assert bench.connection.connected


def test_a_handler_may_end_the_program(bench):
    bench.start(lambda message: sys.exit(3), deliveries=1)
    error = bench.run.error()
    assert isinstance(error, SystemExit)
    assert error.code == 3
    assert bench.sent(*SETTLED) == []


@pytest.mark.parametrize('on_error', ['drop', '', None])
def test_what_on_error_may_not_be(on_error):
    with pytest.raises(ValueError, match='on_error'):
        WorkerPool(None, 1, on_error)


# -- the end


def test_stop_finishes_what_is_in_hand_and_gives_back_the_rest(bench):
    bench.start(bench.wait_at_the_gate, workers=1, prefetch=10, deliveries=3)
    until(lambda: bench.begun == [1] and bench.pool._unbegun == {2, 3})
    bench.pool.stop()
    rejects = bench.wire.seen(commands.Basic.Reject, 2)
    assert sorted((each.delivery_tag, each.requeue) for each in rejects) == [(2, True), (3, True)]
    assert bench.run._thread.is_alive()
    assert bench.sent(commands.Basic.Ack) == []
    bench.gate.set()
    bench.run.result()
    assert bench.begun == [1]
    order = bench.sent(commands.Basic.Cancel, *SETTLED, commands.Channel.Close)
    assert [tag for _, tag in order] == [None, 2, 3, 1, None]
    assert bench.connection.connected


def test_nothing_is_begun_once_it_is_to_stop(bench):
    """Not even while the thread that runs has not looked yet."""
    bench.start(bench.wait_at_the_gate, workers=1, prefetch=10, deliveries=3)
    until(lambda: bench.begun == [1] and bench.pool._unbegun == {2, 3})
    bench.pool.stop()
    bench.gate.set()
    bench.run.result()
    assert bench.begun == [1]
    assert len(bench.wire.seen(commands.Basic.Reject, 2)) == 2
    assert len(bench.wire.seen(commands.Basic.Ack)) == 1


def test_what_the_broker_sent_before_it_knew_is_given_back(bench):
    """Deliveries that cross with our cancel."""

    def cancel(wire, channel, frame):
        wire.deliver(1, frame.consumer_tag, 7, b'late')
        wire.send(1, commands.Basic.CancelOk(frame.consumer_tag))

    bench.start(bench.begun.append, serve={'on': {commands.Basic.Cancel: cancel}})
    bench.wire.seen(commands.Basic.Consume)
    stopped(bench)
    [reject] = bench.wire.seen(commands.Basic.Reject)
    assert (reject.delivery_tag, reject.requeue) == (7, True)
    assert not bench.begun


def test_a_handler_that_does_not_end_is_left_behind(bench):
    """Its message is given back, and it can't acknowledge it any more."""
    bench.start(bench.wait_at_the_gate, workers=1, grace=0.1, deliveries=1)
    until(lambda: bench.begun)
    stopped(bench)
    assert bench.wire.seen(commands.Channel.Close)
    assert bench.pool._in_hand == 1
    bench.gate.set()
    until(lambda: not bench.pool._in_hand)
    assert bench.connection.channel()  # an exchange: all that was sent has come
    assert bench.sent(*SETTLED) == []


def test_the_connection_is_kept_alive_until_the_last_handler_ends(bench):
    def handle(message):
        bench.wait_at_the_gate(message)
        count = len(bench.sent(Heartbeat))
        bench.wire.seen(Heartbeat, count + 3)

    bench.start(handle, heartbeat=1, deliveries=1)
    until(lambda: bench.begun)
    bench.pool.stop()
    bench.wire.seen(commands.Basic.Cancel)  # from here on nobody drains
    bench.gate.set()
    bench.run.result()
    assert bench.sent(commands.Basic.Ack)


def test_stopped_before_it_began(bench):
    bench.peer.serve()
    pool = WorkerPool(bench.connect(), 2, 'reject')
    pool.consume('q', print)
    pool.stop()
    Background(pool.run).result()


@pytest.mark.parametrize('end', ['eof', 'reset'])
def test_a_loss_is_raised_when_the_handlers_have_ended(bench, end):
    ended = []

    def handle(message):
        bench.wait_at_the_gate(message)
        ended.append(message.delivery_tag)

    bench.start(handle, workers=2, prefetch=10, deliveries=4)
    until(lambda: len(bench.begun) == 2 and len(bench.pool._unbegun) == 2)
    getattr(bench.wire, end)()
    until(lambda: not bench.pool._unbegun)  # those that nobody had begun are forgotten
    assert bench.run._thread.is_alive()
    bench.gate.set()
    assert isinstance(bench.run.error(), LOST)
    assert sorted(ended) == sorted(bench.begun)
    assert len(ended) == 2


def test_nothing_is_acknowledged_on_a_channel_that_was_closed(bench):
    """Not even where a handler's own use would open it again: the tags are others' then."""
    errors = []

    def handle(message):
        bench.wait_at_the_gate(message)
        try:
            message.channel.queue_declare('mine')
        except amqp.RecoverableChannelError as exc:
            errors.append(exc)

    bench.start(handle, deliveries=1)
    until(lambda: bench.begun)
    bench.wire.send(1, commands.Channel.Close(404, "NOT_FOUND - no queue 'q'", 60, 20))
    bench.wire.seen(commands.Channel.CloseOk)
    until(lambda: bench.pool._stopping)
    bench.gate.set()
    assert isinstance(bench.run.error(), amqp.NotFound)
    assert 'not to be opened again' in str(errors[0])
    assert len(bench.sent(commands.Channel.Open)) == 1
    assert bench.sent(*SETTLED) == []
    assert bench.connection.connected


def test_the_reason_of_a_close_that_a_worker_meets_with(bench):
    """A worker that settles may be told of it before the thread that drains is."""

    class Mute:
        """Events without the report that the drain would raise."""

        def add_report(self, channel, report):
            pass

    def handle(message):
        message.channel._connection_events = Mute()
        bench.begun.append(message)
        until(lambda: message.channel._unreported)

    bench.start(handle, deliveries=1)
    until(lambda: bench.begun)
    bench.wire.send(1, commands.Channel.Close(406, 'PRECONDITION_FAILED - x', 60, 80))
    assert isinstance(bench.run.error(), amqp.PreconditionFailed)


def test_a_consumer_that_the_broker_cancels_ends_the_pool(bench):
    bench.start(bench.wait_at_the_gate, deliveries=1)
    until(lambda: bench.begun)
    [consume] = bench.wire.seen(commands.Basic.Consume)
    bench.wire.send(1, commands.Basic.Cancel(consume.consumer_tag, True))
    bench.gate.set()
    assert isinstance(bench.run.error(), amqp.ConsumerCancelled)
    assert bench.sent(commands.Basic.Ack)  # what was in hand is settled


def test_a_channel_that_is_not_to_be_had(peer, connect):
    peer.serve()
    connection = connect()
    connection.collect()
    pool = WorkerPool(connection, 2, 'reject')
    pool.consume('q', print)
    with pytest.raises(LOST):
        pool.run()


# -- signals


@pytest.mark.skipif(sys.platform == 'win32', reason='sends signals')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(peer, connect, number):
    """And what handled it before is put back."""
    peer.serve()
    before = signal.getsignal(number)
    connection = connect()
    pool = WorkerPool(connection, 1, 'reject', grace=SOON)

    def handle(message):
        os.kill(os.getpid(), number)
        until(lambda: pool._stopping)
        os.kill(os.getpid(), number)  # while it ends

    pool.consume('q', handle)
    wire = peer.wire()
    delivery = Background(
        lambda: wire.deliver(1, wire.seen(commands.Basic.Consume)[0].consumer_tag, 1, b'x')
    )
    pool.run(signals=(signal.SIGTERM, signal.SIGINT))
    delivery.result()
    assert [ack.delivery_tag for ack in wire.seen(commands.Basic.Ack)] == [1]
    assert signal.getsignal(number) is before
    assert connection.connected


def test_signals_need_the_main_thread(peer, connect):
    peer.serve()
    pool = WorkerPool(connect(), 1, 'reject')
    pool.consume('q', print)
    assert isinstance(Background(pool.run, (signal.SIGTERM,)).error(), ValueError)
    assert not [f for _, f in peer.wire().received if isinstance(f, commands.Basic.Consume)]


@pytest.mark.skipif(sys.platform == 'win32', reason='sends signals')
def test_an_exception_of_a_signal_handler_ends_it_in_order(peer, connect):
    """Control-C, as Python has it, while it waits: what is in hand is finished first."""
    peer.serve()
    connection = connect()
    pool = WorkerPool(connection, 1, 'reject', grace=SOON)

    def handle(message):
        # Between two octets of a frame it would cost the connection.
        until(lambda: connection.transport._waiting)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: pool._stopping)

    pool.consume('q', handle)
    wire = peer.wire()
    delivery = Background(
        lambda: wire.deliver(1, wire.seen(commands.Basic.Consume)[0].consumer_tag, 1, b'x')
    )
    with pytest.raises(KeyboardInterrupt):
        pool.run()
    delivery.result()
    wire.seen(commands.Basic.Ack)
    wire.seen(commands.Channel.Close)


def test_an_exception_while_a_message_is_handed_to_a_worker_gives_it_back(bench):
    """As a signal handler's may fall there."""
    bench.start(print)
    [consume] = bench.wire.seen(commands.Basic.Consume)

    def submit(*args):
        raise Interrupted

    bench.pool._executor.submit = submit
    bench.wire.deliver(1, consume.consumer_tag, 1, b'x')
    assert isinstance(bench.run.error(), Interrupted)
    [reject] = bench.wire.seen(commands.Basic.Reject)
    assert (reject.delivery_tag, reject.requeue) == (1, True)
