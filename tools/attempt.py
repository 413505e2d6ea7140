"""One tool call on its way through the gateway, and the checks that need nothing but the registrations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import orjson

from interlock import errors
from interlock.ids import Reason, digest, effect_key
from interlock.money import Money
from interlock.oversight.actors import Actor, Actors
from interlock.oversight.inbox import Item
from interlock.oversight.policy import Edition, Request
from interlock.storage.database import Row
from interlock.tools.arguments import Values, finite
from interlock.tools.compensation import SUFFIX, key_of, undoing
from interlock.tools.contract import ToolSpec
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite

__all__ = ["Attempt", "Held", "Refused", "admit", "begin", "begin_undoing", "refused", "resumed", "rewrite"]


class Refused(Exception):
    """The gateway says no; it becomes a denied result."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__("; ".join(reason.text for reason in reasons))
        self.reasons = list(reasons)


class Held(Refused):
    """The gateway says not now: a call in a case waits, for a switch or for an object."""

    def __init__(self, reason: Reason, kind: Literal["lease", "switch"], target: str) -> None:
        super().__init__(reason)
        self.kind: Literal["lease", "switch"] = kind
        self.target = target


@dataclass
class Attempt:
    """What is known of a call so far; each step of the gateway fills in its part.

    `asked` is the digest of the action that the task asked for, `digest` that of the one to be executed: they differ
    after an edit. `policies`: the edition that judges it, to the end. `earlier`: what that asks of earlier calls,
    `read` the tools that this drive has read without a row yet. `shadowed`: how a candidate of the policies differs.
    `number` counts executions from 1, `begun` says whether one has reached the tool, `untried` that none before this
    one has, `doubtful` whether one may have acted and nobody has found out. `patience`: until when it waits in place
    for a lease, on the loop's clock; `turn` is done when its case has been handed one.
    """

    name: str
    raw: Any
    site: CallSite
    key: str | None
    approval: str | None
    slot: int | str
    effect_key: str
    spec: ToolSpec = field(init=False)
    actor: Actor = field(init=False)
    args: dict[str, Any] = field(init=False)
    values: Values = field(init=False)
    policies: Edition = field(init=False)
    digest: str = ""
    asked: str = ""
    money: Money | None = None
    resource: str | None = None
    business_key: str | None = None
    idempotent: bool = False
    row: Row | None = None
    items: list[Item] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, set[str]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)
    counterparty: str = ""
    approvals: dict[str, int] = field(default_factory=dict)
    used: list[Item] = field(default_factory=list)
    request: Request | None = None
    version: str = ""
    reasons: list[Reason] = field(default_factory=list)
    token: int | None = None
    number: int = 1
    totals: dict[str, Any] = field(default_factory=dict)
    earlier: dict[str, Any] = field(default_factory=dict)
    read: frozenset[str] = frozenset()
    shadowed: dict[str, Any] | None = None
    patience: float | None = None
    turn: asyncio.Future[None] | None = None
    begun: bool = False
    untried: bool = True
    doubtful: bool = False
    undoes: Row | None = None

    def given(self) -> Values:
        """The arguments, for code that is not ours: a copy, so that nothing it changes is run or recorded."""
        return deepcopy(self.values)

    @property
    def outside_key(self) -> str:
        """What the outside system receives to recognise a repetition."""
        return self.business_key or self.effect_key

    @property
    def compensates(self) -> str | None:
        """The key of the effect that this call undoes."""
        return None if self.undoes is None else str(self.undoes["effect_key"])

    @property
    def undone_key(self) -> str | None:
        """What the outside system received with the call that this one undoes."""
        return None if self.undoes is None else str(self.undoes["business_key"] or self.undoes["effect_key"])

    @property
    def amount(self) -> dict[str, Any] | None:
        return {"amount": self.money.amount, "currency": self.money.currency} if self.money else None


def begin(
    name: Any, raw: Any, site: CallSite, *, key: str | None = None, approval: str | None = None, slot: int | str = 0
) -> Attempt:
    """An attempt with its effect key; nothing of it is checked yet."""
    named = _plain(name if isinstance(name, str) else repr(name))[:200]
    approval = None if approval is None else _plain(str(approval))
    return Attempt(named, raw, site, key, approval, slot, effect_key(site.case_id, site.ns, named, slot))


def begin_undoing(done: Row, site: CallSite, turn: int) -> Attempt:
    """An attempt to undo an effect that is done, with its own arguments."""
    key = key_of(done["effect_key"], turn)
    return Attempt(done["tool"] + SUFFIX, orjson.loads(done["args"]), site, None, None, turn, key, undoes=done)


def resumed(row: Row, site: CallSite) -> Attempt:
    """The attempt that left an effect without outcome, for a case that does not go on."""
    return Attempt(row["tool"], orjson.loads(row["args"]), site, None, None, row["slot"], row["effect_key"], row=row)


def _plain(text: str) -> str:
    """Text that can be written down: what is no Unicode becomes a question mark, which is in no name."""
    return text.encode("utf-8", "replace").decode()


