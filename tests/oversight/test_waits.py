"""Circles of waits: found at once by whoever closes them, in any graph, and never where there is none."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.observability.ledger import Ledger
from interlock.oversight.leases import Leases
from interlock.oversight.waits import Deadlock, Wait, Waits, circle, parents
from interlock.storage.database import Database
from tests.oversight.department import add_case


def closes(waits: Waits, wait: Wait, tenant: str = "default") -> str:
    with pytest.raises(Deadlock) as caught, waits.on(tenant, wait):
        pass
    assert isinstance(caught.value, errors.Denied) and caught.value.hint and caught.value.code == "deadlock"
    return caught.value.message


def test_of_two_that_wait_for_each_other_the_second_is_refused_and_told_of_both() -> None:
    waits = Waits()
    with waits.on("default", Wait("a", "po/2", "b")):
        told = closes(waits, Wait("b", "po/1", "a"))
        assert told == "po/1 is held by case a, which waits for po/2, held by case b"
    with waits.on("default", Wait("b", "po/1", "a")):
        assert waits.for_object("default", "po/1") == ["b"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_three_in_a_circle_the_last_is_refused_in_any_order(order: tuple[int, ...]) -> None:
    ring = [Wait("a", "2", "b"), Wait("b", "3", "c"), Wait("c", "1", "a")]
    waits = Waits()
    with ExitStack() as stack:
        for place in order[:2]:
            stack.enter_context(waits.on("default", ring[place]))
        told = closes(waits, ring[order[2]])
        assert all(f"case {name}" in told for name in "abc")


def test_a_chain_a_star_and_a_second_wait_of_one_case_are_no_circle() -> None:
    waits = Waits()
    with ExitStack() as stack:
        for wait in (Wait("a", "2", "b"), Wait("b", "3", "c"), Wait("d", "3", "c"), Wait("a", "3", "c")):
            stack.enter_context(waits.on("default", wait))
        assert waits.for_object("default", "3") == ["a", "b", "d"]
        closes(waits, Wait("c", "4", "d"))
        with waits.on("default", Wait("c", "5", "e")):
            closes(waits, Wait("e", "1", "a"))


def test_a_wait_that_ended_closes_nothing_and_one_of_two_alike_stays() -> None:
    waits, same = Waits(), Wait("a", "2", "b")
    with waits.on("default", same):
        with waits.on("default", same):
            pass
        closes(waits, Wait("b", "1", "a"))
    with waits.on("default", Wait("b", "1", "a")):
        closes(waits, same)
    assert not waits._of


def test_tenants_do_not_meet() -> None:
    waits = Waits()
    with waits.on("default", Wait("a", "2", "b")), waits.on("acme", Wait("b", "1", "a")):
        assert waits.for_object("acme", "2") == []
        closes(waits, Wait("a", "2", "b"), "acme")


def test_a_child_does_not_wait_for_what_its_parents_hold() -> None:
    waits = Waits()
    child = Wait("child", "po/1", "grandparent", ("parent", "grandparent"))
    assert closes(waits, child) == "po/1 is held by case grandparent, which waits for case child"
    with waits.on("default", Wait("b", "po/2", "parent")):
        told = closes(waits, Wait("child", "po/3", "b", ("parent",)))
        assert told == ("po/3 is held by case b, which waits for po/2, held by case parent, which waits for case child")
    with waits.on("default", Wait("child", "po/3", "b", ("parent",))):
        told = closes(waits, Wait("b", "po/2", "parent"))
        assert told == "po/2 is held by case parent, which waits for case child, which waits for po/3, held by case b"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1]), max_size=30))
def test_random_waits_never_close_a_circle_and_none_is_refused_without_one(pairs: list[tuple[int, int]]) -> None:
    waits, edges = Waits(), set[tuple[int, int]]()
    with ExitStack() as stack:
        for waiter, holder in pairs:
            wait = Wait(str(waiter), f"of/{holder}", str(holder))
            if reaches(edges, holder, waiter):
                closes(waits, wait)
            else:
                stack.enter_context(waits.on("default", wait))
                edges.add((waiter, holder))
        assert not any(reaches(edges, holder, waiter) for waiter, holder in edges)
    assert not waits._of


def reaches(edges: set[tuple[int, int]], start: int, end: int) -> bool:
    """By growing a set: another way than that of the code."""
    seen = {start}
    while more := {b for a, b in edges if a in seen} - seen:
        seen |= more
    return end in seen


def test_the_way_is_the_shortest_and_a_long_one_is_found() -> None:
    chain = {str(n): [Wait(str(n), f"o/{n + 1}", str(n + 1))] for n in range(5_000)}
    way = circle(lambda case_id: chain.get(case_id, ()), Wait("5000", "o/0", "0"))
    assert way is not None and len(way) == 5_000
    chain["0"].append(Wait("0", "o/5000", "5000"))
    assert circle(lambda case_id: chain.get(case_id, ()), Wait("5000", "o/0", "0")) == [Wait("0", "o/5000", "5000")]


async def test_parents_are_those_that_wait_for_the_end_of_a_case(db: Database) -> None:
    for name, status in (("top", "waiting"), ("mid", "waiting"), ("low", "running"), ("other", "running")):
        await add_case(db, name, status)
    sql = "UPDATE cases SET parent_id = ?, reason = ? WHERE case_id = ?"
    rows = [
        (None, "child:x child:mid", "top"),
        ("top", "child:low", "mid"),
        ("mid", None, "low"),
        ("top", None, "other"),
    ]
    await db.commit(lambda tx: tx.executemany(sql, rows))
    for name, above in (("low", ("mid", "top")), ("other", ()), ("top", ()), ("gone", ())):
        assert await db.read(partial(parents, tenant="default", case_id=name)) == above
    assert await db.read(lambda tx: parents(tx, "acme", "low")) == ()


async def test_a_cancelled_wait_leaves_nothing_behind(ledger: Ledger) -> None:
    leases = Leases(ledger)
    waiting = asyncio.create_task(leases.wait("default", Wait("a", "po/2", "b"), 30))
    await asyncio.sleep(0)
    with pytest.raises(Deadlock):
        await leases.wait("default", Wait("b", "po/1", "a"), 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not leases.waits._of and not leases._waiting
