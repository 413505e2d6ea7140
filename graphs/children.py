"""Child cases: started by a task of another case, with no more rights than that case's requester."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphInterrupt

from interlock import errors
from interlock.graphs.cases import CHILD
from interlock.tools.facts import Found
from interlock.tools.waiting import Suspended, rest

if TYPE_CHECKING:
    from interlock.agents.call import Launch
    from interlock.graphs.cases import Case
    from interlock.graphs.drive import Here
    from interlock.tools.site import CallSite

__all__ = ["launcher"]


def launcher(here: Here, where: CallSite) -> Launch:
    """What `call.start` does in a task: the same child on every restart, awaited in place if asked."""

    async def launch(workflow: str, value: Any, wait: bool) -> Any:
        turn = here.drive.claim.turn(where.ns, where.attempt, "child")
        key = f"{here.drive.case.case_id}/{where.ns}/{turn}"
        child = await here.drive.services.start_child(here.drive.case, workflow, value, key)
        if wait and child.ended_at is None:
            _suspend(child)
        here.learn([Found("case", child.id, child.values if wait else None, here.stamp())])
        return _result(child) if wait else child.id

    return launch


def _suspend(child: Case) -> None:
    """The task waits until the child has ended."""
    try:
        rest(f"waits for its {child.workflow} case", CHILD + child.id)
    except GraphInterrupt as signal:
        raise Suspended(signal) from None


def _result(child: Case) -> Any:
    if child.status == "completed":
        return child.values
    why = (child.error or {}).get("message", child.status)
    raise errors.AgentFailed(f"the {child.workflow} case {child.id} {child.status}: {why}", "see that case")
