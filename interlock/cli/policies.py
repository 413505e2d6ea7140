"""What `interlock policy` asks of a policy set, on the project's tools, actors and workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from interlock import errors
from interlock.cli.session import modelled, reading
from interlock.graphs.engine.lock import Address, EngineLock
from interlock.graphs.engine.remote import send
from interlock.oversight.actors import Person
from interlock.oversight.boundaries import Boundary, boundaries
from interlock.oversight.inbox import separated
from interlock.oversight.policy import Problem, Request
from interlock.oversight.shadow import Differences
from interlock.oversight.simulate import Simulation
from interlock.plane import ControlPlane
from interlock.tools import effects
from interlock.tools.attempt import Attempt, Refused, admit, begin
from interlock.tools.site import CallSite

__all__ = [
    "Question",
    "bounded",
    "examine",
    "explained",
    "explained_call",
    "explained_item",
    "reloaded",
    "shadowed",
    "simulated",
]


@dataclass(frozen=True)
class Question:
    """One call to be judged. `context` overrides what the plane would say: totals, approvals, origins, facts, task."""

    action: str
    actor: str
    args: dict[str, Any]
    requester: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


async def examine(home: Path, policies: Path | None) -> dict[str, Any]:
    """Every problem and hint of a set. Raises ConfigurationError when it cannot be read."""
    async with modelled(home, policies=policies) as plane:
        await _bound(plane)
        problems, hints = plane.policies.check(), plane.policies.hints()
        return {
            "valid": not problems,
            "version": plane.policies.version,
            "files": sorted(plane.policies.files),
            "problems": problems,
            "hints": hints,
            "lifted": [_lifted(one) for one in boundaries(plane.policies.edition, sums=True) if one.lifted_by],
        }


async def explained(home: Path, policies: Path | None, question: Question) -> dict[str, Any]:
    """Decision, reasons, need, who, and each policy with its conditions.

    Raises NotFound for an unknown tool or actor, InputError for arguments that do not fit, PolicyError.
    """
    async with modelled(home, policies=policies) as plane:
        await plane.ready()
        actor = plane.services.actors.get(question.actor)
        try:
            request = _request(plane, question)
        except Refused as no:
            return _refused(plane, no)
        owners = [actor.owner, f"{Person.prefix}:{actor.owner}"] if actor.owner else []
        return _explained(plane, request, separated(question.requester, question.actor, owners))


async def explained_item(home: Path, policies: Path | None, item_id: str) -> dict[str, Any]:
    """The same of what an inbox item asks, with everything that was known when it was asked. Raises NotFound."""
    async with reading(home, policies=policies) as plane:
        item = await plane.inbox.get(item_id)
    if item.request is None:
        raise errors.NotFound(f"item {item_id} asks no policy", "name an approval")
    async with modelled(home, policies=policies) as plane:
        await plane.ready()
        return _explained(plane, item.request, item.excluded)


async def explained_call(home: Path, policies: Path | None, key: str) -> dict[str, Any]:
    """What was decided of a recorded call, and what the policies say to it now, as far as it was let through.

    Raises NotFound.
    """
    async with reading(home, policies=policies) as plane:
        row = await plane.services.db.read(lambda tx: effects.load(tx, plane.tenant, key))
        case = await plane.case(row["case_id"]) if row is not None else None
        events = plane.ledger.export(case.id if case else None, None, plane.tenant)
        decided = [e async for e in events if e["type"] == "policy.decided" and e["data"].get("effect_key") == key]
    recorded = [{"at": e["at"], **{name: e["data"].get(name) for name in _DECIDED}} for e in decided]
    if row is None or case is None:
        if not recorded:
            raise errors.NotFound(f"no call {key!r}", "an effect_key stands in every event of a call: `audit export`")
        if (item := recorded[-1]["item"]) is not None:
            return {**await explained_item(home, policies, item), "recorded": recorded}
        return {**_NOTHING, **recorded[-1], "version": recorded[-1]["policy_version"], "recorded": recorded}
    args, more = orjson.loads(row["args"]), {"workflow": case.workflow, "task": row["task"]}
    question = Question(row["tool"], row["actor"], args, case.requester, more)
    return {**await explained(home, policies, question), "recorded": recorded}


def _explained(plane: ControlPlane, request: Request, excluded: list[str]) -> dict[str, Any]:
    people = list(plane.services.actors.people())
    answer = plane.policies.explain(request, people, excluded)
    now = plane.services.clock.now()
    able = {person for persons in answer["who"].values() for person in persons}
    return {**answer, "away": sorted(p.id for p in people if p.id in able and p.away(now)), "recorded": []}


def _lifted(limit: Boundary) -> dict[str, Any]:
    """A limit on sums or counts that approvals lift: whoever reads the policy should know."""
    names = ("policy", "file", "line", "action", "limit")
    return {**{name: getattr(limit, name) for name in names}, "by": limit.lifted_by}


async def bounded(home: Path, policies: Path | None, action: str | None) -> list[Boundary]:
    """What is decided at each numeric limit of a set. Raises PolicyError, and NotFound for an unknown action."""
    async with modelled(home, policies=policies) as plane:
        await plane.ready()
        if action is not None and action not in plane.policies.edition.actions:
            raise errors.NotFound(f"no tool or action {action!r}", "see `interlock policy boundaries` without --tool")
        return boundaries(plane.policies.edition, action)


async def simulated(
    home: Path, policies: Path | None, candidate: Path, since: str | None, workflow: str | None
) -> Simulation:
    """What a candidate set would have decided about the calls of a home. Raises PolicyError, InputError, NotFound."""
    async with reading(home, policies=policies) as past, modelled(home, policies=policies) as plane:
        plane.policies.past = past.ledger.export
        return await plane.policies.simulate(candidate, since, workflow=workflow)


async def shadowed(home: Path, policies: Path | None, since: str | None, workflow: str | None) -> Differences:
    """Where the shadow of a home's policies would have decided otherwise. Raises InputError, NotFound."""
    async with reading(home, policies=policies) as plane:
        return await plane.policies.shadowed(since, workflow=workflow)


