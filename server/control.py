"""`/control`: cases and inbox as JSON. Lists give `{items, cursor}`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from interlock import errors
from interlock.graphs.commands import told
from interlock.oversight.inbox import Decision
from interlock.plane import ControlPlane

__all__ = ["Plane", "router"]


async def _plane(request: Request) -> ControlPlane:
    opened: ControlPlane = await request.app.state.open()
    return opened


Plane = Annotated[ControlPlane, Depends(_plane)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Status = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
Kind = Literal["approval", "task", "exception"]
ItemStatus = Literal["open", "decided", "completed", "expired", "cancelled", "any"]
router = APIRouter(prefix="/control")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: str = Field(description="Who answers, as person:ana.")


class Said(Body):
    """A decision. `why` belongs to reject, `args` to edit, `value` to respond."""

    decision: Literal["approve", "reject", "edit", "respond"]
    why: str = ""
    args: dict[str, Any] | None = None
    value: Any = None
    comment: str = ""

    def meant(self) -> Decision:
        """Raises InputError when a part is missing."""
        if self.decision == "reject":
            return Decision.reject(self.why)
        if self.decision == "edit":
            return Decision.edit(self.args)  # type: ignore[arg-type]  # it says what is wrong with None
        if self.decision == "respond":
            return Decision.respond(self.value)
        return Decision.approve()


class Answer(Said):
    """A decision about one item."""

    digest: str | None = Field(None, description="Only if this is still the action that is asked for.")


class Answers(Said):
    """One decision about many items; each is checked and recorded by itself."""

    items: list[str] = Field(min_length=1, max_length=1000)


class Comment(Body):
    comment: str = ""


class Handing(Comment):
    to: str = Field(description="Who is asked, as person:ana.")


class Output(Body):
    """The output of a person's task."""

    output: Any
    comment: str = ""


@router.get("/cases")
async def list_cases(
    plane: Plane,
    status: Status | None = None,
    workflow: str | None = None,
    limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Cases in start order."""
    page = await plane.cases(status, workflow, limit, cursor)
    return {"items": [asdict(case) for case in page.items], "cursor": page.cursor}


@router.get("/cases/{case_id}")
async def get_case(plane: Plane, case_id: str) -> dict[str, Any]:
    return asdict(await plane.case(case_id))


@router.get("/inbox")
async def list_inbox(  # noqa: PLR0917  # query parameters, given by name
    plane: Plane,
    kind: Kind | None = None,
    status: ItemStatus = "open",
    role: str | None = None,
    case_id: str | None = None,
    limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """What waits for people, the oldest first."""
    wanted = None if status == "any" else status
    page = await plane.inbox.list(kind, wanted, role, case_id, limit, cursor)
    return {"items": [item.as_json() for item in page.items], "cursor": page.cursor}


@router.get("/inbox/{item_id}")
async def get_item(plane: Plane, item_id: str) -> dict[str, Any]:
    return (await plane.inbox.get(item_id)).as_json()


@router.post("/inbox/{item_id}/claim")
async def claim(plane: Plane, item_id: str, body: Body) -> dict[str, Any]:
    return (await plane.inbox.claim(item_id, by=body.by)).as_json()


@router.post("/inbox/{item_id}/release")
async def release(plane: Plane, item_id: str, body: Comment) -> dict[str, Any]:
    """Give a claimed item back."""
    return (await plane.inbox.release(item_id, by=body.by, comment=body.comment)).as_json()


@router.post("/inbox/{item_id}/delegate")
async def delegate(plane: Plane, item_id: str, body: Handing) -> dict[str, Any]:
    """Hand one item to another person."""
    return (await plane.inbox.delegate(item_id, to=body.to, by=body.by, comment=body.comment)).as_json()


@router.post("/inbox/decide")
async def decide_many(plane: Plane, body: Answers) -> dict[str, Any]:
    """Answer many items alike: `{items, errors}`, an error for each that was not answered."""
    asked = list(dict.fromkeys(body.items))
    return told(asked, await plane.inbox.decide_many(asked, body.meant(), by=body.by, comment=body.comment))


@router.post("/inbox/{item_id}/decide")
async def decide(plane: Plane, item_id: str, body: Answer) -> dict[str, Any]:
    """Answer an approval or an exception; the case goes on at once."""
    item = await plane.inbox.get(item_id)
    if body.digest is not None and body.digest != item.digest:
        raise errors.Conflict(f"{item_id} asks for another action than was shown", "read the item again")
    return (await plane.inbox.decide(item_id, body.meant(), by=body.by, comment=body.comment)).as_json()


@router.post("/inbox/{item_id}/complete")
async def complete(plane: Plane, item_id: str, body: Output) -> dict[str, Any]:
    """Hand in the output of a task."""
    return (await plane.inbox.complete(item_id, body.output, by=body.by, comment=body.comment)).as_json()
