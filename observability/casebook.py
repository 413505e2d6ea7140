"""The ledger read once, case by case: what the metrics count, before any period is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from interlock.clock import parse
from interlock.storage.transaction import Reader

__all__ = ["Call", "CaseRecord", "Casebook", "Span", "read", "union"]

Span = tuple[float, float]
Money = tuple[str, int]
Data = Mapping[str, Any]

_READ = """
SELECT l.at AS at, l.type AS type, l.case_id AS case_id, l.actor AS actor, p.data AS data
FROM ledger l LEFT JOIN payloads p ON p.tenant = l.tenant AND p.hash = l.payload_hash
WHERE l.tenant = ? AND l.type IN ({types}) ORDER BY l.stream, l.seq
"""
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that was let through."""

    at: float
    tool: str
    system: str
    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something countable that happened in a case: a key, and by how much it grows."""

    at: float
    key: tuple[str, ...]
    amount: int = 1


@dataclass(slots=True)
class CaseRecord:
    """One case: when it began and ended, who worked in it and when, and what happened."""

    case_id: str
    workflow: str = ""
    started: float | None = None
    ended: float | None = None
    outcome: str = "open"
    sla_met: bool | None = None
    measures: dict[str, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    work: list[Span] = field(default_factory=list)
    items: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    by_person: bool = False
    rework: bool = False
    last_actor: str = ""
    visits: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, tuple[float, Money]] = field(default_factory=dict)
    answers: dict[str, tuple[float, Money, bool]] = field(default_factory=dict)
    decided: dict[str, tuple[float, str]] = field(default_factory=dict)
    effect_of: dict[str, str] = field(default_factory=dict)

    @property
    def cycle_s(self) -> float:
        """Start to end, in seconds."""
        return max((self.ended or 0.0) - (self.started or 0.0), 0.0)

    @property
    def work_s(self) -> float:
        """Seconds in which an agent, a tool or a person was at work; overlapping work counts once."""
        begin, end = self.started or 0.0, self.ended or 0.0
        return union([(max(a, begin), min(b, end)) for a, b in self.work])

    def waits_at(self, at: float) -> bool:
        """Whether an item of the case was open at a moment."""
        if self.ended is not None and self.ended < at:
            return False
        return any(opened < at and (closed is None or closed >= at) for opened, closed in self.items.values())

    def counted(self) -> list[Note]:
        """All notes, with the money and the approvals that could only be told at the end."""
        late = [Note(at, ("money", cur, "requested"), n) for at, (cur, n) in self.requests.values()]
        for at, (currency, amount), yes in self.answers.values():
            late.append(Note(at, ("money", currency, "approved" if yes else "rejected"), amount))
        late += [Note(at, ("approvals", kind)) for at, kind in self.decided.values()]
        return self.notes + late


@dataclass(slots=True)
class Casebook:
    """All cases of a tenant, the times in which circuit breakers were open, and the ends of the ledger."""

    cases: dict[str, CaseRecord] = field(default_factory=dict)
    breakers: dict[str, list[list[float | None]]] = field(default_factory=dict)
    first: float | None = None
    last: float | None = None

    def open_spans(self, system: str, now: float) -> list[Span]:
        """When the breaker of a system was open; a breaker that is still open, until now."""
        return [(a or 0.0, now if b is None else b) for a, b in self.breakers.get(system, [])]


def union(spans: list[Span]) -> float:
    """The length of the union of spans, in their unit."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(s for s in spans if s[1] > s[0]):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def read(reader: Reader, tenant: str) -> Casebook:
    """One pass over the ledger of a tenant; rows whose payload was erased still count where no content is needed."""
    book = Casebook()
    sql = _READ.format(types=", ".join("?" for _ in _HANDLERS))
    for row in reader.scan(sql, (tenant, *_HANDLERS)):
        at = parse(row["at"]).timestamp()
        book.first, book.last = at if book.first is None else book.first, at
        data = orjson.loads(row["data"]) if row["data"] else {}
        if row["type"] in ("system.opened", "system.closed"):
            _breaker(book, at, row["type"], data)
        elif row["case_id"]:
            record = book.cases.setdefault(row["case_id"], CaseRecord(row["case_id"]))
            _HANDLERS[row["type"]](record, at, row["actor"] or "", data)
    return book


def _breaker(book: Casebook, at: float, kind: str, data: Data) -> None:
    spans = book.breakers.setdefault(str(data.get("system", "")), [])
    if kind == "system.opened" and not (spans and spans[-1][1] is None):
        spans.append([at, None])
    elif kind == "system.closed" and spans and spans[-1][1] is None:
        spans[-1][1] = at


