"""Which reply is whose."""

from __future__ import annotations

from amqp.replies import PendingReplies, Reply
from amqp.spec import Basic, Queue

DECLARE_OK = (Queue.DeclareOk,)
GET = (Basic.GetOk, Basic.GetEmpty)


def pending(*replies: Reply) -> PendingReplies:
    places = PendingReplies()
    for reply in replies:
        places.add(reply)
    return places


def test_in_the_order_of_the_requests() -> None:
    first, second = Reply(DECLARE_OK), Reply(DECLARE_OK)
    places = pending(first, second)
    assert places.succeed(Queue.DeclareOk, (1,))
    assert (first.is_ready(), second.is_ready()) == (True, False)
    assert places.succeed(Queue.DeclareOk, (2,))
    assert (first.args, second.args) == ((1,), (2,))
    assert len(places) == 0


def test_one_of_several_methods_past_those_who_wait_for_others() -> None:
    declared, got = Reply(DECLARE_OK), Reply(GET)
    places = pending(declared, got)
    assert places.awaits(Basic.GetEmpty)
    assert places.succeed(Basic.GetEmpty, ())
    assert got.is_ready()
    assert not declared.is_ready()
    assert not places.awaits(Basic.GetEmpty)


def test_what_nobody_awaits() -> None:
    declared = Reply(DECLARE_OK)
    places = pending(declared)
    assert not places.succeed(Queue.BindOk, ())
    assert not declared.is_ready()
    assert len(places) == 1


def test_a_place_given_up_is_nobodys() -> None:
    first, second = Reply(DECLARE_OK), Reply(DECLARE_OK)
    places = pending(first, second)
    places.forget(first)
    places.forget(first)
    assert places.succeed(Queue.DeclareOk, (1,))
    assert second.args == (1,)
    assert not first.is_ready()


def test_none_will_come() -> None:
    declared, got = Reply(DECLARE_OK), Reply(GET)
    places = pending(declared, got)
    error = OSError('lost')
    assert places.fail(error)
    assert declared.is_ready()
    assert declared.error is got.error is error
    assert len(places) == 0
    assert not places.fail(error)
