"""Answering: who may, once, in one commit with the case, the ledger and what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from interlock import errors
from interlock.clock import iso
from interlock.ids import digest
from interlock.money import Money
from interlock.oversight.actions import Request
from interlock.oversight.actors import Person
from interlock.oversight.inbox import Decision, Item
from tests.oversight.department import START, add_case, ask, events, set_case, status_of
from tests.oversight.desk import Desk

YES = Decision.approve()


async def refused(desk: Desk, item_id: str, by: Any, decision: Decision = YES) -> str:
    """The refusal; it changes nothing and stands in the ledger."""
    before = await desk.inbox.get(item_id)
    with pytest.raises(errors.NotAuthorized) as caught:
        await desk.inbox.decide(item_id, decision, by=by)
    assert await desk.inbox.get(item_id) == before
    last = (await events(desk.ledger))[-1]
    assert (last["type"], last["actor"], last["case_id"]) == ("access.denied", str(by), "c1")
    assert caught.value.message in last["data"]["why"]
    return str(caught.value)


async def test_a_decision_is_one_commit_with_case_and_ledger(desk: Desk) -> None:
    await desk.open(desk.approval())
    await desk.inbox.claim("i1", by="person:bo")
    await desk.clock.advance(timedelta(minutes=3))
    done = await desk.inbox.decide("i1", YES, by="person:bo", comment="fine")
    assert (done.status, done.decided_by, done.comment) == ("decided", "person:bo", "fine")
    assert done.decided_at == iso(START + timedelta(minutes=3))
    assert (await desk.inbox.get("i1")) == done
    assert await status_of(desk.db, "c1") == "queued"
    assert desk.woken == [("default", "c1")]
    told = (await events(desk.ledger, "inbox.decided"))[0]
    assert (told["actor"], told["case_id"]) == ("person:bo", "c1")
    assert told["data"] == {
        "item": "i1", "kind": "approval", "task": "order", "decision": "approve", "digest": "d1",
        "money": {"amount": 500, "currency": "EUR"}, "comment": "fine", "opened_at": iso(START),
        "claimed_at": iso(START), "policy_version": desk.policies.version, "evidence_hash": done.evidence_hash,
    }  # fmt: skip
    row = await desk.db.read(lambda tx: tx.row("SELECT * FROM decisions"))
    assert row is not None and (row["by"], row["digest"], row["item_id"]) == ("person:bo", "d1", "i1")


@pytest.mark.parametrize("status", ["running", "queued", "completed", "cancelled"])
async def test_only_a_waiting_case_is_queued(desk: Desk, status: str) -> None:
    await desk.open(desk.approval())
    await set_case(desk.db, "c1", status)
    await desk.inbox.decide("i1", YES, by="person:bo")
    assert await status_of(desk.db, "c1") == status


async def test_the_same_answer_again_returns_the_first_one(desk: Desk) -> None:
    await desk.open(desk.approval())
    first = await desk.inbox.decide("i1", Decision.reject("too dear"), by="person:bo", comment="c")
    await desk.clock.advance(timedelta(hours=1))
    again = await desk.inbox.decide("i1", Decision.reject("too dear"), by="person:bo", comment="other")
    assert again == first
    assert len(await events(desk.ledger, "inbox.decided")) == 1
    for decision, by in (
        (Decision.reject("too late"), "person:bo"),
        (Decision.reject("too dear"), "person:cy"),
        (YES, "person:bo"),
    ):
        with pytest.raises(errors.AlreadyDecided, match="reject by person:bo"):
            await desk.inbox.decide("i1", decision, by=by)


async def test_of_many_answers_at_once_one_stands(desk: Desk) -> None:
    await desk.open(desk.approval())
    said = [(Decision.approve(), "person:bo"), (Decision.reject("no"), "person:cy")] * 8
    outcomes = await asyncio.gather(
        *(desk.inbox.decide("i1", decision, by=by) for decision, by in said), return_exceptions=True
    )
    winner = (await desk.inbox.get("i1")).decided_by
    for (_, by), outcome in zip(said, outcomes, strict=True):
        assert isinstance(outcome, Item if by == winner else errors.AlreadyDecided)
    assert len(await events(desk.ledger, "inbox.decided")) == 1
    rows = await desk.db.read(lambda tx: tx.rows("SELECT * FROM decisions"))
    assert len(rows) == 1


async def test_who_may_not_decide(desk: Desk) -> None:
    await desk.open(desk.approval(excluded=["person:cy"]))
    assert "kept apart" in await refused(desk, "i1", "person:ana")  # the requester
    assert "kept apart" in await refused(desk, "i1", "person:cy")  # excluded: preparer, owner, earlier approver
    assert "'purchasing' is missing" in await refused(desk, "i1", "person:dora")
    for by in ("agent:buyer", "person:nobody", "", "bo", None, 5):
        assert "may not decide" in await refused(desk, "i1", by)
    assert await status_of(desk.db, "c1") == "waiting"
    assert desk.woken == []
    assert (await events(desk.ledger, "inbox.decided")) == []


async def test_a_preparer_is_kept_apart_also_when_only_the_request_names_him(desk: Desk) -> None:
    await desk.open(desk.approval(request=ask(desk.policies, 500, preparers=["person:bo"])))
    assert "kept apart" in await refused(desk, "i1", "person:bo")
    await desk.inbox.decide("i1", YES, by="person:cy")


async def test_the_limit_counts_for_every_answer(desk: Desk) -> None:
    await desk.open(desk.approval("i1", 100001))
    for decision in (YES, Decision.reject("no"), Decision.respond("hm")):
        assert "limit" in await refused(desk, "i1", "person:bo", decision)
    desk.actors.person("person:bo").authorities["purchasing"] = Money(100001, "EUR")
    await desk.inbox.decide("i1", YES, by="person:bo")


async def test_a_limit_in_another_currency_is_none(desk: Desk) -> None:
    await desk.open(desk.approval(request=ask(desk.policies, 500, currency="USD")))
    assert "limit" in await refused(desk, "i1", "person:bo")


@pytest.mark.parametrize("missing", [{"request": None}, {"authority": ""}])
async def test_an_approval_that_does_not_say_what_it_asks_is_not_given(desk: Desk, missing: dict[str, Any]) -> None:
    await desk.open(desk.approval(**missing))
    assert "does not say" in await refused(desk, "i1", "person:bo")


async def test_an_invalid_policy_set_lets_nobody_decide(desk: Desk) -> None:
    await desk.open(desk.approval())
    desk.policies.bind([], (), ())
    await refused(desk, "i1", "person:bo")


async def test_the_action_must_be_the_one_that_was_shown(desk: Desk) -> None:
    await desk.open(desk.approval())
    with pytest.raises(errors.Conflict):
        await desk.inbox.decide("i1", YES, by="person:bo", digest="d0")
    assert (await desk.inbox.decide("i1", YES, by="person:bo", digest="d1")).decided_digest == "d1"


async def test_another_person_for_each_stage_but_not_for_another_call(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.inbox.decide("a", YES, by="person:bo")
    await desk.open(desk.approval("b", stage=1))
    await desk.open(desk.approval("other", effect_key="e2"))
    assert "another stage" in await refused(desk, "b", "person:bo")
    await desk.inbox.decide("other", YES, by="person:bo")
    await desk.inbox.decide("b", YES, by="person:cy")


async def test_two_stages_decided_by_one_person_in_the_same_instant(desk: Desk) -> None:
    await desk.open(desk.approval("a"))
    await desk.open(desk.approval("b", stage=1))
    outcomes = await asyncio.gather(
        *(desk.inbox.decide(name, YES, by="person:bo") for name in "ab"), return_exceptions=True
    )
    assert sum(isinstance(o, errors.NotAuthorized) for o in outcomes) == 1
    assert sum(isinstance(o, Item) for o in outcomes) == 1


async def test_a_cancelled_caller_has_decided_and_the_engine_is_woken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.open(desk.approval())
    commit, reached, go_on = desk.db.commit, asyncio.Event(), asyncio.Event()

    async def slow(apply: Any, **more: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await commit(apply, **more)

    monkeypatch.setattr(desk.db, "commit", slow)
    deciding = asyncio.create_task(desk.inbox.decide("i1", YES, by="person:bo"))
    await reached.wait()
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding
    woken = asyncio.Event()
    desk.inbox.wake = lambda tenant, case_id: woken.set()
    go_on.set()
    async with asyncio.timeout(10):
        await woken.wait()
    assert (await desk.inbox.get("i1")).decided_by == "person:bo"


@pytest.mark.parametrize("said", ["approve", True, None, {"kind": "approve"}, Decision])
async def test_what_is_no_decision_is_refused(desk: Desk, said: Any) -> None:
    await desk.open(desk.approval())
    with pytest.raises(errors.InputError, match="no decision"):
        await desk.inbox.decide("i1", said, by="person:bo")
    assert (await desk.inbox.get("i1")).open


# edits


def edits(desk: Desk) -> list[Mapping[str, Any]]:
    """Let purchases be edited as the gateway does; gives the arguments that were asked for."""
    seen: list[Mapping[str, Any]] = []

    def request_of(item: Item, args: Mapping[str, Any]) -> Request:
        if not isinstance(args.get("total"), int):
            raise errors.InputError("total is no integer")
        seen.append(args)
        return ask(desk.policies, args["total"], args=dict(args))

    desk.inbox.request_of = request_of
    desk.inbox.digest_of = lambda item, args: digest([item.action["tool"], dict(args)])
    return seen


async def test_an_edit_is_another_action_with_its_own_digest_and_money(desk: Desk) -> None:
    seen = edits(desk)
    await desk.open(desk.approval())
    args = {"total": 400, "vendor": "v2"}
    done = await desk.inbox.decide("i1", Decision.edit(args), by="person:bo")
    assert done.decided_digest == digest(["erp.create_po", args]) != "d1"
    assert seen == [args]
    told = (await events(desk.ledger, "inbox.decided"))[0]["data"]
    assert (told["decision"], told["digest"]) == ("edit", done.decided_digest)
    assert told["money"] == {"amount": 400, "currency": "EUR"}
    request = ask(desk.policies, 400)
    where = {"case_id": "c1", "effect_key": "e1"}
    assert (await desk.inbox.granted(request, **where, digest="d1")).approvals == {}
    assert (await desk.inbox.granted(request, **where, digest=done.decided_digest)).approvals == {"purchasing": 1}
    again = await desk.inbox.decide("i1", Decision.edit(args), by="person:bo")
    assert again == done


async def test_an_edit_beyond_the_limit_is_refused(desk: Desk) -> None:
    edits(desk)
    await desk.open(desk.approval())
    assert "limit" in await refused(desk, "i1", "person:bo", Decision.edit({"total": 100001, "vendor": "v"}))


async def test_an_edit_that_does_not_fit_changes_nothing(desk: Desk) -> None:
    await desk.open(desk.approval())
    with pytest.raises(errors.InputError, match="cannot be edited"):
        await desk.inbox.decide("i1", Decision.edit({"total": 1}), by="person:bo")
    edits(desk)
    with pytest.raises(errors.InputError, match="no integer"):
        await desk.inbox.decide("i1", Decision.edit({"total": "much"}), by="person:bo")
    await desk.open(desk.exception("x"))
    with pytest.raises(errors.InputError, match="cannot be edited"):
        await desk.inbox.decide("x", Decision.edit({"total": 1}), by="person:olga")
    assert (await desk.inbox.get("i1")).open and (await desk.inbox.get("x")).open


async def test_an_edit_of_an_action_without_money_keeps_what_was_asked(desk: Desk) -> None:
    edits(desk)
    desk.inbox.request_of = lambda item, args: ask(desk.policies, 0, currency="")
    desk.actors.person("person:bo").authorities["purchasing"] = Money(0, "EUR")
    await desk.open(desk.approval())
    await desk.inbox.decide("i1", Decision.edit({"total": 1, "vendor": "v"}), by="person:bo")
    assert (await events(desk.ledger, "inbox.decided"))[0]["data"]["money"] == {"amount": 500, "currency": "EUR"}


# tasks


async def test_a_task_is_completed_by_its_assignee_with_an_output_that_fits(desk: Desk) -> None:
    await desk.open(desk.task())
    await desk.inbox.claim("t1", by="person:eve")
    outputs: list[Any] = [{}, {"vendor": 5}, [], None, "v"]
    for wrong in outputs:
        with pytest.raises(errors.InputError):
            await desk.inbox.complete("t1", wrong, by="person:eve")
    done = await desk.inbox.complete("t1", {"vendor": "v1"}, by="person:eve", comment="the cheapest")
    assert done.decision is not None
    assert (done.status, done.decision.kind, done.decision.value) == ("completed", "complete", {"vendor": "v1"})
    assert await desk.inbox.complete("t1", {"vendor": "v1"}, by="person:eve") == done
    with pytest.raises(errors.AlreadyDecided):
        await desk.inbox.complete("t1", {"vendor": "v2"}, by="person:eve")
    assert await status_of(desk.db, "c1") == "queued"
    told = await events(desk.ledger, "inbox.completed")
    times = {"opened_at": iso(START), "claimed_at": iso(START)}
    assert [(e["actor"], e["data"]) for e in told] == [
        ("person:eve", {"item": "t1", "task": "pick", **times, "comment": "the cheapest"})
    ]


async def test_the_ledger_says_in_whose_place_a_task_was_done(desk: Desk) -> None:
    await desk.open(desk.task())
    until, delegations = START + timedelta(days=1), desk.inbox.delegations
    await delegations.give("default", "person:eve", "person:fay", until=until, by="person:eve")
    await desk.inbox.complete("t1", {"vendor": "v"}, by="person:fay", comment="eve asked me")
    (told,) = await events(desk.ledger, "inbox.completed")
    assert (told["data"]["acting_for"], told["data"]["comment"]) == ("person:eve", "eve asked me")


async def test_an_invalid_output_names_the_place(desk: Desk) -> None:
    await desk.open(desk.task())
    with pytest.raises(errors.InputError, match=r"^vendor: "):
        await desk.inbox.complete("t1", {"vendor": 5}, by="person:eve")
    with pytest.raises(errors.InputError, match=r"^the output: "):
        await desk.inbox.complete("t1", {}, by="person:eve")


@pytest.mark.parametrize("output", [object(), {"vendor": {1, 2}}, {1: 2}])
async def test_an_output_that_is_no_json_is_refused(desk: Desk, output: Any) -> None:
    await desk.open(desk.task())
    await desk.open(desk.task("free", output_schema=None))
    for name in ("t1", "free"):
        with pytest.raises(errors.InputError):
            await desk.inbox.complete(name, output, by="person:eve")
        assert (await desk.inbox.get(name)).open


async def test_deputy_and_escalation_target_may_others_may_not(desk: Desk) -> None:
    desk.actors.person("person:eve").calendar = [(START, START + timedelta(days=1))]
    await desk.open(desk.task("a"))
    await desk.open(desk.task("b", eligible=["person:fay"]))
    await desk.open(desk.task("c", eligible=["role:lead"]))
    await desk.open(desk.task("d", assignee="agent:buyer"))
    await desk.open(desk.task("e", assignee="person:gone"))
    for name, by in (("a", "person:fay"), ("a", "person:olga"), ("d", "person:eve"), ("e", "person:eve")):
        with pytest.raises(errors.NotAuthorized, match="somebody else"):
            await desk.inbox.complete(name, {"vendor": "v"}, by=by)
    with pytest.raises(errors.NotAuthorized):
        await desk.inbox.complete("a", {"vendor": "v"}, by="agent:buyer")
    for name, by in (("a", "person:gus"), ("b", "person:fay"), ("c", "person:dora")):
        await desk.inbox.complete(name, {"vendor": "v"}, by=by)


async def test_a_task_claimed_by_another_is_theirs(desk: Desk) -> None:
    await desk.open(desk.task())
    desk.actors.person("person:eve").calendar = [(START, START + timedelta(days=1))]
    await desk.inbox.claim("t1", by="person:gus")
    with pytest.raises(errors.Conflict, match="person:gus"):
        await desk.inbox.complete("t1", {"vendor": "v"}, by="person:eve")
    await desk.inbox.complete("t1", {"vendor": "v"}, by="person:gus")


async def test_tasks_are_completed_and_the_rest_is_decided(desk: Desk) -> None:
    await desk.open(desk.task())
    await desk.open(desk.approval())
    for decision in (YES, Decision("complete", value={"vendor": "v"})):
        with pytest.raises(errors.InputError):
            await desk.inbox.decide("t1", decision, by="person:eve")
    with pytest.raises(errors.InputError):
        await desk.inbox.decide("i1", Decision("complete", value={}), by="person:bo")
    with pytest.raises(errors.InputError):
        await desk.inbox.complete("i1", {}, by="person:bo")


# exceptions


async def test_exceptions_are_answered_by_operators_and_the_workflows_owner(desk: Desk) -> None:
    await desk.open(desk.exception("a"))
    await desk.open(desk.exception("b"))
    await desk.open(desk.exception("c"))
    await desk.open(desk.exception("d"))
    with pytest.raises(errors.NotAuthorized, match="'operator'"):
        await desk.inbox.decide("a", YES, by="person:dora")
    with pytest.raises(errors.NotAuthorized):
        await desk.inbox.decide("a", YES, by="agent:buyer")  # an agent with the role operator
    await desk.inbox.decide("a", YES, by="person:olga")
    for name, owner in (("b", "lead"), ("c", "person:dora"), ("d", "dora")):
        desk.inbox.owner_of = {"buying": owner}.__getitem__
        await desk.inbox.decide(name, Decision.reject("give up"), by="person:dora")


async def test_an_exception_that_names_people_asks_them_only(desk: Desk) -> None:
    await desk.open(desk.exception(eligible=["person:fay"]))
    with pytest.raises(errors.NotAuthorized, match=r"asks others.*ask person:fay"):
        await desk.inbox.decide("x1", YES, by="person:olga")
    await desk.inbox.decide("x1", YES, by="person:fay")


async def test_a_response_to_an_exception_fits_the_tasks_output(desk: Desk) -> None:
    schema = desk.task().output_schema
    await desk.open(desk.exception(output_schema=schema))
    with pytest.raises(errors.InputError, match=r"^vendor: "):
        await desk.inbox.decide("x1", Decision.respond({"vendor": 1}), by="person:olga")
    assert (await desk.inbox.get("x1")).open
    await desk.inbox.decide("x1", Decision.respond({"vendor": "v"}), by="person:olga")
    await desk.open(desk.exception("x2"))
    await desk.inbox.decide("x2", Decision.respond(["it", "happened"]), by="person:olga")
    await desk.open(desk.exception("x3", output_schema=schema))
    await desk.inbox.decide("x3", YES, by="person:olga")


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan").hex])
async def test_a_response_that_is_no_json_is_refused(desk: Desk, value: Any) -> None:
    await desk.open(desk.approval())
    with pytest.raises(errors.InputError):
        await desk.inbox.decide("i1", Decision.respond(value), by="person:bo")
    assert (await desk.inbox.get("i1")).open


# tenants


async def test_items_of_one_tenant_are_not_there_for_another(desk: Desk) -> None:
    await add_case(desk.db, "c1", "waiting", tenant="acme")
    await desk.open(replace(desk.approval(), tenant="acme"))
    with pytest.raises(errors.NotFound):
        await desk.inbox.decide("i1", YES, by="person:bo")
    await desk.inbox.decide("i1", YES, by="person:bo", tenant="acme")
    assert await status_of(desk.db, "c1", tenant="acme") == "queued"
    assert await status_of(desk.db, "c1") == "waiting"
    assert desk.woken == [("acme", "c1")]


async def test_without_an_engine_and_owners_answers_are_kept_all_the_same(desk: Desk) -> None:
    fresh = Desk(desk.db, desk.ledger, desk.clock)
    bare = type(fresh.inbox)(desk.db, desk.ledger, desk.policies, desk.actors, desk.clock)
    await desk.open(desk.approval())
    await bare.decide("i1", YES, by="person:bo")
    await desk.open(desk.exception())
    with pytest.raises(errors.NotAuthorized):
        await bare.decide("x1", YES, by="person:dora")
    assert await status_of(desk.db, "c1") == "queued"


# decisions


@pytest.mark.parametrize("why", ["", "  ", None, 5, ["x"]])
def test_a_rejection_needs_a_reason(why: Any) -> None:
    with pytest.raises(errors.InputError):
        Decision.reject(why)
    with pytest.raises(errors.InputError):
        Decision("reject", why=why)


@pytest.mark.parametrize("args", [None, 5, "x", [1]])
def test_an_edit_needs_arguments(args: Any) -> None:
    with pytest.raises(errors.InputError):
        Decision.edit(args)


@pytest.mark.parametrize("kind", ["", "APPROVE", "yes", None, 5])
def test_an_answer_is_one_of_five(kind: Any) -> None:
    with pytest.raises(errors.InputError):
        Decision(kind)


def test_an_edit_is_a_copy_and_same_compares_what_was_said() -> None:
    args = {"a": 1}
    decision = Decision.edit(args)
    args["a"] = 2
    assert decision.args == {"a": 1}
    assert decision.same(replace(Decision.edit({"a": 1}), digest="d"))
    assert not decision.same(Decision.edit({"a": 2}))
    assert not Decision.respond("approve").same(Decision.approve())


def test_a_person_of_no_authority_has_no_limit() -> None:
    assert Person("bo").limit("purchasing", "EUR") == 0
