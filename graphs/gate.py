"""The gate of a flow: the case goes on when policy is content with what people with the authority have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from interlock import errors
from interlock.graphs.drive import Here, at_node, item_id, preparers, site
from interlock.graphs.route import predicted
from interlock.graphs.state import TASKS, emitted, view
from interlock.graphs.task import ApprovalSpec, TaskSpec
from interlock.ids import digest
from interlock.money import Money
from interlock.oversight.actions import Request
from interlock.oversight.escalation import opened
from interlock.oversight.inbox import Item, separated
from interlock.oversight.items import given_by
from interlock.oversight.need import with_approvals
from interlock.oversight.participants import informed
from interlock.oversight.policy import Edition
from interlock.oversight.replay import Answer, answer_of, recorded
from interlock.oversight.shadow import difference, step_of, unharmed
from interlock.tools.edits import edited
from interlock.tools.tool import performing
from interlock.tools.waiting import Performance

__all__ = ["approval_node"]

# What a gate tells the policies beside what stands in the row of the decision.
_ASKED = ("workflow", "requester", "preparers", "autonomy", "authority", "amount", "currency")


@dataclass(frozen=True)
class _Question:
    """What a gate asks. `effect` is its identity in this visit; `named`: it approves a later call of a tool."""

    request: Request
    action: Mapping[str, Any]
    effect: str
    task: str
    named: bool


@dataclass(frozen=True)
class _Round:
    """One time that the policies are asked: which edition, with which approvals, what it says; how many were asked."""

    policies: Edition
    request: Request
    granted: list[Item]
    said: Answer
    stage: int


@dataclass(frozen=True)
class _Ended:
    """How a gate ended: done or rejected, and why."""

    status: str
    why: list[str]
    code: str = ""


def approval_node(gate: ApprovalSpec, schema: type[Any], named: TaskSpec | None = None) -> Any:
    """The node of a gate. With `call=`, `named` is the task whose call it approves: that call is not asked again."""

    async def approve(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        async with at_node(config) as here:
            asked = await _question(here, gate, state, view(schema, state), named)
            where = site(here, state, task=gate.name, actor=here.drive.case.requester, allowed=frozenset())
            async with performing(here.drive.services.gateway, where) as performance:
                answer = await _answer(here, gate, asked, performance)
        problem = {"code": answer.code, "message": "; ".join(answer.why)} if answer.code else {}
        news = {"status": answer.status, "kind": "approval", "why": answer.why, "problem": problem}
        return emitted(state, {TASKS: {gate.name: news}})

    return approve


async def _answer(here: Here, gate: ApprovalSpec, asked: _Question, performance: Performance) -> _Ended:
    """Ask one person after the other until policy allows it, or somebody or something says no."""
    inbox, used = here.drive.services.inbox, 0
    while True:
        items = await inbox.of_effect(asked.effect, tenant=here.drive.case.tenant)
        closed = [item for item in items if not item.open]
        performance.replayed(tuple(closed[used:]), performance.here())
        if (refusal := _refusal(closed)) is not None:
            return refusal
        now = await _asked_now(here, gate, asked, len(closed))
        if now.said.decision == "allowed":
            return _allowed(here, gate, asked, now)
        if now.said.decision == "denied":
            _note(here, gate, asked, now)
            return _Ended("rejected", [reason.text for reason in now.said.reasons], "denied")
        item = next((item for item in items if item.open), None)
        item = item or await _with_sources(here, _item(here, gate, asked, now), performance)
        _note(here, gate, asked, now, item)
        await performance.ask(item, performance.here())
        used = len(closed) + 1


async def _asked_now(here: Here, gate: ApprovalSpec, asked: _Question, stage: int) -> _Round:
    """Without anybody's help first; people are looked up only where they are asked."""
    policies = here.drive.services.policies.edition
    said = answer_of(policies, asked.request, gate=gate.needed)
    if said.decision != "asked" and not stage:
        return _Round(policies, asked.request, [], said, stage)
    case, db = here.drive.case, here.drive.services.db
    known = await db.read(lambda tx: informed(tx, asked.request, case.tenant, case.case_id, policies))
    granted = await _granted(here, asked, known)
    request = with_approvals(known, _counts(granted))
    return _Round(policies, request, granted, answer_of(policies, request, gate=gate.needed), stage)


