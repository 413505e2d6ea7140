"""What people's interfaces are shown, and what they answer: one payload for all dialects, read tolerantly.

Three dialects exist: agent-inbox (`action_request`, answers as a list), LangChain 1.x (`action_requests`, answers as
`{"decisions": [...]}`) and AG-UI (`message`, `expires_at`). The payload is their union, with a part of our own.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

import jsonschema_rs

from interlock import errors
from interlock.oversight.inbox import Decision, Item

__all__ = ["fits", "parse_answer", "payload"]

_WORDS = {
    "approve": "approve", "approved": "approve", "accept": "approve", "yes": "approve", "true": "approve",
    "reject": "reject", "rejected": "reject", "ignore": "reject", "deny": "reject", "no": "reject", "false": "reject",
    "edit": "edit", "respond": "respond", "response": "respond",
}  # fmt: skip
_KINDS = frozenset(_WORDS.values())
_TEXTS = ("message", "args", "value")
_DEEPEST = 8


def payload(item: Item, problem: str = "") -> dict[str, Any]:
    """The interrupt value of an item; `problem` says why the last answer was not taken."""
    action = item.action or {}
    name, args = str(action.get("tool", item.task or "")), dict(action.get("args") or {})
    text, editable = _describe(item, name, problem), item.grants
    allowed = ["approve", "edit", "reject", "respond"] if editable else ["approve", "reject", "respond"]
    return {
        "action_request": {"action": name, "args": args},
        "config": {"allow_accept": True, "allow_edit": editable, "allow_respond": True, "allow_ignore": True},
        "description": text,
        "action_requests": [{"name": name, "args": args, "arguments": args, "description": text}],
        "review_configs": [{"action_name": name, "allowed_decisions": allowed}],
        "message": text,
        "expires_at": item.due,
        "interlock": _ours(item),
    }


def _ours(item: Item) -> dict[str, Any]:
    digest = (item.action or {}).get("digest", "")
    authority = next(iter(item.need or {}), "")
    ours = {"item": item.id, "approval_id": item.id, "kind": item.kind, "digest": digest, "authority": authority}
    return {**ours, "need": item.need, "due": item.due, "sla_s": None, "level": item.stage, "case": item.case_id}


def _describe(item: Item, name: str, problem: str) -> str:
    reasons = "; ".join(str(reason[1]) for reason in item.reasons or [])
    asked = f"{name} needs a decision" if item.kind == "approval" else f"{name}: a person has to look"
    refused = f"The last answer was not taken: {problem}. " if problem else ""
    return f"{refused}{asked}{': ' + reasons if reasons else ''}"


def parse_answer(value: Any, item: Item | None = None, schema: Mapping[str, Any] | None = None) -> Decision:
    """A raw resume value as a decision. Raises InputError on what is none.

    Takes all shapes of agent-inbox and LangChain, the words approve and reject, true and false. Edited values that
    came as strings are brought back to the types that the item's arguments had, or that `schema` wants of them.
    """
    one = _only(value)
    if isinstance(one, bool):
        return Decision.approve() if one else Decision.reject("rejected")
    if isinstance(one, str):
        return _of_mapping({"type": one}, item, schema, words=("approve", "reject"))
    if isinstance(one, Mapping):
        return _of_mapping(one, item, schema)
    raise _unreadable(value)


def _only(value: Any) -> Any:
    """The one answer inside the lists and `{"decisions": [...]}` around it."""
    for _ in range(_DEEPEST):
        wrapped = isinstance(value, Mapping) and not value.keys() & {"type", "decision"}
        inner = value.get("decisions", value) if wrapped else value
        if not isinstance(inner, (list, tuple)):
            return inner
        if len(inner) != 1:
            break
        value = inner[0]
    raise _unreadable(value)


def _of_mapping(
    value: Mapping[str, Any], item: Item | None, schema: Mapping[str, Any] | None, words: Container[str] = _KINDS
) -> Decision:
    kind = _WORDS.get(str(value.get("type", value.get("decision", "")))[:20].strip().lower())
    if kind is None or kind not in words:
        raise _unreadable(value)
    if kind == "approve":
        return Decision.approve()
    if kind == "reject":
        return Decision.reject(_said(value))
    if kind == "respond":
        return Decision.respond(next((value[key] for key in _TEXTS if value.get(key) is not None), ""))
    return Decision.edit(_edited(value, item, schema))


def _said(value: Mapping[str, Any]) -> str:
    texts = [value[key] for key in (*_TEXTS, "comment") if isinstance(value.get(key), str)]
    return next((text for text in texts if text.strip()), "rejected")


def _edited(value: Mapping[str, Any], item: Item | None, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The edited arguments: `edited_action` of LangChain, or `args` of agent-inbox, which nests them once more."""
    action = item.action if item is not None else {}
    before = dict(action.get("args") or {})
    found = value.get("edited_action", value.get("args"))
    for _ in range(_DEEPEST):
        inner = found.get("args", found.get("arguments")) if isinstance(found, Mapping) else None
        if not isinstance(inner, Mapping) or not _wraps(found, before):
            break
        _check_name(found, str(action.get("tool", "")))
        found = inner
    if not isinstance(found, Mapping):
        raise _unreadable(value)
    properties = (schema or {}).get("properties", {})
    return {name: _typed(new, before.get(name), properties.get(name), schema) for name, new in found.items()}


def _wraps(found: Any, before: Mapping[str, Any]) -> bool:
    """Whether this is an action around its arguments, or arguments one of which is itself called `args`."""
    return bool(found.keys() & {"action", "name"}) or not before.keys() & {"args", "arguments"}


def _check_name(found: Any, tool: str) -> None:
    """An edit changes the arguments of what was asked; it never becomes a call of another tool."""
    name = found.get("action", found.get("name", tool))
    if tool and name not in (tool, tool.replace(".", "__")):
        raise errors.InputError(f"the edit is of {str(name)[:80]!r}, and asked was {tool}", "edit the arguments only")


def _typed(new: Any, before: Any, wanted: Any, schema: Mapping[str, Any] | None) -> Any:
    if not isinstance(new, str) or isinstance(before, str):
        return new
    if before is None and (wanted is None or _fits_as_text(new, wanted, schema or {})):
        return new
    try:
        return json.loads(new) if new.strip() or before is not None else None
    except (ValueError, RecursionError):
        return new


def _fits_as_text(new: str, wanted: Any, schema: Mapping[str, Any]) -> bool:
    try:
        return jsonschema_rs.is_valid({"$defs": schema.get("$defs", {}), "allOf": [wanted]}, new)
    except ValueError:  # a reference to elsewhere in the schema: the gateway checks the argument in any case
        return True


def fits(value: Any, item: Item) -> bool:
    """Whether a raw answer may be the one that became the item's decision."""
    if item.decision is None:
        return True
    try:
        return parse_answer(value, item).kind == item.decision.kind
    except errors.InputError:
        return False


def _unreadable(value: Any) -> errors.InputError:
    shown = repr(value)[:80] if isinstance(value, (str, int, float)) else type(value).__name__
    return errors.InputError(f"{shown} is no decision", 'answer {"type": "approve"}, reject, edit or respond')