def admit(attempt: Attempt, tools: Tools, actors: Actors) -> None:
    """Tool, actor, task's tools, scope, arguments, money, digest: in this order. Raises Refused."""
    attempt.spec = _spec(attempt, tools)
    if attempt.site.actor not in actors:
        raise refused("actor", f"no actor {attempt.site.actor!r} is registered")
    attempt.actor = actors.get(attempt.site.actor)
    _check_scope(attempt)
    rewrite(attempt, attempt.raw)
    attempt.asked = attempt.digest


def _spec(attempt: Attempt, tools: Tools) -> ToolSpec:
    name = attempt.name if attempt.undoes is None else attempt.undoes["tool"]
    if name not in tools:
        raise refused("tool", f"no tool {name!r} is registered")
    return tools.get(name) if attempt.undoes is None else undoing(tools.get(name), attempt.undoes)


def rewrite(attempt: Attempt, raw: Any) -> None:
    """Give the attempt these arguments, checked, with everything that follows from them. Raises Refused."""
    spec = attempt.spec
    if not finite(raw):
        raise refused("money" if spec.money is not None else "schema", "NaN and infinity are no arguments")
    _check_plain_money(spec, raw)
    try:
        attempt.args, attempt.values = spec.arguments.check(raw)
    except errors.InputError as exc:
        raise refused("schema", f"{spec.name}: {exc.message}") from None
    site = attempt.site
    attempt.digest = digest([spec.name, attempt.args, site.actor, site.tenant, site.case_id, site.task])
    attempt.money = _money(spec, attempt.values)
    attempt.resource = _text("resource", spec.resource, attempt.values)
    attempt.idempotent, attempt.business_key = _idempotent(spec, attempt.values)


def _check_scope(attempt: Attempt) -> None:
    spec, site = attempt.spec, attempt.site
    if site.allowed is not None and spec.name not in site.allowed:
        raise refused("scope", f"{spec.name} is not among the tools of task {site.task!r}")
    if spec.scope and spec.scope not in attempt.actor.scopes:
        raise refused("scope", f"{site.actor} lacks the scope {spec.scope!r}")


def _check_plain_money(spec: ToolSpec, raw: Any) -> None:
    """A money field by name: no bool, no float, whatever the schema would let through."""
    value = raw.get(spec.money) if isinstance(spec.money, str) and isinstance(raw, Mapping) else None
    if isinstance(value, (bool, float)):
        raise refused("money", f"{spec.money} is {value!r}, which is no exact amount")


def _money(spec: ToolSpec, values: Values) -> Money | None:
    try:
        found = _by_name(spec.money, values) if isinstance(spec.money, str) else spec.money and spec.money(values)
    except Exception as exc:
        raise refused("money", f"{spec.name}: {_said(exc)}") from None
    if found is not None and not isinstance(found, Money):
        raise refused("money", f"{spec.name}: money= gave {type(found).__name__}, not Money")
    return found


def _by_name(name: str, values: Values) -> Money | None:
    """A field that holds Money, {"amount", "currency"}, or an amount beside a `currency` argument.

    An integer counts minor units; text and Decimal count major ones.
    """
    value: Any = values.get(name)
    currency: Any = values.get("currency")
    if value is None or isinstance(value, Money):
        return value
    if isinstance(value, Mapping):
        value, currency = value.get("amount"), value.get("currency")
    if isinstance(value, int) and isinstance(currency, str):
        return Money(value, currency)
    if isinstance(value, (str, Decimal)) and isinstance(currency, str):
        return Money.of(value, currency)
    raise errors.InputError(f"{name} is no amount with a currency", "give an integer and a currency, or use a callable")


def _idempotent(spec: ToolSpec, values: Values) -> tuple[bool, str | None]:
    """Whether the outside system recognises a repetition, and the business key by which it does."""
    if isinstance(spec.idempotent, bool):
        return spec.idempotent, None
    if callable(spec.idempotent):
        answer = _derived("idempotent", spec.idempotent, values)
        return bool(answer), answer if isinstance(answer, str) else None
    key = _text("idempotent", spec.idempotent, values)
    return key is not None, key


def _text(option: str, source: Any, values: Values) -> str | None:
    value = values.get(source) if isinstance(source, str) else _derived(option, source, values) if source else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        raise refused("schema", f"{option}= gave {type(value).__name__}, no text")
    return None if value is None else str(value)


def _derived(option: str, source: Any, values: Values) -> Any:
    try:
        return source(values)
    except Exception as exc:
        raise refused("schema", f"{option}= does not take these arguments: {_said(exc)}") from None


def _said(exc: Exception) -> str:
    return exc.message if isinstance(exc, errors.InterlockError) else f"{type(exc).__name__}: {exc}"


def refused(check: str, text: str) -> Refused:
    """A no of the gateway itself, under the id `gateway.<check>`."""
    return Refused(Reason(f"gateway.{check}", text))
