"""What is recorded of a request to the policies, and how another edition is asked the same again.

Recorded is what neither the row of the decision nor the registered action says: task, tenant, time, money and
approvals stand in the row. The arguments of a call that was let through stand in its intent or outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from interlock.ids import Reason
from interlock.oversight.actions import Request
from interlock.oversight.contexts import merged
from interlock.oversight.edition import Edition
from interlock.oversight.need import gate_need

__all__ = ["Answer", "Unreplayable", "action_of", "answer_of", "asked_again", "recorded"]

Row = Mapping[str, Any]


class Unreplayable(Exception):
    """A decision that cannot be asked again; the text says why, and is the same for all that share the reason."""


@dataclass(frozen=True)
class Answer:
    """What an edition says to a request: allowed, denied, or asked, then with the approvals it `need`s."""

    decision: str
    reasons: list[Reason]
    need: dict[str, int]
    version: str


def answer_of(
    edition: Edition, request: Request, need: Mapping[str, int] | None = None, gate: Mapping[str, int] | None = None
) -> Answer:
    """The answer of an edition. "asked otherwise" of one that asks for other approvals than `need` says.

    `gate` are the approvals that a gate of the flow asks for of its own.
    """
    verdict, wanted = edition.decide(request), dict[str, int]()
    if gate is not None:
        given = {name: count for name, count in request.context["approvals"].items() if count}
        wanted = gate_need(edition.need(request), gate, given)
    elif not verdict.allowed:
        wanted = edition.need(request) or {}
    if not wanted:
        return Answer("allowed" if verdict.allowed else "denied", verdict.reasons, {}, verdict.version)
    asked = "asked" if need is None or wanted == dict(need) else "asked otherwise"
    return Answer(asked, verdict.reasons, wanted, verdict.version)


def recorded(
    context: Mapping[str, Any],
    *,
    roles: Collection[str],
    totals: Mapping[str, Any],
    facts: Mapping[str, Any],
    earlier: Mapping[str, Any],
    ages: Mapping[str, int],
    args: Mapping[str, Any] | None,
    need: Mapping[str, int] | None = None,
    gate: Mapping[str, int] | None = None,
    action: str = "",
) -> dict[str, Any]:
    """A request as data for the ledger, without neutral values; `need` are the approvals that were asked for.

    `gate` are those that a gate of the flow asks for of its own, `action` is its name where that is not the row's tool.

    Facts and what was looked up of earlier calls are kept as they are: a zero that was found is no zero by default.
    """
    told = {
        "roles": sorted(roles), "context": _lean({**context, "totals": totals}), "facts": facts, "earlier": earlier,
        "ages": ages, "need": need, "gate": gate, "action": action,
    }  # fmt: skip
    return {**{name: value for name, value in told.items() if value}, **({} if args is None else {"args": args})}


def _lean(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without neutral values, at any depth of records."""
    inner = {name: _lean(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in inner.items() if value}


def asked_again(edition: Edition, row: Row, args: Mapping[str, Any]) -> Request:
    """The request of a `policy.decided` row, for an edition that may ask for other things than the one that decided.

    Raises Unreplayable when the edition reads what was not recorded.
    """
    data, told = row["data"], row["data"]["request"]
    action = action_of(row)
    facts, earlier = told.get("facts", {}), told.get("earlier", {})
    _check_known(edition, action, facts, {**earlier, "ages": told.get("ages", {})})
    money = data["money"] or {}
    partial = {
        "task": data["task"], "tenant": row["tenant"], "now": row["at"], "args": args, "approvals": data["approvals"],
        "amount": money.get("amount", 0), "currency": money.get("currency", ""), "ages": told.get("ages", {}),
        **told.get("context", {}), **facts,
    }  # fmt: skip
    context = edition.complete_context(action, merged(partial, earlier))
    system = edition.actions[action].spec.system
    return Request(action, str(data["actor"]), frozenset(told.get("roles", ())), system, context)


def action_of(row: Row) -> str:
    """What the policies were asked about: the tool, or the gate of a flow."""
    return str(row["data"]["request"].get("action") or row["data"]["tool"])


def _check_known(edition: Edition, action: str, facts: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    part = edition.slice(action)
    if part is None:
        raise Unreplayable(f"no tool or gate {action!r} is registered now")
    for name in sorted(set(part.reads) & part.action.spec.facts.keys() - facts.keys()):
        raise Unreplayable(f"the fact {name!r} of {action} was not recorded")
    for path in (*part.earlier, *part.aged):
        if not _has(earlier, path):
            raise Unreplayable(f"context.{path} of {action} was not looked up then")


def _has(values: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True
