"""An edit is a new action: its digest, and what the policies are asked about it before anybody decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interlock import errors
from interlock.oversight.actors import Actor
from interlock.oversight.inbox import Item
from interlock.oversight.policy import Policies, Request
from interlock.tools.attempt import Attempt, Refused, begin, rewrite
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite

__all__ = ["edited", "merged", "request_of"]


def merged(item: Item, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments after an edit: what it does not name stays as it was asked."""
    return {**(item.action.get("args") or {}), **args}


def edited(item: Item, args: Mapping[str, Any], tools: Tools) -> Attempt:
    """The item's call after an edit. Raises InputError when it does not fit, or the item is no call of a tool."""
    name = str(item.action.get("tool", ""))
    if name not in tools or item.request is None:
        raise errors.InputError(f"{name or item.id} cannot be edited", "approve, reject or respond")
    attempt = begin(name, merged(item, args), _site(item))
    attempt.spec = tools.get(name)
    attempt.actor = Actor(item.request.principal.partition(":")[2])
    try:
        rewrite(attempt, attempt.raw)
    except Refused as no:
        raise errors.InputError(str(no), "give valid values for arguments of the tool") from None
    return attempt


def request_of(item: Item, args: Mapping[str, Any], tools: Tools, policies: Policies) -> Request | None:
    """The item's request about the edited action; what was edited comes from a person. Raises InputError."""
    attempt, request = edited(item, args, tools), item.request
    assert request is not None, "checked before"
    before = item.action.get("args") or {}
    typed = [arg for arg, value in attempt.args.items() if value != before.get(arg)]
    origins = dict(request.context.get("origins", {}))
    origins |= {arg: ["person"] for arg in typed if arg in attempt.spec.targets}
    ages = {**request.context.get("ages", {}), **dict.fromkeys(typed, 0)}
    # `tainted` stays: whoever may answer for a tainted target may also put another one in its place.
    context, money = dict(request.context), attempt.money
    context |= {"args": attempt.args, "origins": origins, "ages": ages, "amount": money.amount if money else 0}
    context["currency"] = money.currency if money else ""
    return replace(request, context=policies.complete_context(request.action, context))


def _site(item: Item) -> CallSite:
    """As much of the call site as the digest covers."""
    assert item.request is not None, "checked before"
    return CallSite(
        tenant=item.tenant, case_id=item.case_id, workflow=item.workflow, version="", task=item.task, visit=1,
        actor=item.request.principal, requester=item.requester, preparers=frozenset(), owner="", allowed=None,
        ns=item.checkpoint_ns, attempt=1, snapshot=0, autonomy="", guest=False, trusted=True, deadline=None,
    )  # fmt: skip
