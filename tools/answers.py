"""What people's interfaces are shown, and what they answer: one payload for all dialects, read tolerantly.

Three dialects exist: agent-inbox (`action_request`, answers as a list), LangChain 1.x (`action_requests`, answers as
`{"decisions": [...]}`) and AG-UI (`message`, `expires_at`). The payload is their union, with a part of our own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from interlock.oversight.inbox import Decision, Item

from interlock import errors

__all__ = ["fits", "parse_answer", "payload"]

_WORDS = {
    "approve": "approve", "approved": "approve", "accept": "approve", "yes": "approve", "true": "approve",
    "reject": "reject", "rejected": "reject", "ignore": "reject", "deny": "reject", "no": "reject", "false": "reject",
    "edit": "edit", "respond": "respond", "response": "respond",
}  # fmt: skip


def payload(item: Item, problem: str = "") -> dict[str, Any]:
    """The interrupt value of an item; `problem` says why the last answer was not taken."""
    action = item.action or {}
    name, args = str(action.get("tool", item.task or "")), dict(action.get("args") or {})
    text = _describe(item, name, problem)
    return {
        "action_request": {"action": name, "args": args},
        "config": {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True},
        "description": text,
        "action_requests": [{"name": name, "args": args, "arguments": args, "description": text}],
        "review_configs": [{"action_name": name, "allowed_decisions": ["approve", "edit", "reject", "respond"]}],
        "message": text,
        "expires_at": item.due,
        "interlock": _ours(item),
    }


def _ours(item: Item) -> dict[str, Any]:
    digest = (item.action or {}).get("digest", "")
    authority = next(iter(item.need or {}), "")
    ours = {"approval_id": item.id, "kind": item.kind, "digest": digest, "authority": authority}
    return {**ours, "need": item.need, "due": item.due, "sla_s": None, "level": item.stage, "case": item.case_id}


def _describe(item: Item, name: str, problem: str) -> str:
    reasons = "; ".join(str(reason[1]) for reason in item.reasons or [])
    asked = f"{name} needs a decision" if item.kind == "approval" else f"{name}: a person has to look"
    refused = f"The last answer was not taken: {problem}. " if problem else ""
    return f"{refused}{asked}{': ' + reasons if reasons else ''}"


def parse_answer(value: Any, item: Item | None = None) -> Decision:
    """A raw resume value as a decision. Raises InputError on what is none.

    Takes all shapes of agent-inbox and LangChain, the words approve and reject, true and false. With the item,
    edited values that came as strings are brought back to the types they had.
    """
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return parse_answer(value[0], item)
    if isinstance(value, bool):
        return Decision.approve() if value else Decision.reject("rejected")
    if isinstance(value, str) and _WORDS.get(value.strip().lower()) in ("approve", "reject"):
        return parse_answer(_WORDS[value.strip().lower()] == "approve", item)
    if isinstance(value, Mapping):
        return _of_mapping(value, item)
    raise _unreadable(value)


def _of_mapping(value: Mapping[str, Any], item: Item | None) -> Decision:
    if isinstance(value.get("decisions"), list) and len(value["decisions"]) == 1:
        return parse_answer(value["decisions"][0], item)
    kind = _WORDS.get(str(value.get("type", value.get("decision", ""))).strip().lower())
    if kind == "approve":
        return Decision.approve()
    if kind == "reject":
        return Decision.reject(_text(value) or "rejected")
    if kind == "respond":
        return Decision.respond(value.get("message", value.get("args", value.get("value", ""))))
    if kind == "edit":
        return Decision.edit(_edited(value, item))
    raise _unreadable(value)


def _text(value: Mapping[str, Any]) -> str:
    said = value.get("message", value.get("args", value.get("comment", "")))
    return said if isinstance(said, str) else ""


def _edited(value: Mapping[str, Any], item: Item | None) -> dict[str, Any]:
    """The edited arguments: `edited_action` of LangChain, or `args` of agent-inbox, which nests them once more."""
    found = value.get("edited_action", value.get("args"))
    while isinstance(found, Mapping) and isinstance(inner := found.get("args", found.get("arguments")), Mapping):
        found = inner
    if not isinstance(found, Mapping):
        raise _unreadable(value)
    before = dict((item.action or {}).get("args") or {}) if item is not None else {}
    return {name: _typed(new, before.get(name)) for name, new in found.items()}


def _typed(new: Any, before: Any) -> Any:
    if not isinstance(new, str) or before is None or isinstance(before, str):
        return new
    try:
        return json.loads(new)
    except ValueError:
        return new


def fits(value: Any, item: Item) -> bool:
    """Whether a raw answer may be the one that became the item's decision."""
    if item.decision is None:
        return True
    try:
        return parse_answer(value, item).kind == item.decision.kind
    except errors.InputError:
        return False


def _unreadable(value: Any) -> errors.InputError:
    shown = str(value)[:80]
    return errors.InputError(f"{shown!r} is no decision", 'answer {"type": "approve"}, reject, edit or respond')
