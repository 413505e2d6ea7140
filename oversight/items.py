"""What waits for people: inbox items, the decisions on them, and how both lie in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

import jsonschema_rs
import orjson

from interlock import errors
from interlock.ids import Reason, canonical, digest
from interlock.oversight.actions import Request
from interlock.oversight.escalation import Step
from interlock.storage.database import Row

__all__ = [
    "AGAIN",
    "COLUMNS",
    "STATUSES",
    "YES",
    "Decision",
    "Item",
    "Kind",
    "chain_json",
    "check_output",
    "from_row",
    "given_by",
    "to_row",
]

Kind = Literal["approval", "task", "exception"]
Answer = Literal["approve", "edit", "reject", "respond", "complete"]
_ANSWERS = get_args(Answer)
YES = frozenset({"approve", "edit"})
# The digest of a yes that approves nothing: the question is to be asked anew.
AGAIN = "again"
STATUSES = frozenset({"open", "decided", "completed", "expired", "cancelled"})

_JSON = ("action", "need", "eligible", "reasons", "evidence", "output_schema", "decision", "chain")
# Kept inside the action, and apart in `Item`; people are shown the last of them only.
_INNER = ("request", "excluded", "gate", "given")
COLUMNS = (
    "tenant", "id", "kind", "case_id", "workflow", "task", "checkpoint_ns", "effect_key", "action", "digest",
    "requester", "authority", "need", "eligible", "reasons", "evidence", "evidence_hash", "output_schema", "assignee",
    "stage", "due", "status", "claimed_by", "claimed_at", "decision", "decided_by", "decided_at", "comment",
    "policy_version", "opened_at", "used_at", "chain", "delegated_to",
)  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """A person's answer. `args` are the edited arguments, `value` the response or a task's output.

    `digest` is that of the action that was decided: the edited one after an edit; `acting_for` the person in whose
    place it was made, empty when it was made in their own right: both are set by the plane. Raises InputError on
    another kind, a rejection without a reason, and an edit without arguments.
    """

    kind: Answer
    why: str = ""
    args: Mapping[str, Any] | None = None
    value: Any = None
    digest: str = ""
    acting_for: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _ANSWERS:
            raise errors.InputError(f"{self.kind!r} is no answer", f"use one of {', '.join(_ANSWERS)}")
        if self.kind == "reject" and not (isinstance(self.why, str) and self.why.strip()):
            raise errors.InputError("a rejection needs a reason", 'write Decision.reject("why")')
        if self.kind == "edit" and not isinstance(self.args, Mapping):
            raise errors.InputError(f"{self.args!r} are no arguments", "write Decision.edit({...}) with all arguments")

    @classmethod
    def approve(cls) -> Decision:
        return cls("approve")

    @classmethod
    def reject(cls, why: str) -> Decision:
        """A no, which is final."""
        return cls("reject", why=why)

    @classmethod
    def edit(cls, args: Mapping[str, Any]) -> Decision:
        """Other arguments, the rest as asked: a new action, which is checked again."""
        return cls("edit", args=dict(args) if isinstance(args, Mapping) else args)

    @classmethod
    def respond(cls, value: Any) -> Decision:
        """An answer instead of the action: text, or what happened, or a task's output."""
        return cls("respond", value=value)

    def same(self, other: Decision) -> bool:
        """Whether both say the same, so that a repeated answer is no second one."""
        said = [canonical([d.kind, d.why, d.args, d.value]) for d in (self, other)]
        return said[0] == said[1]

    def as_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Item:
    """One question to people. Times are text (`clock.iso`); `need` maps authorities to counts.

    `action` has tool, args, money {amount, currency} or None, and digest. `authority` is whose approval this item
    asks for, `request` what the policies were asked, `excluded` who may not decide. An item with `gate` is a step
    of the flow. `eligible` holds person ids or `role:<role>`. `given` are the approvals that came before this one,
    as {item, authority, by, at}; `stage` counts the questions before it. At `due` the item passes on in its `chain`.
    """

    id: str
    tenant: str
    kind: Kind
    case_id: str
    workflow: str = ""
    task: str = ""
    checkpoint_ns: str = ""
    effect_key: str = ""
    action: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    requester: str = ""
    authority: str = ""
    need: Mapping[str, int] = field(default_factory=dict)
    eligible: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    evidence: Any = None
    evidence_hash: str = ""
    output_schema: Mapping[str, Any] | None = None
    assignee: str | None = None
    stage: int = 0
    due: str | None = None
    status: str = "open"
    claimed_by: str | None = None
    claimed_at: str | None = None
    decision: Decision | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    comment: str = ""
    policy_version: str = ""
    opened_at: str = ""
    used_at: str | None = None
    request: Request | None = field(default=None, repr=False)
    excluded: list[str] = field(default_factory=list, repr=False)
    gate: bool = False
    given: list[dict[str, Any]] = field(default_factory=list)
    chain: list[Step] = field(default_factory=list)
    delegated_to: str | None = None
    seq: int = 0

    @property
    def open(self) -> bool:
        return self.status == "open"

    @property
    def stuck(self) -> bool:
        """An approval that nobody could give when it was asked: an exception, until somebody may give it after all."""
        return self.kind == "exception" and bool(self.authority)

    @property
    def grants(self) -> bool:
        """Whether a yes of somebody with the authority approves an action."""
        return self.kind == "approval" or self.stuck

    @property
    def money(self) -> Any:
        """`{amount, currency}` of the action, or None."""
        return self.action.get("money")

    @property
    def last_due(self) -> str | None:
        """When the last in the chain must have answered."""
        return self.chain[-1].due if self.chain else self.due

    @property
    def deciders(self) -> set[str]:
        """Who answered, and in whose place: neither has another say in the same action."""
        for_whom = self.decision.acting_for if self.decision else ""
        return {one for one in (self.decided_by, for_whom) if one}

    @property
    def handed_to(self) -> list[str]:
        """Who is asked beside those of the beginning: those the item was passed or delegated to."""
        delegate = [self.delegated_to] if self.delegated_to else []
        return [*(step.to for step in self.chain if step.at is not None), *delegate]

    @property
    def missing(self) -> dict[str, int]:
        """The approvals that the action still lacks, by authority; this one is among them until it is decided."""
        given = Counter(one["authority"] for one in self.given)
        given[self.authority] += self.decision is not None and self.decision.kind in YES
        left = {name: count - given[name] for name, count in self.need.items()}
        return {name: count for name, count in left.items() if count > 0}

    @property
    def decided_digest(self) -> str:
        """The digest of what was decided: after an edit another one than what was asked, AGAIN where nothing was."""
        return self.decision.digest if self.decision and self.decision.digest else self.digest

    def as_json(self) -> dict[str, Any]:
        """What people and interfaces are shown: everything but the plane's own part."""
        hidden = {*_INNER, "seq"} - {"given"}
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        shown["chain"] = [asdict(step) for step in self.chain]
        shown["missing"] = self.missing
        shown["decision"] = self.decision.as_json() if self.decision else None
        shown["reasons"] = [list(reason) for reason in self.reasons]
        return shown


