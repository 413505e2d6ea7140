"""Access: labels, tenants and filters hold before ranking, in both legs, for every snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from interlock import errors
from interlock.context.access import Asker
from interlock.context.context import Context
from interlock.oversight.actors import Actor, Person


def note(id_: str, *labels: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "text": f"The salary table {id_}.", "labels": list(labels), **more}


async def seen(context: Context, actor: Asker | str | None, **asked: Any) -> set[str]:
    return {fact.document_id for fact in await context.query("salary table", k=50, actor=actor, **asked)}


async def test_labels(context: Context) -> None:
    await context.ingest(
        "hr",
        [note("open"), note("hr", "role:hr"), note("ana", "actor:person:ana"), note("both", "role:hr", "role:cfo")],
    )

    assert await seen(context, None) == {"open"}
    assert await seen(context, "person:unknown") == {"open"}
    assert await seen(context, Person("ana")) == {"open", "ana"}
    assert await seen(context, Actor("bo", roles={"hr"})) == {"open", "hr", "both"}
    assert await seen(context, Person("eve", roles={"cfo"})) == {"open", "both"}


async def test_an_id_is_resolved_and_policy_can_grant(context: Context) -> None:
    bo = Person("bo", roles={"auditor"})
    context.resolve = {"person:bo": bo}.get
    await context.ingest("hr", [note("hr", "role:hr"), note("board", "board")])
    context.grants = lambda actor, labels: labels & {"board"} if "auditor" in actor.all_roles else ()

    assert await seen(context, "person:bo") == {"board"}
    assert await seen(context, None) == set()
    assert await seen(context, Person("x")) == set()


async def test_k_results_come_when_k_are_permitted(context: Context) -> None:
    secret = [{"id": f"s{n}", "text": "salary table salary table", "labels": ["role:hr"]} for n in range(300)]
    await context.ingest("hr", [*secret, *(note(f"open{n}") for n in range(7))])

    facts = await context.query("salary table", k=7)

    assert {fact.document_id for fact in facts} == {f"open{n}" for n in range(7)}
    assert not any(fact.labels for fact in facts)


async def test_a_label_set_later_closes_the_older_snapshots_too(context: Context) -> None:
    await context.ingest("hr", [note("a"), note("b")])
    await context.ingest("hr", [note("a", "role:hr")])

    assert await seen(context, None, snapshot=1) == {"b"}
    assert await seen(context, Actor("bo", roles={"hr"}), snapshot=1) == {"a", "b"}


async def test_a_label_taken_away_opens_new_snapshots_only(context: Context) -> None:
    await context.ingest("hr", [note("a", "role:hr")])
    await context.ingest("hr", [note("a")])

    assert await seen(context, None) == {"a"}
    assert await seen(context, None, snapshot=1) == set()


async def test_tenants_never_meet(context: Context) -> None:
    odd = "acme/öst" * 20
    await context.ingest("hr", [note("mine")], tenant=odd)
    await context.ingest("hr", [note("yours")], tenant="acme")

    assert await seen(context, None, tenant=odd) == {"mine"}
    assert await seen(context, None, tenant="acme") == {"yours"}
    assert await seen(context, None) == set()
    assert await context.erase("hr", ["yours"], tenant=odd) == 0
    assert await seen(context, None, tenant="acme") == {"yours"}
    assert await context.snapshot_at("2027-01-01", tenant="other") == 0


WHERE: list[tuple[dict[str, Any], set[str]]] = [
    ({"source": "hr"}, {"a", "b", "c"}),
    ({"source": {"$in": ["hr", "it"]}, "trust": "vendor"}, {"b"}),
    ({"version": "2"}, {"b"}),
    ({"site": "north"}, {"a"}),
    ({"metadata.site": {"$in": ["north", "south"]}}, {"a", "b"}),
    ({"metadata": {"site": "south", "floor": 1}}, {"b"}),
    ({"floor": 1}, {"b"}),
    ({"floor": True}, {"c"}),
    ({"site": None, "source": "hr"}, {"c"}),
    ({"source": {"$in": []}}, set()),
    ({"nothing": "x"}, set()),
]


@pytest.mark.parametrize(("where", "found"), WHERE)
async def test_where(context: Context, where: dict[str, Any], found: set[str]) -> None:
    await context.ingest(
        "hr",
        [
            note("a", metadata={"site": "north", "floor": 2}),
            note("b", metadata={"site": "south", "floor": 1}, trust="vendor", version="2"),
            note("c", metadata={"floor": True}),
        ],
    )
    await context.ingest("it", [note("d")])

    assert await seen(context, None, where=where) == found


async def test_what_is_no_actor_is_refused(context: Context) -> None:
    with pytest.raises(errors.InputError, match="5 is no actor"):
        await context.query("salary", actor=5)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    "where", [{"source": {"$ne": "x"}}, {"$or": []}, {"a": [1]}, {"a": {"$in": "x"}}, {7: "x"}, "a"]
)
async def test_a_where_that_cannot_be_meant_is_refused(context: Context, where: Any) -> None:
    with pytest.raises(errors.InputError, match="where"):
        await context.query("salary", where=where)


ASKED: list[tuple[dict[str, Any], str]] = [
    ({"text": " "}, "the query is empty"),
    ({"text": None}, "the query is empty"),
    ({"k": 0}, "k is 0"),
    ({"k": True}, "k is True"),
    ({"k": 10**6}, "k is 1000000"),
    ({"snapshot": 9}, "there is no snapshot 9"),
    ({"snapshot": -1}, "there is no snapshot -1"),
    ({"as_of": "soon"}, "no time"),
    ({"as_of": "2026-01-01", "snapshot": 1}, "more than one moment"),
    ({"case_id": "nobody"}, "there is no case 'nobody'"),
]


@pytest.mark.parametrize(("asked", "why"), ASKED)
async def test_a_question_that_makes_no_sense_is_refused(context: Context, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.InputError, match=why):
        await context.query(**{"text": "salary", **asked})


@pytest.mark.parametrize("text", ["the of and", "?!", "\0", "a\ud800b", "🦀" * 9_000, "salary " * 50_000])
async def test_strange_questions_are_answered(context: Context, text: str) -> None:
    await context.ingest("hr", [note("a"), note("b")])

    facts = await context.query(text, k=2)

    assert len(facts) == 2
    assert [fact.id for fact in facts] == [fact.id for fact in await context.query(text, k=2)]