def _started(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    case.started, case.workflow = at, str(data.get("workflow", ""))


def _ended(outcome: str) -> Callable[[CaseRecord, float, str, Data], None]:
    def handle(case: CaseRecord, at: float, actor: str, data: Data) -> None:
        case.ended, case.outcome = at, outcome
        case.sla_met = data.get("sla_met")
        case.measures = {k: float(v) for k, v in (data.get("measures") or {}).items()}

    return handle


def _task_finished(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    who, status = str(data.get("actor") or actor), data.get("status")
    if who.startswith("person:"):
        case.by_person = True
    else:
        case.work.append((at - float(data.get("work_s") or 0.0), at))
    if status == "waiting":
        return
    if case.last_actor and who != case.last_actor:
        case.notes.append(Note(at, ("handovers",)))
    case.last_actor = who
    task = str(data.get("task", ""))
    again = case.visits.setdefault(task, data.get("visit")) != data.get("visit")
    case.rework |= again or status in ("failed", "rejected")


def _tool_outcome(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    status, took = str(data.get("status", "")), float(data.get("seconds") or 0.0)
    tool, system = str(data.get("tool", "")), str(data.get("system") or "")
    case.calls.append(Call(at, tool, system, status, took))
    case.work.append((at - took, at))
    case.rework |= status != "done"
    if status == "done" and (money := _money(data)):
        case.notes.append(Note(at, ("money", money[0], "executed"), money[1]))
    _charge(case, at, data.get("charge"), ("tool", tool), ("task", str(data.get("task") or "")))


def _model_called(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    agent = str(data.get("agent") or actor)
    _charge(case, at, data.get("cost"), ("agent", agent), ("task", str(data.get("task") or "")))


def _charge(case: CaseRecord, at: float, cost: Data | None, *by: tuple[str, str]) -> None:
    if not cost:
        return
    micros = int(cost.get("micros", int(cost.get("amount", 0)) * MICROS))
    for key in (("total", ""), *by):
        case.notes.append(Note(at, ("cost", *key, str(cost.get("currency", ""))), micros))


def _policy_decided(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    effect = str(data.get("effect_key") or data.get("digest") or "")
    if item := data.get("item"):
        case.effect_of[str(item)] = effect
    if money := _money(data):
        case.requests.setdefault(effect, (at, money))


def _opened(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    item, kind = str(data.get("item", "")), data.get("kind")
    case.items[item] = (at, None)
    case.by_person = True
    if kind == "exception":
        case.rework = True
        case.notes.append(Note(at, ("exceptions",)))
    elif kind == "approval":
        case.notes.append(Note(at, ("approvals", "requested")))
        if item not in case.effect_of and (money := _money(data)):
            case.requests.setdefault(str(data.get("digest") or item), (at, money))


def _decided(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    item, decision = str(data.get("item", "")), data.get("decision")
    _answered(case, at, actor, data)
    # An exception with an authority is an approval that nobody could give at first.
    if data.get("kind") != "approval" and not data.get("authority"):
        return
    case.rework |= decision in ("reject", "edit")
    word = {"approve": "approved", "edit": "edited", "reject": "rejected"}.get(str(decision))
    if word and case.decided.get(item, (at, ""))[1] != "rejected":
        case.decided[item] = (at, word)
    if word and (money := _money(data)):
        effect = case.effect_of.get(item) or str(data.get("digest") or item)
        if case.answers.get(effect, (at, money, True))[2]:
            case.answers[effect] = (at, money, word != "rejected")


def _answered(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    item = str(data.get("item", ""))
    case.items[item] = (case.items.get(item, (at, None))[0], at)
    if claimed := data.get("claimed_at"):
        case.work.append((parse(str(claimed)).timestamp(), at))


def _expired(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    _answered(case, at, actor, data)
    case.notes.append(Note(at, ("approvals", "expired")))


def _money(data: Data) -> Money | None:
    money = data.get("money")
    return (str(money["currency"]), int(money["amount"])) if money else None


def _nothing(case: CaseRecord, at: float, actor: str, data: Data) -> None:
    """Breakers belong to no case; they are read in `read`."""


_HANDLERS: dict[str, Callable[[CaseRecord, float, str, Data], None]] = {
    "case.started": _started,
    "case.completed": _ended("completed"),
    "case.failed": _ended("failed"),
    "case.cancelled": _ended("cancelled"),
    "task.finished": _task_finished,
    "tool.outcome": _tool_outcome,
    "model.called": _model_called,
    "policy.decided": _policy_decided,
    "inbox.opened": _opened,
    "inbox.decided": _decided,
    "inbox.completed": _answered,
    "inbox.expired": _expired,
    "system.opened": _nothing,
    "system.closed": _nothing,
}
