"""The gateway on a real database: each way through it, and each way in which it says no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from interlock import errors
from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.oversight.holds import line
from interlock.oversight.inbox import Decision
from interlock.storage.claim import CLAIM, Claim
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, ToolResult, Unsure
from interlock.tools.effects import Outcome
from tests.tools.plant import CASE, POLICY, Plant, bank, plant


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant() as made:
        bank(made)
        yield made


@contextmanager
def driving(claim: Claim) -> Iterator[Claim]:
    token = CLAIM.set(claim)
    try:
        yield claim
    finally:
        CLAIM.reset(token)


async def commit_task(one: Plant, claim: Claim) -> None:
    """What the saver does when a task ends."""
    waiting = claim.take_all()
    await one.db.commit(lambda tx: [apply(tx) for apply in waiting], claim=claim)


def policies_of(result: ToolResult) -> list[str]:
    return [reason.policy for reason in result.reasons]


# --- let through ---------------------------------------------------------------------------------------------------


async def test_a_write_is_intended_executed_and_settled(one: Plant) -> None:
    result = await one.pay(100, ns="")
    assert (result.status, result.value) == ("done", "pay 100 acme#1")
    row = await one.effect(result)
    assert (row["status"], row["attempt"], row["amount"], row["by"]) == ("done", 1, 100, "executed")
    types = [event["type"] async for event in one.ledger.export()]
    assert types == ["limit.reserved", "policy.decided", "tool.intent", "limit.settled", "tool.outcome"]


async def test_the_same_call_again_gives_what_was_recorded(one: Plant) -> None:
    first, again = await one.pay(), await one.pay()
    assert again == first
    assert one.world.done["pay 100 acme"] == 1
    assert len(await one.events("tool.outcome")) == 1
    assert (await one.pay(slot=1)).value == "pay 100 acme#2"


async def test_a_failure_is_recorded_and_not_repeated(one: Plant) -> None:
    one.world.fail.append(ValueError("no such account"))
    first = await one.pay()
    assert (first.status, first.error) == ("failed", "ValueError: no such account")
    assert await one.pay() == first
    assert one.world.done["pay 100 acme"] == 1
    (outcome,) = await one.events("tool.outcome")
    assert outcome["data"]["status"] == "failed"
    assert [e["type"] for e in await one.events("limit.released")] == ["limit.released"]
    with pytest.raises(errors.ToolFailed, match="no such account"):
        first.unwrap()


async def test_a_read_is_recorded_with_its_task(one: Plant) -> None:
    with driving(await one.case()) as claim:
        args = {"account": "7"}
        result = await one.gateway.call("bank.balance", args, one.site())
        assert result.value == {"account": "7", "said": "balance#1"}
        assert await one.effect(result) == {}
        again = await one.gateway.call("bank.balance", args, one.site(attempt=2))
        assert again.value == result.value, "a retry of the task sees what it read before"
        await commit_task(one, claim)
        assert (await one.effect(result))["status"] == "done"
        assert (await one.gateway.call("bank.balance", args, one.site())).value == result.value
    assert one.world.done["balance"] == 1
    assert len(await one.events("tool.outcome")) == 1


async def test_results_are_plain_and_free_of_secrets(one: Plant) -> None:
    one.credentials.offer("bank", "s3cr3t-token")

    def leak(ctx: ToolContext) -> Any:
        return {"echo": f"Bearer {ctx.credential}", "other": {1, 2}}

    one.tools.register(leak, name="bank.leak", system="bank", effect="read")
    one.bind()
    result = await one.gateway.call("bank.leak", {}, one.site(ns=""))
    assert result.value == {"echo": "Bearer [credential]", "other": [1, 2]}
    assert b"s3cr3t" not in (await one.effect(result))["result"]


# --- said no -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "where", "policy"),
    [
        ("bank.play", {}, {}, "gateway.tool"),
        ("bank.Pay", {"amount": 1, "to": "a"}, {}, "gateway.tool"),
        ("bank.pay", {"amount": 1, "to": "a"}, {"actor": "agent:ghost"}, "gateway.actor"),
        ("bank.pay", {"amount": "1", "to": "a"}, {}, "gateway.schema"),
        ("bank.pay", {"amount": 1, "to": "a", "more": 1}, {}, "gateway.schema"),
        ("bank.pay", {"amount": float("nan"), "to": "a"}, {}, "gateway.money"),
        ("bank.pay", None, {}, "gateway.schema"),
        ("bank.pay", {"amount": 1, "to": "a"}, {"allowed": frozenset({"bank.balance"})}, "gateway.scope"),
        ("bank.pay", {"amount": 1, "to": "a"}, {"actor": "person:ana"}, "gateway.scope"),
        ("bank.pay", {"amount": 1, "to": "a"}, {"durability": "async"}, "gateway.durability"),
        ("bank.pay", {"amount": 1, "to": "a"}, {"guest": True}, "gateway.guest"),
        (7, {}, {}, "gateway.tool"),
    ],
)
async def test_denied(one: Plant, name: Any, args: Any, where: dict[str, Any], policy: str) -> None:
    result = await one.gateway.call(name, args, one.site(**where))
    assert (result.status, policies_of(result)) == ("denied", [policy])
    assert one.world.done.total() == 0
    (event,) = await one.events("policy.decided")
    assert event["data"]["decision"] == "denied"
    assert event["data"]["reasons"][0][0] == policy
    with pytest.raises(errors.Denied):
        result.unwrap()


async def test_a_default_denial_names_every_permit_and_what_was_false() -> None:
    only = """@id("SMALL") permit(principal, action, resource) when { context.amount <= 5 };
    @id("NEVER") forbid(principal, action, resource) when { context.amount == 13 };"""
    async with plant(policies=only) as one:
        bank(one)
        result = await one.pay(6)
        assert (result.status, policies_of(result)) == ("denied", ["SMALL"])
        assert "context.amount is 6" in result.reasons[0].text
        assert policies_of(await one.pay(13, slot=1)) == ["NEVER"]
        assert (await one.pay(5, slot=2)).status == "done"


async def test_switches_stop_the_next_call(one: Plant) -> None:
    for target in ("agent:clerk", "tool:bank.pay", "system:bank", "workflow:pay", "tenant:default", "all"):
        await one.switches.set("default", target, "off", by="person:op", comment="stop")
        result = await one.pay(ns="")
        assert policies_of(result) == ["gateway.switch"]
        assert target in result.reasons[0].text
        await one.switches.set("default", target, "on", by="person:op")
    assert (await one.pay(ns="")).status == "done"


async def test_facts_are_looked_up_and_a_failing_lookup_denies(one: Plant) -> None:
    known = {"limit": 5}
    one.tools.register_facts("limits", lambda args, ctx: known, actions=["bank.pay"], types={"limit": "long"})
    one.bind()
    assert (await one.pay()).status == "done"
    known["limit"] = True  # a bool is no long
    assert policies_of(await one.pay(slot=1)) == ["gateway.facts"]
    del known["limit"]
    assert policies_of(await one.pay(slot=2)) == ["gateway.facts"]


async def test_the_same_call_with_other_arguments_is_a_divergence(one: Plant) -> None:
    await one.pay(100)
    result = await one.pay(200)
    assert policies_of(result) == ["gateway.divergence"]
    assert one.world.done == {"pay 100 acme": 1}


# --- approvals -----------------------------------------------------------------------------------------------------


async def test_an_approval_lets_the_call_through_once(one: Plant) -> None:
    asked = await one.pay(20_000, ns="")
    assert asked.status == "asked"
    item = await one.inbox.get(str(asked.approval))
    assert (item.authority, item.need, item.eligible) == ("treasury", {"treasury": 1}, ["person:bo", "person:cy"])
    assert item.excluded == ["person:ana", "person:olga"]
    await one.approve(item)
    done = await one.pay(20_000, ns="", approval=item.id)
    assert done.status == "done"
    assert (await one.inbox.get(item.id)).used_at is not None
    again = await one.pay(20_000, ns="", approval=item.id)
    assert policies_of(again) == ["gateway.approval"]
    assert one.world.done == {"pay 20000 acme": 1}


@pytest.mark.parametrize("other", [{"amount": 20_001}, {"amount": 20_000, "to": "evil"}])
async def test_an_approval_of_another_action_is_none(one: Plant, other: dict[str, Any]) -> None:
    item = await one.inbox.get(str((await one.pay(20_000, ns="")).approval))
    await one.approve(item)
    assert policies_of(await one.pay(ns="", approval=item.id, **other)) == ["gateway.approval"]
    assert policies_of(await one.pay(20_000, ns="", approval="made-up")) == ["gateway.approval"]
    assert one.world.done.total() == 0


async def test_a_rejection_is_final(one: Plant) -> None:
    asked = await one.pay(20_000)
    await one.approve(await one.open(asked), decision=Decision.reject("too much"))
    result = await one.pay(20_000)
    assert (result.status, result.rejected_by) == ("denied", "person:bo")
    with pytest.raises(errors.Rejected) as caught:
        result.unwrap()
    assert (caught.value.by, caught.value.why) == ("person:bo", "too much")


async def test_an_answer_stands_for_the_action(one: Plant) -> None:
    await one.approve(await one.open(await one.pay(20_000)), decision=Decision.respond("paid by cheque"))
    assert (await one.pay(20_000)).value == "paid by cheque"
    assert one.world.done.total() == 0
    assert await one.events("tool.outcome") == []


async def test_an_edit_is_checked_as_a_new_action_and_executed(one: Plant) -> None:
    item = await one.open(await one.pay(20_000))
    with pytest.raises(errors.InputError):
        await one.approve(item, decision=Decision.edit({"amount": "many", "to": "acme"}))
    with pytest.raises(errors.NotAuthorized):
        await one.approve(item, decision=Decision.edit({"amount": 20_000_000, "to": "acme"}))
    await one.approve(item, decision=Decision.edit({"amount": 15_000, "to": "acme"}))
    result = await one.pay(20_000)
    assert (result.status, result.value) == ("done", "pay 15000 acme#1")
    assert await one.pay(20_000) == result
    (intent,) = await one.events("tool.intent")
    assert intent["data"]["args"] == {"amount": 15_000, "to": "acme"}


async def test_an_edit_leaves_what_it_does_not_name(one: Plant) -> None:
    item = await one.open(await one.pay(20_000))
    await one.approve(item, decision=Decision.edit({"amount": 11_000}))
    assert (await one.pay(20_000)).value == "pay 11000 acme#1"


async def test_two_stages_need_two_persons(one: Plant) -> None:
    first = await one.open(await one.pay(2_000_000))
    await one.approve(first, by="person:bo")
    second = await one.open(await one.pay(2_000_000))
    assert (second.id != first.id, second.stage, second.eligible) == (True, 1, ["person:cy"])
    with pytest.raises(errors.NotAuthorized):
        await one.approve(second, by="person:bo")
    await one.approve(second, by="person:cy")
    assert (await one.pay(2_000_000)).status == "done"


async def test_an_approval_is_checked_again_when_it_is_used(one: Plant) -> None:
    await one.approve(await one.open(await one.pay(20_000)))
    one.actors.person("person:bo").authorities.clear()
    result = await one.pay(20_000)
    assert result.status == "asked", "who approved has lost the authority since"
    assert one.world.done.total() == 0


async def test_an_open_question_is_withdrawn_when_the_call_goes_on_without_it(one: Plant) -> None:
    item = await one.open(await one.pay(20_000))
    one.policies.files["more.cedar"] = (
        '@id("ALL") permit(principal, action == Interlock::Action::"bank.pay", resource);'
    )
    one.bind()
    assert (await one.pay(20_000)).status == "done"
    assert (await one.inbox.get(item.id)).status == "cancelled"


# --- what may have happened ----------------------------------------------------------------------------------------


class Lost(httpx.ReadError):
    """The answer was lost after the effect took place."""

    def __init__(self) -> None:
        super().__init__("connection reset")


class Down(httpx.ConnectError):
    """The request never left."""

    before = True

    def __init__(self) -> None:
        super().__init__("refused")


async def test_a_lost_answer_without_probe_goes_to_a_person(one: Plant) -> None:
    one.world.fail.append(Lost())
    result = await one.pay()
    assert (result.status, one.world.done.total()) == ("unknown", 1)
    assert await one.events("tool.outcome") == []
    item = await one.inbox.get(str(result.approval))
    assert (item.kind, item.open) == ("exception", True)
    assert (await one.pay()).status == "unknown"
    await one.inbox.decide(item.id, Decision.respond({"id": 7}), by="person:op")
    assert (await one.pay()).value == {"id": 7}
    (outcome,) = await one.events("tool.outcome")
    assert (outcome["data"]["by"], outcome["data"]["status"]) == ("person", "done")
    assert one.world.done.total() == 1


async def test_a_person_may_have_it_run_again_or_give_it_up(one: Plant) -> None:
    one.world.fail += [Lost(), Lost()]
    first = await one.pay()
    await one.inbox.decide(str(first.approval), Decision.approve(), by="person:op")
    second = await one.pay()
    assert second.status == "unknown"
    assert second.approval != first.approval
    await one.inbox.decide(str(second.approval), Decision.reject("leave it"), by="person:op")
    given_up = await one.pay()
    assert (given_up.status, given_up.error) == ("failed", "person:op gave it up: leave it")
    assert [e["data"]["attempt"] for e in await one.events("tool.intent")] == [1, 2]
    assert [e["data"]["by"] for e in await one.events("tool.outcome")] == ["person"]


async def test_a_request_that_never_left_has_failed(one: Plant) -> None:
    one.world.fail.append(Down())
    assert (await one.pay()).status == "failed"


@pytest.mark.parametrize(
    ("answer", "status", "by"),
    [
        (Happened("as it was"), "done", "reconciled"),
        (DidNotHappen(), "failed", "reconciled"),
        (Unsure(), "unknown", None),
    ],
)
async def test_the_probe_decides_after_a_lost_answer(answer: Any, status: str, by: str | None) -> None:
    async with plant() as one:
        bank(one, reconcile=lambda args, ctx: answer)
        one.world.fail.append(Lost())
        result = await one.pay()
        assert result.status == status
        assert [e["data"]["by"] for e in await one.events("tool.outcome")] == ([by] if by else [])


async def test_a_probe_that_fails_cannot_tell() -> None:
    async def probe(args: Any, ctx: ToolContext) -> Any:
        raise Down

    async with plant() as one:
        bank(one, reconcile=probe)
        one.world.fail.append(Lost())
        result = await one.pay()
        assert result.status == "unknown"
        assert "probe failed" in str(result.error)


@pytest.mark.parametrize(("options", "times"), [({"idempotent": True}, 3), ({}, 1)])
async def test_only_reads_and_idempotent_tools_are_tried_again(options: dict[str, Any], times: int) -> None:
    async with plant() as one:
        bank(one, **options)
        one.world.fail += [Lost(), Lost()]
        result = await one.pay()
        assert one.world.done.total() == times
        assert result.status == ("done" if options else "unknown")
        assert len(await one.events("tool.intent")) == 1


# --- crash: an intent is there, nobody knows what came of it --------------------------------------------------------


async def crashed(one: Plant) -> ToolResult:
    """The effect of a first try took place, and the process died before it was recorded."""
    effect_key = await one.crash()
    one.world.done["pay 100 acme"] += 1
    return ToolResult("unknown", call_id=effect_key)


async def test_an_idempotent_tool_is_run_again_after_a_crash() -> None:
    async with plant() as one:
        bank(one, idempotent=True)
        await crashed(one)
        assert (await one.pay()).value == "pay 100 acme#2"
        assert [e["data"]["attempt"] for e in await one.events("tool.intent")] == [1, 2]
        assert len(await one.events("tool.outcome")) == 1


@pytest.mark.parametrize(("answer", "times"), [(Happened("found"), 1), (DidNotHappen(), 2)])
async def test_the_probe_is_asked_after_a_crash(answer: Any, times: int) -> None:
    async with plant() as one:
        bank(one, reconcile=lambda args, ctx: answer)
        await crashed(one)
        result = await one.pay()
        assert result.status == "done"
        assert one.world.done["pay 100 acme"] == times


async def test_a_plain_tool_goes_to_a_person_after_a_crash(one: Plant) -> None:
    await crashed(one)
    result = await one.pay()
    assert result.status == "unknown"
    assert one.world.done["pay 100 acme"] == 1
    await one.switches.set("default", "system:bank", "off", by="person:op")
    await one.inbox.decide(str(result.approval), Decision.approve(), by="person:op")
    assert policies_of(await one.pay()) == ["gateway.switch"], "running it again is a call, too"
    await one.switches.set("default", "system:bank", "on", by="person:op")
    assert (await one.pay()).status == "done"


# --- together ------------------------------------------------------------------------------------------------------


async def test_a_cancelled_caller_does_not_cancel_the_effect(one: Plant) -> None:
    one.world.gate = asyncio.Event()
    call = asyncio.create_task(one.pay())
    await one.in_flight()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    joined = asyncio.create_task(one.pay())
    await asyncio.sleep(0.05)
    one.world.gate.set()
    assert (await joined).status == "done"
    await one.gateway.drain(CASE)
    assert one.world.done.total() == 1
    assert len(await one.events("tool.outcome")) == 1


async def test_a_time_out_is_unknown_for_a_write() -> None:
    async with plant(tool_timeout_s=0.05) as slow:
        bank(slow)
        slow.world.gate = asyncio.Event()
        assert (await slow.pay()).status == "unknown"
        slow.world.gate.set()


async def test_sixty_four_at_once_never_overspend_the_day(one: Plant) -> None:
    results = await asyncio.gather(*(one.pay(1_000, slot=n, ns="") for n in range(64)))
    assert sorted({r.status for r in results}) == ["asked", "done"]
    assert sum(r.status == "done" for r in results) == 50
    assert one.world.done["pay 1000 acme"] == 50


OTHER = "0190a0a0-0000-7000-8000-000000000002"


@asynccontextmanager
async def leased(**settings: Any) -> AsyncIterator[Plant]:
    """Two cases that pay into one account, which the first one holds."""
    async with plant(**settings) as one:
        bank(one, resource=lambda args: f"account/{args['to']}")
        await one.case()
        await one.case(OTHER)
        assert (await one.pay()).status == "done"
        assert (await one.pay(slot=1)).status == "done", "a case never waits for itself"
        yield one


async def test_a_case_waits_for_an_object_no_longer_than_for_a_call() -> None:
    async with leased(tool_timeout_s=0.05) as one:
        assert policies_of(await one.pay(case_id=OTHER)) == ["gateway.lease"]


async def test_two_cases_never_write_one_object_at_once() -> None:
    async with leased() as one:
        waiting = asyncio.create_task(one.pay(case_id=OTHER))
        while not await one.db.read(lambda tx: line(tx, "default", "lease", "account/acme")):  # noqa: ASYNC110  # its turn
            await asyncio.sleep(0.001)
        freed = await one.db.commit(lambda tx: one.leases.release_all(tx, "default", CASE, "2026-01-01T00:00:00Z"))
        one.leases.notify("default", freed)
        assert (await waiting).status == "done"


async def test_a_stale_worker_writes_nothing(one: Plant) -> None:
    claim = await one.case(epoch=2)
    with driving(Claim(claim.tenant, claim.case_id, 1)), pytest.raises(errors.Stale):
        await one.pay()
    assert one.world.done.total() == 0


async def test_a_fork_only_imagines_its_writes(one: Plant) -> None:
    original = await one.pay()
    fork = "0190a0a0-0000-7000-8000-000000000003"
    await one.case(fork)
    await one.db.commit(lambda tx: tx.execute("UPDATE cases SET parent_id = ? WHERE case_id = ?", (CASE, fork)))
    result = await one.pay(case_id=fork, autonomy="shadow")
    assert (result.status, result.value) == ("done", original.value)
    assert one.world.done.total() == 1
    assert len(await one.events("policy.shadowed")) == 1


# --- in a task: rows wait for the commit of the task ----------------------------------------------------------------


async def test_a_question_is_committed_with_its_task_unless_it_is_void(one: Plant) -> None:
    with driving(await one.case()) as claim:
        asked = await one.pay(20_000)
        void = [True]
        await one.gateway.open(asked.items[-1], one.site(), unless=lambda: void[0])
        assert await one.events("policy.decided") == []
        await commit_task(one, claim)
        assert (await one.inbox.list()).items == []
        assert [e["data"]["decision"] for e in await one.events("policy.decided")] == ["asked"]
        void[0] = False
        await one.gateway.open(asked.items[-1], one.site(), unless=lambda: void[0])
        await commit_task(one, claim)
    (item,) = (await one.inbox.list()).items
    assert item.id == asked.approval
    assert (await one.gateway.item(item.id, one.site())).id == item.id


async def test_a_guest_asks_at_once_and_another_person_answers(one: Plant) -> None:
    async with plant() as sandbox:
        bank(sandbox, sandbox=True)
        sandbox.actors.register(Person("dev", authorities={"treasury": Money(10**9, "EUR")}))
        asked = await sandbox.pay(20_000, guest=True)
        await sandbox.gateway.open(asked.items[-1], sandbox.site(guest=True))
        decided = await sandbox.gateway.answer(asked.items[-1], Decision.approve())
        assert decided.decided_by == "person:dev"
        assert (await sandbox.pay(20_000, guest=True)).status == "done"


async def test_a_read_with_other_arguments_under_the_same_key_is_a_divergence(one: Plant) -> None:
    with driving(await one.case()):
        await one.gateway.call("bank.balance", {"account": "7"}, one.site())
        again = await one.gateway.call("bank.balance", {"account": "8"}, one.site(attempt=2))
    assert policies_of(again) == ["gateway.divergence"]


async def test_a_read_that_needs_an_approval_uses_it_up() -> None:
    asks = """@id("ASK") permit(principal, action, resource) when { context.approvals.treasury >= 1 };
    @id("APP") permit(principal, action == Interlock::Action::"approve:bank.balance", resource);"""
    async with plant(policies=asks) as one:
        bank(one)
        asked = await one.gateway.call("bank.balance", {"account": "7"}, one.site(ns=""))
        await one.approve(await one.inbox.get(str(asked.approval)))
        told = await one.gateway.call("bank.balance", {"account": "7"}, one.site(ns=""), approval=asked.approval)
        assert told.status == "done"
        assert (await one.inbox.get(str(asked.approval))).used_at is not None
        again = await one.gateway.call("bank.balance", {"account": "7"}, one.site(ns=""), approval=asked.approval)
        assert policies_of(again) == ["gateway.approval"]


async def test_two_calls_with_one_key_run_once(one: Plant) -> None:
    results = await asyncio.gather(*(one.pay(100, key="k", slot="k") for _ in range(8)))
    assert {r.value for r in results} == {"pay 100 acme#1"}
    assert one.world.done.total() == 1
    assert len(await one.events("tool.intent")) == 1


async def test_one_approval_and_two_callers_run_once(one: Plant) -> None:
    """Two engines cannot be; two callers of `call_tool` can: the commit decides which of them used the approval."""
    item = await one.inbox.get(str((await one.pay(20_000, ns="")).approval))
    await one.approve(item)
    results = await asyncio.gather(*(one.pay(20_000, ns="", approval=item.id) for _ in range(4)))
    assert one.world.done.total() == 1
    assert {r.status for r in results} <= {"done", "denied"}
    assert len(await one.events("tool.outcome")) == 1


async def test_an_expired_approval_denies(one: Plant) -> None:
    item = await one.open(await one.pay(20_000))
    late = "UPDATE inbox SET due = '2020-01-01T00:00:00.000000Z' WHERE id = ?"
    await one.db.commit(lambda tx: tx.execute(late, (item.id,)))
    with pytest.raises(errors.Expired):
        await one.approve(item)
    await one.inbox.expire(item.id)
    assert policies_of(await one.pay(20_000)) == ["gateway.approval"]


async def test_no_approval_helps_where_none_is_foreseen() -> None:
    only = '@id("OFF") forbid(principal, action == Interlock::Action::"bank.pay", resource);'
    async with plant(policies=POLICY + only) as one:
        bank(one)
        assert policies_of(await one.pay(20_000)) == ["OFF"]


async def test_nobody_can_edit_what_is_no_call(one: Plant) -> None:
    item = await one.open(await one.pay(20_000))
    with pytest.raises(errors.InputError, match="cannot be edited"):
        one.gateway.digest_of(replace(item, action={"tool": "pay.gate"}), {})


async def test_an_effect_whose_record_fails_is_logged_and_found_out_later(
    one: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = one.gateway._records.outcome

    async def fail(*args: Any, **more: Any) -> None:
        raise errors.DiskFull("no room", "make room")

    one.gateway._records.outcome = fail  # type: ignore[method-assign]  # a disk that is full just now
    with pytest.raises(errors.DiskFull):
        await one.pay()
    assert "could not be recorded" in caplog.text
    one.gateway._records.outcome = outcome  # type: ignore[method-assign]
    assert (await one.pay()).status == "unknown"
    assert one.world.done.total() == 1


async def test_an_outcome_that_arrives_before_the_second_try_stands(one: Plant) -> None:
    one.world.fail.append(Lost())
    first = await one.pay()
    await one.inbox.decide(str(first.approval), Decision.approve(), by="person:op")
    again = one.gateway._records.again

    async def late(attempt: Any) -> Any:
        await one.gateway._records.outcome(attempt, Outcome("done", "late news"))
        return await again(attempt)

    one.gateway._records.again = late  # type: ignore[method-assign]  # somebody is faster
    assert (await one.pay()).value == "late news"
    assert one.world.done.total() == 1


async def test_drain_waits_for_the_effects_of_one_case(one: Plant) -> None:
    one.world.gate = asyncio.Event()
    call = asyncio.create_task(one.pay())
    await one.in_flight()
    await one.gateway.drain("another case")
    drained = asyncio.create_task(one.gateway.drain(CASE))
    await asyncio.sleep(0.01)
    assert not drained.done()
    one.world.gate.set()
    await drained
    assert (await call).status == "done"
