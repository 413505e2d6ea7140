"""The commands that other processes send to a live engine, with JSON in and out; see `engine/remote.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from interlock import clock, errors
from interlock.graphs.cases import Case
from interlock.oversight.items import Decision, Item

__all__ = ["commands", "told"]


class _Commands:
    """Each public method is a command; a new one needs nothing else."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    async def decide(
        self, item_id: str, decision: Mapping[str, Any], by: str, comment: str = "", digest: str | None = None
    ) -> Any:
        said = _decision(decision)
        return (await self._plane.inbox.decide(item_id, said, by=by, comment=comment, digest=digest)).as_json()

    async def claim(self, item_id: str, by: str) -> Any:
        return (await self._plane.inbox.claim(item_id, by=by)).as_json()

    async def release(self, item_id: str, by: str, comment: str = "") -> Any:
        return (await self._plane.inbox.release(item_id, by=by, comment=comment)).as_json()

    async def delegate(self, item_id: str, to: str, by: str, comment: str = "") -> Any:
        return (await self._plane.inbox.delegate(item_id, to=to, by=by, comment=comment)).as_json()

    async def decide_many(self, item_ids: list[str], decision: Mapping[str, Any], by: str, comment: str = "") -> Any:
        found = await self._plane.inbox.decide_many(item_ids, _decision(decision), by=by, comment=comment)
        return told(dict.fromkeys(item_ids), found)

    async def complete(self, item_id: str, output: Any, by: str, comment: str = "") -> Any:
        return (await self._plane.inbox.complete(item_id, output, by=by, comment=comment)).as_json()

    async def show(self, case_id: str) -> Any:
        return _case(await self._plane.case(case_id))

    async def cancel(self, case_id: str, by: str, comment: str = "") -> Any:
        return _case(await self._plane.cancel(case_id, by=by, comment=comment))

    async def pause(self, case_id: str, by: str, comment: str = "") -> Any:
        return _case(await self._plane.pause(case_id, by=by, comment=comment))

    async def resume(self, case_id: str, by: str, comment: str = "") -> Any:
        return _case(await self._plane.resume(case_id, by=by, comment=comment))

    async def fork(self, case_id: str, by: str, comment: str = "", checkpoint_id: str | None = None) -> Any:
        return _case(await self._plane.fork(case_id, checkpoint_id=checkpoint_id, by=by, comment=comment))

    async def switch(self, target: str, state: str, by: str, comment: str = "") -> Any:
        cases = await self._plane.switch(target, state, by=by, comment=comment)
        return {"target": target, "state": state, "cases": cases}

    async def entrust(self,   # noqa: PLR0917  # a command's fields
        giver: str, taker: str, until: str, by: str, authority: str | None = None, start: str | None = None,
        comment: str = "",
    ) -> Any:  # fmt: skip
        begins = clock.moment(start, "from") if start else None
        made = await self._plane.delegations.give(
            giver, taker, authority, until=clock.moment(until, "until"), start=begins, by=by, comment=comment
        )
        return {"delegation": dataclasses.asdict(made)}

    async def revoke(self, delegation: str, by: str, comment: str = "") -> Any:
        return {
            "delegation": dataclasses.asdict(await self._plane.delegations.revoke(delegation, by=by, comment=comment))
        }

    async def archive(self, by: str, before: str | None = None) -> Any:
        moved = await self._plane.retention.archive(clock.moment(before, "before") if before else None, by=by)
        return {"archived": moved._asdict()}

    async def erase(self, case_ids: list[str], by: str, comment: str, subject: str | None = None) -> Any:
        erased = await self._plane.retention.erase(case_ids, subject=subject, by=by, why=comment)
        return {"erased": erased._asdict()}

    async def wait(self, case_id: str, until: str = "settled", timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return _case(await self._plane.wait(case_id, until, timeout))

    async def reload(self, by: str = "") -> Any:
        if by:
            self._plane.services.actors.get(by)
        policies = self._plane.policies
        told = await _reload(policies, by)
        return told if policies.shadow is None else {**told, "shadow": await _reload(policies.shadow, by)}


def commands(plane: Any) -> dict[str, Callable[..., Awaitable[Any]]]:
    """The commands of a ControlPlane by name."""
    bound = _Commands(plane)
    return {name: getattr(bound, name) for name in vars(_Commands) if not name.startswith("_")}


def told(item_ids: Iterable[str], answers: Iterable[Item | errors.InterlockError]) -> dict[str, Any]:
    """What became of many answers, as JSON: the items that were answered, and the error of each other one."""
    pairs = list(zip(item_ids, answers, strict=True))
    refused = [{"item": one, **answer.error} for one, answer in pairs if isinstance(answer, errors.InterlockError)]
    return {"items": [answer.as_json() for _, answer in pairs if isinstance(answer, Item)], "errors": refused}


async def _reload(policies: Any, by: str) -> dict[str, Any]:
    problems = [dataclasses.asdict(problem) for problem in await policies.reload(by)]
    return {"taken": not problems, "version": policies.version, "problems": problems}


def _case(case: Case) -> dict[str, Any]:
    return dataclasses.asdict(case)


def _decision(said: Mapping[str, Any]) -> Decision:
    """A decision as JSON: {"kind": approve | reject | edit | respond, "why", "args", "value"}. Raises InputError."""
    match said.get("kind"):
        case "approve":
            return Decision.approve()
        case "reject":
            return Decision.reject(said.get("why", ""))
        case "edit":
            return Decision.edit(said.get("args") or {})
        case "respond":
            return Decision.respond(said.get("value"))
    raise errors.InputError(f"{said.get('kind')!r} is no decision", "say approve, reject, edit or respond")
