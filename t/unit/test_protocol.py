from __future__ import annotations

import pickle

from amqp.protocol import ConnectionStats, basic_return_t, queue_declare_ok_t


def test_queue_declare_ok_unpacks_and_reads():
    result = queue_declare_ok_t('q', 3, 1)
    queue, message_count, consumer_count = result
    assert (queue, message_count, consumer_count) == ('q', 3, 1)
    assert result == queue_declare_ok_t(queue='q', message_count=3, consumer_count=1)
    assert repr(result) == "queue_declare_ok_t(queue='q', message_count=3, consumer_count=1)"


def test_basic_return_fields():
    assert basic_return_t._fields == (
        'reply_code',
        'reply_text',
        'exchange',
        'routing_key',
        'message',
    )
    assert basic_return_t(312, 'NO_ROUTE', 'x', 'k', None)[0] == 312


def test_results_can_be_pickled():
    result = queue_declare_ok_t('q', 3, 1)
    assert pickle.loads(pickle.dumps(result)) == result


def test_counts_can_be_logged_and_pickled():
    stats = ConnectionStats(*range(8))
    assert stats._asdict()['messages_published'] == stats.messages_published == 4
    assert pickle.loads(pickle.dumps(stats)) == stats