def given_by(items: Iterable[Item]) -> list[dict[str, Any]]:
    """The approvals that were given before, as the next question shows them."""
    return [{"item": i.id, "authority": i.authority, "by": i.decided_by, "at": i.decided_at} for i in items]


def check_output(item: Item, output: Any) -> None:
    """Raises InputError on an output that is no JSON, or not what the item's schema asks for."""
    value = orjson.loads(canonical(output))
    if item.output_schema is None:
        return
    try:
        jsonschema_rs.validator_for(dict(item.output_schema)).validate(value)
    except jsonschema_rs.ValidationError as exc:
        where = "/".join(str(part) for part in exc.instance_path) or "the output"
        raise errors.InputError(f"{where}: {exc.message}", "hand in what the task's output schema asks for") from exc


def to_row(item: Item) -> tuple[Any, ...]:
    """The values of `COLUMNS` for an item."""
    whole = replace(item, evidence_hash=item.evidence_hash or digest(item.evidence))
    return tuple(_stored(name, getattr(whole, name), whole) for name in COLUMNS)


def _stored(name: str, value: Any, item: Item) -> Any:
    if name == "action":
        inner = {name: getattr(item, name) for name in _INNER}
        return canonical({**item.action, **inner, "request": _request_json(item.request)})
    if name == "decision":
        return canonical(value.as_json()) if value else None
    if name == "reasons":
        return canonical([list(reason) for reason in value])
    if name == "chain":
        return chain_json(item)
    return canonical(value) if name in _JSON else value


def chain_json(item: Item) -> bytes | None:
    return canonical([asdict(step) for step in item.chain]) if item.chain else None


def from_row(row: Row) -> Item:
    """The item of a row of `inbox`."""
    values = {name: row[name] for name in COLUMNS}
    for name in _JSON:
        values[name] = orjson.loads(values[name]) if values[name] is not None else None
    action = values["action"] or {}
    inner = {name: action.pop(name) for name in _INNER if name in action}
    values["reasons"] = [Reason(*reason) for reason in values["reasons"] or ()]
    values["decision"] = Decision(**values["decision"]) if values["decision"] else None
    values["chain"] = [Step(**step) for step in values["chain"] or ()]
    inner["request"] = _request(inner.get("request"))
    return Item(**{**values, **inner, "action": action, "seq": row["seq"]})


def _request_json(request: Request | None) -> dict[str, Any] | None:
    if request is None:
        return None
    return {**{f.name: getattr(request, f.name) for f in fields(request)}, "roles": sorted(request.roles)}


def _request(data: Any) -> Request | None:
    return Request(**{**data, "roles": frozenset(data["roles"])}) if data else None
