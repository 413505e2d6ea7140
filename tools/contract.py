"""The tool contract: what a tool declares, what it is given, and what a call of it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from interlock import errors
from interlock.clock import Clock
from interlock.ids import Reason
from interlock.money import Money

if TYPE_CHECKING:
    from interlock.oversight.holds import Hold
    from interlock.oversight.inbox import Item
    from interlock.tools.arguments import Arguments

__all__ = ["DidNotHappen", "Happened", "Status", "ToolContext", "ToolResult", "ToolSpec", "Unsure", "tool"]

Status = Literal["done", "denied", "asked", "failed", "unknown"]
Args = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
MARK = "__interlock_tool__"


@dataclass(frozen=True)
class ToolContext:
    """What a tool function gets as `ctx`, if it declares it.

    `effect_key` names this call for ever: the same on retry and after a crash. `key` is what the outside system
    should receive to recognise a repetition: the business key of the tool, else the effect key. `attempt` counts
    from 1. `token` is the fencing token of the leased resource, if there is one. `compensates` is, for a compensation,
    the `key` that the call had which it undoes.
    """

    case_id: str
    effect_key: str
    attempt: int
    credential: str | None = field(repr=False)
    actor: str
    tenant: str
    clock: Clock
    key: str = ""
    task: str = ""
    token: int | None = None
    compensates: str | None = None


@dataclass(frozen=True)
class Happened:
    """A probe's answer: the effect took place, with this result."""

    result: Any = None


@dataclass(frozen=True)
class DidNotHappen:
    """A probe's answer: the effect did not take place, so it may be run."""


@dataclass(frozen=True)
class Unsure:
    """A probe's answer: it cannot tell; a person is asked."""


@dataclass(frozen=True)
class ToolSpec:
    """A registered tool. `call` runs it, `arguments` validates; both are made by the registry.

    `when_held` says what a case does whose call is for an object of another case; None takes the plane's setting.
    `timeout` is in seconds, None takes the plane's setting. `rate` is (calls, seconds). `targets` gives the kind of an
    argument whose values are traced, or a tuple of kinds for a text: what is found of them in it is traced.
    `output_kinds` gives the kinds of fields of the result, by JSON pointers: then it answers for these, as such, only.
    """

    name: str
    target: Any
    description: str = field(default="", compare=False)
    call: Callable[[Args, ToolContext], Awaitable[Any]] = field(kw_only=True, compare=False, repr=False)
    arguments: Arguments = field(kw_only=True, compare=False, repr=False)
    args_schema: Any = field(default=None, repr=False)
    system: str = ""
    scope: str = ""
    effect: Literal["read", "write", "compensate"] = "write"
    resource: str | Callable[[Any], str | None] | None = None
    when_held: Literal["wait", "refuse"] | None = None
    money: str | Callable[[Any], Money | None] | None = None
    targets: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    idempotent: bool | str | Callable[[Any], bool | str | None] = False
    reconcile: Callable[..., Any] | None = None
    compensate: Callable[..., Any] | None = None
    timeout: float | None = None
    rate: tuple[int, float] | None = None
    untrusted_output: bool | tuple[str, ...] = False
    output_kinds: Mapping[str, str] = field(default_factory=dict)
    registers: str | None = None
    sandbox: bool = False

    @property
    def shown(self) -> str:
        """The name that a model sees: function names have no dots there."""
        return self.name.replace(".", "__")

    @property
    def writes(self) -> bool:
        return self.effect != "read"


@dataclass(frozen=True)
class ToolResult:
    """How a call ended. `approval` is the inbox item that waits (asked) or says what happened (unknown).

    `call_id` is the effect key. `items` are the questions put to people for this call, oldest first. `hold`: a call in
    a case that was denied for now only; its task waits.
    """

    status: Status
    value: Any = None
    reasons: list[Reason] = field(default_factory=list)
    approval: str | None = None
    error: str | None = None
    policy_version: str = ""
    call_id: str = ""
    rejected_by: str = ""
    items: tuple[Item, ...] = field(default=(), repr=False, compare=False)
    hold: Hold | None = field(default=None, repr=False, compare=False)

    def unwrap(self) -> Any:
        """The value of a call that is done.

        Raises Denied, Rejected, ApprovalNeeded (`.approval`), ToolFailed or UnknownOutcome (`.item`).
        """
        if self.status == "done":
            return self.value
        raise self._error()

    def _error(self) -> errors.InterlockError:
        why = "; ".join(reason.text for reason in self.reasons) or self.error or self.status
        if self.rejected_by:
            said = f"{self.rejected_by} said no: {why}"
            return errors.Rejected(said, "a no is final: ask for something else", by=self.rejected_by, why=why)
        if self.status == "denied":
            return errors.Denied(why, "see `interlock policy explain`", reasons=self.reasons)
        if self.status == "asked":
            return errors.ApprovalNeeded(why, "decide the item, then repeat the call", approval=self.approval or "")
        if self.status == "unknown":
            return errors.UnknownOutcome(why, "a person says in the inbox what happened", item=self.approval or "")
        return errors.ToolFailed(why, "correct the call, or the system behind the tool")


@overload
def tool(fn: F, /, **options: Any) -> F: ...
@overload
def tool(fn: None = None, /, **options: Any) -> Callable[[F], F]: ...
def tool(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Mark a function as a tool: takes the options of `plane.register_tool`, which it still has to be given to.

    The function itself is returned unchanged, so it stays callable in its own unit tests.
    """

    def mark(target: Callable[..., Any]) -> Callable[..., Any]:
        setattr(target, MARK, options)
        return target

    return mark if fn is None else mark(fn)
