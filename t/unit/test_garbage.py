"""What a finalizer is told of the garbage collector."""

from __future__ import annotations

import gc

from amqp import garbage
from amqp.garbage import is_collecting_here, note_collections
from t.helpers.threads import Background


class Finalized:
    def __init__(self, seen):
        self.seen = seen
        self.itself = None

    def __del__(self):
        self.seen.append((is_collecting_here(), Background(is_collecting_here).result()))


def test_one_that_is_freed_at_once_and_one_that_is_collected():
    note_collections()
    seen = []
    Finalized(seen)
    assert seen == [(False, False)]
    one = Finalized(seen)
    one.itself = one
    del one
    gc.collect()
    assert seen == [(False, False), (True, False)]
    assert not is_collecting_here()


def test_it_is_asked_once():
    note_collections()
    note_collections()
    assert gc.callbacks.count(garbage._note) == 1


def test_elsewhere_it_may_always_be_at_work(monkeypatch):
    monkeypatch.setattr(garbage, 'IS_CPYTHON', False)
    monkeypatch.setattr(gc, 'callbacks', [])
    note_collections()
    assert gc.callbacks == []
    assert is_collecting_here()