def _refusal(closed: list[Item]) -> _Ended | None:
    for item in closed:
        if item.status == "expired":
            return _Ended("rejected", [f"nobody answered until {item.due}"], "expired")
        if item.decision is not None and item.decision.kind != "approve":
            said = item.decision.why or str(item.decision.value)
            return _Ended("rejected", [f"{item.decided_by}: {said}"], "rejected")
    return None


async def _granted(here: Here, asked: _Question, request: Request) -> list[Item]:
    """The approvals of this visit that still hold: each is asked of the policies again."""
    case, action = here.drive.case, str(asked.action["digest"])
    found = await here.drive.services.inbox.granted(
        request, case_id=case.case_id, effect_key=asked.effect, digest=action, tenant=case.tenant
    )
    return [item for item in found.items if item.effect_key == asked.effect]


def _counts(granted: list[Item]) -> dict[str, int]:
    names = [item.authority for item in granted]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _allowed(here: Here, gate: ApprovalSpec, asked: _Question, now: _Round) -> _Ended:
    """Policy is content. The approvals are used up by it, unless they are meant for the call that the gate names."""
    inbox, at, granted = here.drive.services.inbox, here.stamp(), now.granted
    if granted and not asked.named:
        here.later(lambda tx: inbox.use(tx, granted, at))
    _note(here, gate, asked, now)
    why = [f"approved by {item.decided_by}" for item in granted]
    return _Ended("done", why or [reason.text for reason in now.said.reasons])


def _item(here: Here, gate: ApprovalSpec, asked: _Question, now: _Round) -> Item:
    """The next question: for the first authority of which approvals are missing."""
    services, case, counts = here.drive.services, here.drive.case, _counts(now.granted)
    authority = next(name for name, count in now.said.need.items() if count > counts.get(name, 0))
    prepared = now.request.context["preparers"]
    excluded = separated(case.requester, prepared, {one for item in now.granted for one in item.deciders})
    due, chain = opened(gate.deadlines, here.now(), services.actors.people())
    item = Item(
        # Counted by what was asked: an approval that no longer holds has an item all the same.
        id=digest([asked.effect, asked.action["digest"], authority, now.stage])[:32],
        tenant=case.tenant,
        kind="approval",
        case_id=case.case_id,
        workflow=case.workflow,
        task=gate.name,
        checkpoint_ns=here.ns,
        effect_key=asked.effect,
        action=asked.action,
        digest=str(asked.action["digest"]),
        requester=case.requester,
        authority=authority,
        need=now.said.need,
        reasons=list(now.said.reasons),
        evidence={"shown": now.request.context["args"]},
        stage=now.stage,
        due=due,
        chain=chain,
        given=given_by(now.granted),
        policy_version=now.said.version,
        request=now.request,
        excluded=excluded,
        gate=True,
    )
    return services.inbox.asking(item, now.policies)


async def _with_sources(here: Here, item: Item, performance: Performance) -> Item:
    """The question with where the values that are shown come from."""
    sources = await here.drive.services.gateway.evidence(performance.site, item.evidence["shown"])
    return replace(item, evidence={**item.evidence, "sources": sources})


def _note(here: Here, gate: ApprovalSpec, asked: _Question, now: _Round, item: Item | None = None) -> None:
    """Record the decision, what was asked, and how the shadow of the policies would have decided."""
    said, about = now.said, item.id if item is not None else ""
    subject = {
        "tool": asked.action["tool"], "task": asked.task, "effect_key": asked.effect, "money": asked.action["money"],
    }  # fmt: skip
    here.note(
        "policy.decided",
        actor=here.drive.case.requester,
        identity=f"{asked.effect}:{said.decision}:{about}",
        **subject,
        decision=said.decision,
        reasons=[list(reason) for reason in said.reasons],
        policy_version=said.version,
        digest=asked.action["digest"],
        approvals=_counts(now.granted),
        item=item.id if item is not None else None,
        request=_recorded(gate, now, item),
    )
    with unharmed(gate.action):
        candidate = here.drive.services.policies.candidate
        told = difference(candidate, now.request, said, gate.needed) if candidate is not None else None
        if told is not None:
            identity = f"{asked.effect}:{step_of(told, about)}"
            more = {**subject, "workflow": here.drive.case.workflow, **told}
            here.note("policy.shadowed", actor=here.drive.case.requester, identity=identity, **more)


