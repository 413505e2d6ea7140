"""What is asked of the policies: actions, requests and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from interlock.ids import Reason

__all__ = ["APPROVE", "BUILTINS", "EFFECTS", "ActionSpec", "Effect", "Request", "Verdict", "groups"]

Effect = Literal["read", "write", "compensate", "approve", "gate", "builtin"]
EFFECTS: tuple[Effect, ...] = ("read", "write", "compensate", "approve", "gate", "builtin")
APPROVE = "approve:"


@dataclass(frozen=True)
class ActionSpec:
    """What a policy may name of one action.

    `args` is the JSON schema of the arguments; `facts` maps further context keys to bool, long, string or set.
    """

    name: str
    effect: Effect = "write"
    system: str = ""
    scope: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One question. `principal` is an actor id; `context` is complete (see `complete_context`).

    `limit` is the person's own limit in minor units, for `approve:` actions only; `acted` is what persons have done in
    the case and in related ones, where a policy on who may approve asks.
    """

    action: str
    principal: str
    roles: frozenset[str] = frozenset()
    system: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 0
    acted: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The answer. `reasons` name the deciding policies, or, for a default denial, every permit that did not hold."""

    allowed: bool
    reasons: list[Reason]
    version: str

    @property
    def policy_ids(self) -> list[str]:
        return [reason.policy for reason in self.reasons]


BUILTINS = (
    ActionSpec("case.start", "builtin", facts={"registered": "bool", "trusted": "bool"}),
    ActionSpec("task.perform", "builtin", facts={"skill": "string", "skills": "set"}),
    ActionSpec("context.read", "builtin", facts={"labels": "set", "held": "set"}),
)


def groups(spec: ActionSpec) -> list[str]:
    """The action groups that a call of this action belongs to."""
    named = [f"effect:{spec.effect}"]
    named += [f"system:{spec.system}"] if spec.system else []
    named += [f"scope:{spec.scope}"] if spec.scope else []
    return named
