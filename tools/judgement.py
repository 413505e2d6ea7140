"""What the gateway decides about a call: switches, place, facts, provenance, policy, and whom to ask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from interlock import errors
from interlock.clock import Clock
from interlock.ids import Reason, digest
from interlock.oversight.actors import Actors
from interlock.oversight.contexts import merged
from interlock.oversight.escalation import opened
from interlock.oversight.inbox import Granted, Inbox, Item, separated
from interlock.oversight.items import given_by
from interlock.oversight.limits import Limits
from interlock.oversight.need import owner_id, with_approvals
from interlock.oversight.participants import informed
from interlock.oversight.policy import Policies, Request, Verdict
from interlock.oversight.switches import Switch, Switches
from interlock.tools.attempt import Attempt, Held, Refused, refused
from interlock.tools.contract import ToolContext
from interlock.tools.history import earlier
from interlock.tools.kinds import canonical_form
from interlock.tools.provenance import Provenance
from interlock.tools.registry import Tools
from interlock.tools.shadow import Shadow
from interlock.tools.sources import Recent

if TYPE_CHECKING:
    from interlock.storage.database import Database, Reader

__all__ = ["Judge"]

Recall = Callable[[], Recent]


class Judge:
    """A decision is a function of what is registered, recorded and switched; it changes nothing."""

    def __init__(
        self,
        *,
        db: Database,
        tools: Tools,
        policies: Policies,
        actors: Actors,
        inbox: Inbox,
        switches: Switches,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.provenance = Provenance(db, tools, clock)
        self._shadow = Shadow(db, policies, clock)
        self._db, self._tools, self._policies, self._actors = db, tools, policies, actors
        self._inbox, self._switches, self._limits, self._clock = inbox, switches, limits, clock

    async def decide(self, attempt: Attempt, ctx: ToolContext, recent: Recall = Recent) -> Item | None:
        """None: the call may run. An item: a person has to be asked. Raises Refused."""
        attempt.shadowed = None
        self.check_switches(attempt)
        _check_place(attempt)
        attempt.policies = self._policies.edition
        if self._asks(attempt) or self._shadow.looks_back(attempt):
            attempt.read = frozenset(call.tool for call in recent().calls)
        attempt.facts = await self._facts(attempt, ctx)
        traced = await self.provenance.trace(attempt, ctx, recent, self._aged(attempt))
        attempt.origins, attempt.ages = traced.origins, traced.ages
        attempt.counterparty = self._counterparty(attempt)
        await self._look_back(attempt)
        attempt.used = []
        attempt.request = self._request(attempt)
        try:
            item = await self._judged(attempt, attempt.request)
        except Refused:
            await self._shadow.compare(attempt, "denied")
            raise
        await self._shadow.compare(attempt, "asked" if item is not None else "allowed", item)
        return item if item is None or item in attempt.items else await self._with_evidence(item, attempt, ctx, recent)

    async def _judged(self, attempt: Attempt, request: Request) -> Item | None:
        verdict = self._heard(attempt, attempt.policies.decide(request))
        return None if verdict.allowed else await self._asked(attempt, verdict)

    def check_switches(self, attempt: Attempt) -> None:
        """Raises Held when the actor, tool, system, workflow or tenant is switched off."""
        if (off := self._stopping(attempt)) is not None:
            raise Held(Reason("gateway.switch", str(off)), "switch", off.target)

    def stopped(self, attempt: Attempt) -> str:
        """Which switch forbids a call, who set it and why; empty when none does. No I/O."""
        off = self._stopping(attempt)
        return "" if off is None else str(off)

    def _stopping(self, attempt: Attempt) -> Switch | None:
        site, spec = attempt.site, attempt.spec
        targets = [site.actor, f"tool:{spec.name}", f"workflow:{site.workflow}"]
        targets += [f"system:{spec.system}"] if spec.system else []
        targets += [f"tool:{attempt.undoes['tool']}"] if attempt.undoes else []
        return self._switches.off(site.tenant, targets)

    def moved(self, tx: Reader, attempt: Attempt) -> bool:
        """Whether the call is no longer allowed as things are now; for inside a commit, where that is final."""
        try:
            self.check_switches(attempt)
        except Refused:
            return True
        if attempt.policies.version != self._policies.version:
            return True
        if attempt.money is None and not attempt.earlier:
            return False
        now = self._sums(tx, attempt)
        if now == (attempt.totals, attempt.earlier):
            return False
        assert attempt.request is not None, "decided before"
        context = merged(attempt.request.context, _sums_as_context(*now))
        return not attempt.policies.decide(replace(attempt.request, context=context)).allowed

    def _asks(self, attempt: Attempt) -> tuple[str, ...]:
        """What the policies of the tool ask of earlier calls."""
        part = attempt.policies.slice(attempt.name)
        return part.earlier if part is not None else ()

    def _aged(self, attempt: Attempt) -> tuple[str, ...]:
        """The arguments whose age the policies of the tool ask for, or a candidate does."""
        part = attempt.policies.slice(attempt.name)
        paths = (*(part.aged if part is not None else ()), *self._shadow.aged(attempt))
        return tuple(dict.fromkeys(path.partition(".")[2] for path in paths))

    def _counterparty(self, attempt: Attempt) -> str:
        """The first target of the call, in the one form of its kind: sums per counterparty are kept by it."""
        arg = next(iter(attempt.spec.targets), "")
        value = attempt.args.get(arg)
        if value is None or isinstance(value, (list, dict)):
            return ""
        kind = attempt.spec.targets[arg]
        return canonical_form(self._tools.registries.get(kind) if isinstance(kind, str) else None, str(value))

    async def _look_back(self, attempt: Attempt) -> None:
        """What the decision has to know of earlier calls: of most calls nothing."""
        attempt.totals, attempt.earlier = {}, {}
        if attempt.money is not None or self._asks(attempt):
            attempt.totals, attempt.earlier = await self._db.read(lambda tx: self._sums(tx, attempt))

    def _sums(self, tx: Reader, attempt: Attempt) -> tuple[dict[str, Any], dict[str, Any]]:
        """Money reserved and settled so far, and what the policies ask of earlier calls; none asked, none looked up."""
        site, money, at = attempt.site, attempt.money, self._clock.now()
        totals = {} if money is None else self._limits.totals(
            tx, tenant=site.tenant, requester=site.requester, actor=site.actor, counterparty=attempt.counterparty,
            currency=money.currency, at=at,
        )  # fmt: skip
        return totals, earlier(tx, attempt, self._asks(attempt), at, attempt.read)

    async def _facts(self, attempt: Attempt, ctx: ToolContext) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for facts in self._tools.facts_of(attempt.name):
            try:
                values = facts.fn(attempt.given(), ctx)
                values = await values if inspect.isawaitable(values) else values
                found |= {key: _typed(key, values[key], kind) for key, kind in facts.types.items()}
            except Exception as exc:
                raise refused("facts", f"the facts {facts.name!r} failed: {type(exc).__name__}: {exc}") from exc
        return found

    def _request(self, attempt: Attempt) -> Request:
        site, spec, money = attempt.site, attempt.spec, attempt.money
        partial = {
            "workflow": site.workflow, "task": site.task, "tenant": site.tenant, "requester": site.requester,
            "preparers": sorted(site.preparers), "args": attempt.args, "autonomy": site.autonomy,
            "amount": money.amount if money else 0, "currency": money.currency if money else "",
            "origins": {arg: sorted(found) for arg, found in attempt.origins.items()}, "now": self._clock.now(),
            "ages": attempt.ages, **attempt.facts, **_sums_as_context(attempt.totals, attempt.earlier),
        }  # fmt: skip
        context = attempt.policies.complete_context(spec.name, partial)
        return Request(spec.name, site.actor, attempt.actor.all_roles, spec.system, context)

    def _heard(self, attempt: Attempt, verdict: Verdict) -> Verdict:
        attempt.version, attempt.reasons = verdict.version, verdict.reasons
        return verdict

    async def _asked(self, attempt: Attempt, verdict: Verdict) -> Item | None:
        """A denied request: None when the approvals that are there permit it, else the next question."""
        policies, asked, site = attempt.policies, attempt.request, attempt.site
        assert asked is not None, "decided before"
        wanted = policies.need(asked)
        if not wanted:
            raise Refused(*verdict.reasons)
        attempt.request = await self._db.read(lambda tx: informed(tx, asked, site.tenant, site.case_id, policies))
        granted = await self._granted(attempt, attempt.request)
        if granted.items:
            attempt.request = with_approvals(attempt.request, granted.approvals)
            attempt.approvals, attempt.used = granted.approvals, granted.items
            if self._heard(attempt, attempt.policies.decide(attempt.request)).allowed:
                return None
            wanted = policies.need(attempt.request)
            attempt.used = []
        if not wanted:
            raise Refused(*attempt.reasons)
        return self._question(attempt, wanted, granted)

    async def _granted(self, attempt: Attempt, request: Request) -> Granted:
        site = attempt.site
        return await self._inbox.granted(
            request, case_id=site.case_id, effect_key=attempt.effect_key, digest=attempt.digest, tenant=site.tenant
        )

    def _question(self, attempt: Attempt, wanted: Mapping[str, int], granted: Granted) -> Item:
        """The open item of this call, or the next one: for the first authority of which approvals are missing."""
        for item in attempt.items:
            if item.open and item.grants and item.digest == attempt.digest:
                return item
        authority = next(name for name, count in wanted.items() if count > granted.approvals.get(name, 0))
        excluded = self._excluded(attempt, granted)
        assert attempt.request is not None, "decided before"
        due, chain = opened(attempt.site.asking, self._clock.now(), self._actors.people())
        item = _item(attempt, authority, dict(wanted), excluded)
        return self._inbox.asking(replace(item, due=due, chain=chain, given=given_by(granted.items)), attempt.policies)

    async def _with_evidence(self, item: Item, attempt: Attempt, ctx: ToolContext, recent: Recall) -> Item:
        """The question with where the values of its arguments come from: looked up for people only."""
        sources = await self.provenance.evidence(attempt.site, attempt.args, recent(), attempt.spec.targets, ctx)
        return replace(item, evidence={**(item.evidence or {}), "sources": sources}) if sources else item

    def _excluded(self, attempt: Attempt, granted: Granted) -> list[str]:
        """Requester, preparers, the actor itself, the owner of the agent, and earlier approvers."""
        assert attempt.request is not None, "decided before"
        site, earlier = attempt.site, {one for item in granted.items for one in item.deciders}
        prepared = attempt.request.context["preparers"]
        return separated(site.requester, site.actor, prepared, owner_id(attempt.actor.owner), earlier)


def _sums_as_context(totals: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return merged({"totals": totals}, found)


def _check_place(attempt: Attempt) -> None:
    """Effects need a durable step behind them; a guest's effects stay in sandboxes."""
    site, spec = attempt.site, attempt.spec
    if not spec.writes:
        return
    if site.guest and not spec.sandbox:
        raise refused("guest", f"{spec.name} is no sandbox tool, and this graph runs outside the plane")
    if site.ns and site.durability != "sync":
        raise refused("durability", f"{spec.name} writes, and durability is {site.durability!r} instead of 'sync'")