def _recorded(gate: ApprovalSpec, now: _Round, item: Item | None) -> dict[str, Any]:
    """What the policies were asked, for a replay."""
    context = {name: now.request.context[name] for name in _ASKED}
    return recorded(
        context, roles=now.request.roles, totals={}, facts={}, earlier={}, ages={}, args=now.request.context["args"],
        need=item.need if item is not None else None, gate=gate.needed, action=gate.action,
    )  # fmt: skip


async def _question(
    here: Here, gate: ApprovalSpec, state: dict[str, Any], seen: Any, named: TaskSpec | None
) -> _Question:
    services, case = here.drive.services, here.drive.case
    shown = {name: to_jsonable_python(_field(seen, name), fallback=repr) for name in gate.show}
    money = _amount(here, gate, seen)
    effect = item_id(here, "gate")
    apart = sorted(preparers(state, gate.name))
    context = {
        "workflow": case.workflow, "task": gate.name, "tenant": case.tenant, "requester": case.requester,
        "preparers": apart, "args": shown, "authority": gate.authority, "autonomy": case.autonomy, "now": here.now(),
        "amount": money.amount if money else 0, "currency": money.currency if money else "",
    }  # fmt: skip
    roles = services.actors.get(case.requester).all_roles if case.requester in services.actors else frozenset[str]()
    complete = services.policies.complete_context(gate.action, context)
    request = Request(gate.action, case.requester, roles, context=complete)
    action = await _call(here, gate, state, seen, named) or _own_action(here, gate, shown, money)
    return _Question(request, action, effect, gate.name, gate.call is not None)


def _own_action(here: Here, gate: ApprovalSpec, shown: dict[str, Any], money: Money | None) -> dict[str, Any]:
    case = here.drive.case
    about = digest([gate.action, shown, money and str(money), case.requester, case.tenant, case.case_id, gate.name])
    return {"tool": gate.action, "args": shown, "money": _money_json(money), "digest": about}


async def _call(
    here: Here, gate: ApprovalSpec, state: dict[str, Any], seen: Any, named: TaskSpec | None
) -> dict[str, Any] | None:
    """The call that this gate names, as whoever will perform the task would make it."""
    if gate.call is None or named is None:
        return None
    tool, args = gate.call(seen)
    actor, case = await predicted(here, named, seen), here.drive.case
    about = Item(
        id="", tenant=case.tenant, kind="approval", case_id=case.case_id, workflow=case.workflow, task=named.name,
        action={"tool": tool}, requester=case.requester, request=Request(tool, actor),
    )  # fmt: skip
    call = edited(about, args, here.drive.services.tools)
    return {"tool": tool, "args": call.args, "money": call.amount, "digest": call.digest}


def _amount(here: Here, gate: ApprovalSpec, seen: Any) -> Money | None:
    """The money at stake; none where the gate has no `amount`, or its function says so.

    An integer counts minor units of the currency in which the authority has its limits. Raises ConfigurationError on
    anything else, also on a field without a value: no amount would be within everybody's limit.
    """
    value = gate.amount(seen) if callable(gate.amount) else _field(seen, gate.amount) if gate.amount else None
    if isinstance(value, Money) or (value is None and not isinstance(gate.amount, str)):
        return value
    if isinstance(value, Mapping):
        return Money(value["amount"], value["currency"])
    people = here.drive.services.actors.people()
    currencies = {p.authorities[gate.authority].currency for p in people if gate.authority in p.authorities}
    if isinstance(value, bool) or not isinstance(value, int) or len(currencies) != 1:
        raise errors.ConfigurationError(f"the amount of {gate.action} is {value!r}", "give Money, as Money(100, 'EUR')")
    return Money(value, currencies.pop())


def _money_json(money: Money | None) -> dict[str, Any] | None:
    return {"amount": money.amount, "currency": money.currency} if money else None


def _field(seen: Any, name: str) -> Any:
    return seen.get(name) if isinstance(seen, Mapping) else getattr(seen, name, None)
