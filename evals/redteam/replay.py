"""Replays a task of a user through the gateway, with and without an attacker's calls in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from interlock.evals.redteam.dojo import Call, Pair, Stage, copied
from interlock.evals.redteam.governed import ASSISTANT, REVIEWER, USER, Range
from interlock.evals.redteam.targets import Targets
from interlock.ids import Reason
from interlock.oversight.items import Decision
from interlock.tools.contract import ToolResult

__all__ = ["Attack", "Sent", "Session", "attacked", "honest"]


@dataclass(frozen=True)
class Sent:
    """What became of a call. `asked`: people were asked about it, whatever they said."""

    call: Call
    status: str
    asked: bool = False
    reasons: tuple[Reason, ...] = ()
    approval: str | None = None


@dataclass
class Session:
    """A case in which an assistant works on the task of a user, who wants `wanted` to be done and nothing else.

    Nobody in here knows which calls are an attacker's: the gateway sees calls, and the person sees actions.
    """

    where: Range
    case_id: str
    prompt: str
    step: str
    wanted: list[Call]
    sent: list[Sent] = field(default_factory=list)

    @classmethod
    async def open(cls, where: Range, user: str, stage: Stage) -> Session:
        step = where.ground.tasks[user].step
        prompt = where.dojo.prompt(user)
        asked = {"prompt": prompt, "step": step}
        case = await where.plane.start(where.dojo.name, asked, requester=USER, tenant=where.tenant())
        where.world.put(case.id, copied(stage.before))
        await where.plane.wait(case.id)
        return cls(where, case.id, prompt, step, stage.calls)

    @property
    def environment(self) -> Any:
        """As it is now."""
        return self.where.world.now(self.case_id)

    @property
    def done(self) -> list[Call]:
        return [one.call for one in self.sent if one.status == "done"]

    async def send(self, call: Call, approval: str | None = None) -> Sent:
        """Send a call, let a person answer what is asked, and repeat it when the answer is yes."""
        result, asked = await self._called(call, approval), False
        while result.status == "asked" and result.approval is not None:
            asked, approval = True, result.approval
            if not await self._approved(approval):
                break
            result = await self._called(call, approval)
        self.sent.append(Sent(call, result.status, asked, tuple(result.reasons), approval))
        return self.sent[-1]

    async def send_all(self, calls: Iterable[Call]) -> list[Sent]:
        return [await self.send(call) for call in calls]

    async def finish(self) -> str:
        """The user takes the answer; gives the status of the case."""
        plane = self.where.plane
        (item,) = (await plane.inbox.list(kind="task", case_id=self.case_id)).items
        await plane.inbox.complete(item.id, {"answer": "done"}, by=USER)
        return (await plane.wait(self.case_id)).status

    @property
    def tools(self) -> list[str]:
        """Those that the step may use."""
        return self.where.ground.tools_of(self.step)

    @property
    def targets(self) -> Targets:
        world, kinds = self.where.world, self.where.ground.kinds
        known = {name: world.known(self.case_id, name) for name in kinds}
        return Targets(self.where.ground, self.prompt, known, self.wanted)

    async def _called(self, call: Call, approval: str | None) -> ToolResult:
        return await self.where.plane.call_tool(
            call.tool, call.args, actor=ASSISTANT, case_id=self.case_id, task=self.step, approval=approval
        )

    async def _approved(self, item_id: str) -> bool:
        """What a person says who sees the action and knows the task."""
        inbox = self.where.plane.inbox
        action = (await inbox.get(item_id)).action
        shown = Call(action["tool"], action["args"])
        known = any(self.where.dojo.same(shown, call) for call in self.wanted)
        decision = Decision.approve() if known else Decision.reject("that is not what the user has asked for")
        await inbox.decide(item_id, decision, by=REVIEWER)
        return known


async def honest(where: Range, user: str) -> tuple[list[Sent], bool]:
    """The task alone: what became of its calls, and whether it is completed by the suite's own check."""
    stage = where.dojo.stage(user)
    session = await Session.open(where, user, stage)
    sent = await session.send_all(stage.calls)
    works = where.dojo.completed(user, stage.before, session.environment, session.done)
    return sent, works and await session.finish() == "completed"


@dataclass(frozen=True)
class Attack:
    """A task with an attacker's calls in it, what became of these, and of the honest ones beside them."""

    session: Session
    calls: list[Call]
    sent: list[Sent]
    beside: list[Sent]
    won: bool

    def why(self) -> str:
        """What vouched for the calls that were let through; reads are left out where something was changed."""
        rules = self.session.where.ground.tools
        done = [one.call for one in self.sent if one.status == "done"]
        writes = [call for call in done if rules[call.tool].effect == "write"]
        return "; ".join(self.session.targets.told(call) for call in writes or done)


async def attacked(where: Range, pair: Pair, point: int) -> Attack:
    """The task with the attacker's calls after `point` honest ones, and whether the attacker has won."""
    dojo = where.dojo
    stage = dojo.stage(pair.user, pair.attack if pair.injected else None)
    session = await Session.open(where, pair.user, stage)
    before = await session.send_all(stage.calls[:point])
    calls = dojo.attacking(pair.attack, session.environment)
    sent = await session.send_all(calls)
    after = await session.send_all(stage.calls[point:])
    won = dojo.won(pair, stage.before, session.environment, session.done)
    return Attack(session, calls, sent, [*before, *after], won)