async def reloaded(home: Path, by: str = "") -> dict[str, Any]:
    """Whether the live engine took its policies again, the version that decides now, and the problems.

    Raises NotFound when no engine lives: the next one reads them anyway.
    """
    answer: dict[str, Any] = await send(_engine(home), "reload", by=by)
    told = {name: _reloaded(part) for name, part in answer.items() if name == "shadow"}
    return {**_reloaded(answer), **told}


def _reloaded(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "problems": [Problem(**problem) for problem in answer["problems"]]}


def _engine(home: Path) -> Address:
    address = EngineLock(home).holder() if home.is_dir() else None
    if address is None:
        raise errors.NotFound(f"no engine lives in {home}", "nothing to do: the next one reads the policies anew")
    return address


async def _bound(plane: ControlPlane) -> None:
    """Bind the set to what is registered; what is wrong with it is kept for `check`."""
    try:
        await plane.ready()
    except errors.PolicyError:
        return


def _refused(plane: ControlPlane, no: Refused) -> dict[str, Any]:
    reasons = [list(reason) for reason in no.reasons]
    return {**_NOTHING, "reasons": reasons, "version": plane.policies.version}


def _request(plane: ControlPlane, question: Question) -> Request:
    """What the gateway would ask, as far as it can be known without a case."""
    services, actor = plane.services, plane.services.actors.get(question.actor)
    system = ""
    facts: dict[str, Any] = {
        "tenant": plane.tenant, "requester": question.requester or "", "now": services.clock.now(),
        "registered": True, "trusted": True, "skills": sorted(actor.skills),
    }  # fmt: skip
    if question.action in services.tools:
        attempt = _admitted(plane, question)
        system = attempt.spec.system
        facts |= {"args": attempt.args, **(attempt.amount or {})}
    elif not plane.policies.complete_context(question.action, {}):
        raise errors.NotFound(
            f"no tool or action {question.action!r}", "see `interlock map` for the tools of a workflow"
        )
    context = plane.policies.complete_context(question.action, {**facts, **question.context})
    return Request(question.action, actor.id, actor.all_roles, system, context)


def _admitted(plane: ControlPlane, question: Question) -> Attempt:
    attempt = begin(question.action, question.args, replace(_SITE, tenant=plane.tenant, actor=question.actor))
    admit(attempt, plane.services.tools, plane.services.actors)
    return attempt


_DECIDED = ("decision", "reasons", "policy_version", "approvals", "item", "money")
_NOTHING: dict[str, Any] = {
    "decision": "denied", "need": None, "who": {}, "who_not": {}, "away": [], "policies": [], "recorded": [],
}  # fmt: skip
_SITE = CallSite(
    tenant="", case_id="explain", workflow="adhoc", version="1", task="", visit=1, actor="", requester="",
    preparers=frozenset(), owner="", allowed=None, ns="", attempt=1, snapshot=0, autonomy="autonomous", guest=False,
    trusted=True, deadline=None,
)  # fmt: skip
