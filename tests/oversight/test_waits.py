"""Circles of waits: found at once by whoever closes them, in any graph, and never where there is none."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.clock import iso
from interlock.observability.ledger import Ledger
from interlock.oversight import leases
from interlock.oversight.holds import over
from interlock.oversight.leases import Leases
from interlock.oversight.waits import Deadlock, Wait, circle, parents
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import START, add_case

AT = iso(START)


class Yard:
    """Objects, the cases that hold them, and the calls that stand in line for them."""

    def __init__(self, db: Database, ledger: Ledger) -> None:
        self.db, self.leases = db, Leases(ledger)

    async def holds(self, tenant: str = "default", **objects: str) -> None:
        """Cases by what they hold: `a="1"` is case a with object 1."""
        for name, resource in objects.items():
            await add_case(self.db, name, tenant=tenant)
            await self.take(name, resource, tenant)

    async def take(self, case_id: str, resource: str, tenant: str) -> None:
        where = {"tenant": tenant, "resource": resource, "case_id": case_id, "at": AT}
        await self.db.commit(lambda tx: self.leases.take(tx, **where, epoch=1))

    async def wait(self, case_id: str, resource: str, tenant: str = "default", call: str = "") -> None:
        call = call or f"{case_id} for {resource}"
        where = {"tenant": tenant, "resource": resource, "case_id": case_id, "call": call, "at": AT}
        await self.db.commit(lambda tx: self.leases.line_up(tx, **where))

    async def closes(self, case_id: str, resource: str, tenant: str = "default") -> str:
        with pytest.raises(Deadlock) as caught:
            await self.wait(case_id, resource, tenant)
        assert isinstance(caught.value, errors.Denied) and caught.value.hint and caught.value.code == "deadlock"
        return caught.value.message

    async def parent(self, parent: str, child: str) -> None:
        """A case waits for the end of another one."""
        sql = (
            "UPDATE cases SET parent_id = ? WHERE case_id = ?",
            "UPDATE cases SET status = ?, reason = ? WHERE case_id = ?",
        )
        await self.db.commit(lambda tx: tx.execute(sql[0], (parent, child)))
        await self.db.commit(lambda tx: tx.execute(sql[1], ("waiting", f"hold:x child:{child}", parent)))


@pytest.fixture
def yard(db: Database, ledger: Ledger) -> Yard:
    return Yard(db, ledger)


async def test_of_two_that_wait_for_each_other_the_second_is_refused_and_told_of_both(yard: Yard) -> None:
    await yard.holds(a="po/1", b="po/2")
    await yard.wait("a", "po/2")
    assert await yard.closes("b", "po/1") == "po/1 is held by case a, which waits for po/2, held by case b"
    (held,) = await yard.db.read(lambda tx: leases.held(tx, "default", "b"))
    assert held.waiting == ["a"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_of_three_in_a_circle_the_last_is_refused_in_any_order(yard: Yard, order: tuple[int, ...]) -> None:
    ring = [("a", "2"), ("b", "3"), ("c", "1")]
    await yard.holds(a="1", b="2", c="3")
    for place in order[:2]:
        await yard.wait(*ring[place])
    told = await yard.closes(*ring[order[2]])
    assert all(f"case {name}" in told for name in "abc")


async def test_a_chain_a_star_and_a_second_wait_of_one_case_are_no_circle(yard: Yard) -> None:
    await yard.holds(a="1", b="2", c="3", d="4", e="5")
    for case_id, resource in (("a", "2"), ("b", "3"), ("d", "3"), ("a", "3")):
        await yard.wait(case_id, resource)
    (held,) = await yard.db.read(lambda tx: leases.held(tx, "default", "c"))
    assert held.waiting == ["b", "d", "a"], "the first in line first"
    await yard.closes("c", "4")
    await yard.wait("c", "5")
    await yard.closes("e", "1")


async def test_a_wait_that_ended_closes_nothing_and_one_of_two_alike_stays(yard: Yard) -> None:
    await yard.holds(a="1", b="2")
    for call in ("one", "two"):
        await yard.wait("a", "2", call=call)
    await yard.db.commit(lambda tx: yard.leases.leave(tx, "default", "one", AT))
    await yard.closes("b", "1")
    await yard.db.commit(lambda tx: yard.leases.leave(tx, "default", "two", AT))
    await yard.wait("b", "1")


async def test_tenants_do_not_meet(yard: Yard) -> None:
    await yard.holds(a="1", b="2")
    await yard.holds("acme", a="1", b="2")
    await yard.wait("a", "2")
    await yard.wait("b", "1", "acme")
    await yard.closes("a", "2", "acme")


async def test_a_child_does_not_wait_for_what_its_parents_hold(yard: Yard) -> None:
    await yard.holds(top="po/1", mid="po/2", low="po/3", b="po/4")
    await yard.parent("top", "mid")
    await yard.parent("mid", "low")
    assert await yard.closes("low", "po/1") == "po/1 is held by case top, which waits for case low"
    await yard.wait("b", "po/2")
    told = await yard.closes("low", "po/4")
    assert told == "po/4 is held by case b, which waits for po/2, held by case mid, which waits for case low"


async def test_a_parent_is_reached_through_what_its_child_waits_for(yard: Yard) -> None:
    await yard.holds(mid="po/2", low="po/3", b="po/4")
    await yard.parent("mid", "low")
    await yard.wait("low", "po/4")
    told = await yard.closes("b", "po/2")
    assert told == "po/2 is held by case mid, which waits for case low, which waits for po/4, held by case b"


async def test_a_parent_that_comes_to_wait_late_lets_the_call_look_again_that_closes_a_circle(yard: Yard) -> None:
    """The child asks before its parent waits for it: nothing is wrong then, and would never be right afterwards."""
    await yard.holds(mid="po/2", low="po/3", b="po/4")
    await yard.wait("low", "po/4")
    await yard.wait("b", "po/2")
    assert await yard.db.commit(lambda tx: yard.leases.unravel(tx, "default", "mid", AT)) == []
    await yard.parent("mid", "low")
    assert await yard.db.commit(lambda tx: yard.leases.unravel(tx, "default", "mid", AT)) == ["low"]
    assert await yard.db.read(lambda tx: over(tx, "default", "low", "low for po/4"))
    assert "which waits for case low" in await yard.closes("low", "po/4")
    assert await yard.db.commit(lambda tx: yard.leases.unravel(tx, "default", "mid", AT)) == []


async def test_a_free_object_passes_over_who_would_close_a_circle_with_it(yard: Yard) -> None:
    """Case a waits for two objects: given the first now, it would wait for b, and b for it."""
    await yard.holds(a="1", b="2", c="3")
    await yard.wait("a", "3")
    await yard.wait("b", "3")
    await yard.wait("a", "2")
    assert await yard.db.commit(lambda tx: yard.leases.release_all(tx, "default", "c", AT)) == ["b"]
    assert await yard.db.commit(lambda tx: yard.leases.release_all(tx, "default", "b", AT)) == ["a"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: pair[0] != pair[1]), max_size=20))
async def test_random_waits_never_close_a_circle_and_none_is_refused_without_one(pairs: list[tuple[int, int]]) -> None:
    db = await Database.open(":memory:")
    yard, edges = Yard(db, Ledger(db, ManualClock(START))), set[tuple[int, int]]()
    try:
        await yard.holds(**{f"case{n}": f"of/{n}" for n in range(7)})
        for waiter, holder in pairs:
            if reaches(edges, holder, waiter):
                await yard.closes(f"case{waiter}", f"of/{holder}")
            else:
                await yard.wait(f"case{waiter}", f"of/{holder}")
                edges.add((waiter, holder))
        assert not any(reaches(edges, holder, waiter) for waiter, holder in edges)
    finally:
        await db.close()


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
