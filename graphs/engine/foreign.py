"""Questions that are not ours: an `interrupt()` of a plain node, which the workflow's owner or an operator answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from interlock.ids import Reason, digest
from interlock.oversight.inbox import Item

if TYPE_CHECKING:
    from langgraph.types import Interrupt

    from interlock.graphs.services import Services
    from interlock.storage.claim import Apply
    from interlock.storage.database import Row

__all__ = ["foreign_id", "foreign_item", "resume_value", "understands_no"]


def foreign_id(case_id: str, interrupt: Interrupt) -> str:
    """The inbox item of a question; LangGraph gives each question of a task an id of its own, but a fork repeats it."""
    return digest([case_id, interrupt.id])[:32]


def foreign_item(services: Services, case: Row, interrupt: Interrupt) -> Apply:
    """What opens the item of a case's question, of kind exception."""
    question = to_jsonable_python(interrupt.value, fallback=repr)
    schema = interrupt.response_schema
    item = Item(
        id=foreign_id(case["case_id"], interrupt),
        tenant=case["tenant"],
        kind="exception",
        case_id=case["case_id"],
        workflow=case["workflow"],
        action={"args": question if isinstance(question, dict) else {}, "money": None, "digest": ""},
        requester=case["requester"],
        reasons=[Reason("workflow.question", _said(question))],
        evidence={"question": question},
        output_schema=schema if isinstance(schema, dict) else None,
        policy_version=services.policies.version,
    )
    return services.inbox.opening(item)


def _said(question: Any) -> str:
    if isinstance(question, Mapping):
        return str(question.get("message") or question.get("description") or "a step of the workflow asks")
    return str(question)


def resume_value(question: Any, decision: Mapping[str, Any]) -> Any:
    """What the node gets: an answer in the dialect of its question, else the value of the response, or True."""
    kind, value = decision["kind"], decision["value"]
    if isinstance(question, Mapping) and isinstance(asked := question.get("action_requests"), list):
        return {"decisions": [_langchain(decision)] * len(asked)}
    if isinstance(question, Mapping) and "action_request" in question:
        words = {"approve": "accept", "reject": "ignore", "respond": "response"}
        return [{"type": words.get(kind, kind), "args": value if kind == "respond" else None}]
    return True if kind == "approve" else value


def _langchain(decision: Mapping[str, Any]) -> dict[str, Any]:
    kind = decision["kind"]
    said = {"reject": decision["why"], "respond": str(decision["value"])}
    return {"type": kind, **({"message": said[kind]} if kind in said else {})}


def understands_no(question: Any) -> bool:
    """Whether the asking node itself understands a no; otherwise a no ends the case."""
    return isinstance(question, Mapping) and not {"action_requests", "action_request"}.isdisjoint(question)