def _typed(key: str, value: Any, kind: str) -> Any:
    wanted = {"bool": bool, "long": int, "string": str, "set": (list, tuple, set, frozenset)}[kind]
    if not isinstance(value, wanted) or (kind == "long" and isinstance(value, bool)):  # type: ignore[arg-type]
        raise errors.InputError(f"{key} is {value!r}, no {kind}", "give the type that was registered")
    return sorted(map(str, value)) if kind == "set" else value


def _item(attempt: Attempt, authority: str, need: dict[str, int], excluded: list[str]) -> Item:
    site = attempt.site
    stage = sum(item.grants for item in attempt.items)
    origins = {arg: sorted(found) for arg, found in attempt.origins.items()}
    seen = {"case": dict(site.shown), "facts": attempt.facts, "origins": origins}
    return Item(
        id=digest([attempt.effect_key, attempt.digest, authority, stage])[:32],
        tenant=site.tenant,
        kind="approval",
        case_id=site.case_id,
        workflow=site.workflow,
        task=site.task,
        checkpoint_ns=site.ns,
        effect_key=attempt.effect_key,
        action={"tool": attempt.name, "args": attempt.args, "money": attempt.amount, "digest": attempt.digest},
        digest=attempt.digest,
        requester=site.requester,
        authority=authority,
        need=need,
        reasons=list(attempt.reasons),
        evidence={name: value for name, value in seen.items() if value} or None,
        stage=stage,
        policy_version=attempt.version,
        request=attempt.request,
        excluded=excluded,
    )
