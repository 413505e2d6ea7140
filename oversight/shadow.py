"""A candidate set beside the one that decides: where it would have decided otherwise, as events and as a report."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from interlock.ids import Reason, digest
from interlock.oversight.actions import Request
from interlock.oversight.changes import EXAMPLES, Call, Change, Example, Shift, shifts
from interlock.oversight.edition import Edition
from interlock.oversight.replay import Answer, Row, answer_of

__all__ = ["SHADOWED", "Differences", "Tally", "difference", "step_of", "unharmed"]

_log = logging.getLogger(__name__)
# The events in which differences stand, beside writes that were only imagined.
SHADOWED = ("policy.shadowed",)


def difference(
    candidate: Edition, request: Request, live: Answer, gate: Mapping[str, int] | None = None
) -> dict[str, Any] | None:
    """What `policy.shadowed` says of a request beside its subject; None when candidate and live set decide alike.

    `gate` as in `answer_of`.
    """
    context = candidate.complete_context(request.action, request.context)
    need = live.need if live.decision == "asked" else None
    imagined = answer_of(candidate, replace(request, context=context), need, gate)
    return None if live.decision == imagined.decision else {**_told(imagined), "live": _told(live)}


@contextmanager
def unharmed(what: str) -> Iterator[None]:
    """Whatever a candidate does in here, what is decided goes its way."""
    try:
        yield
    except Exception:  # logged, and the live decision stands
        _log.exception("the shadow policies could not be asked about %s", what)


def _told(answer: Answer) -> dict[str, Any]:
    reasons = [list(reason) for reason in answer.reasons]
    return {
        "decision": answer.decision, "reasons": reasons, "need": answer.need, "policy_version": answer.version,
    }  # fmt: skip


def step_of(told: Mapping[str, Any], *more: Any) -> str:
    """What tells one difference of a call from its next ones, however often it is found."""
    live = told["live"]
    return f"shadowed:{digest([told['decision'], told['policy_version'], live['decision'], *more])[:16]}"


@dataclass(frozen=True)
class Differences:
    """Calls and gates that were decided otherwise than the shadow would have, each once, as its first difference.

    `versions` counts them by version of the shadow, `shifts` adds them up by workflow, tool and rule. A call counts for
    every rule that one of its two decisions names.
    """

    versions: dict[str, int]
    cases: int
    changed: int
    outcomes: list[Shift]
    shifts: list[Shift]
    examples: list[Example]


@dataclass
class Tally:
    """Takes rows in the order of the ledger; `report` may be read at any time."""

    workflow: str | None = None
    _calls: dict[tuple[str, str], Call] = field(default_factory=dict)
    _cases: set[tuple[str, str]] = field(default_factory=set)
    _versions: Counter[str] = field(default_factory=Counter)
    _examples: dict[Change, list[Example]] = field(default_factory=lambda: defaultdict(list))

    def take(self, row: Row) -> None:
        """One row; what is no difference, or was erased, is passed over."""
        data = row["data"] or {}
        if not data.get("live") or self.workflow not in (None, data["workflow"]):
            return
        key = (row["tenant"], str(data["effect_key"]))
        if key in self._calls:
            return
        call = self._calls[key] = _call(data)
        self._cases.add((row["tenant"], str(row["case_id"])))
        self._versions[data["policy_version"]] += 1
        if len(self._examples[call.change]) < EXAMPLES:
            self._examples[call.change].append(_example(row))

    def report(self) -> Differences:
        return Differences(
            versions=dict(self._versions),
            cases=len(self._cases),
            changed=len(self._calls),
            outcomes=shifts((call, [("", "")]) for call in self._calls.values()),
            shifts=shifts((call, call.names()) for call in self._calls.values()),
            examples=[one for _, found in sorted(self._examples.items()) for one in found],
        )


def _call(data: Mapping[str, Any]) -> Call:
    change = (data["live"]["decision"], data["decision"])
    money = (data["money"]["currency"], data["money"]["amount"]) if data["money"] else None
    rules = {policy for policy, _ in [*data["live"]["reasons"], *data["reasons"]]}
    return Call(change, data["workflow"], data["tool"], money, frozenset(rules))


def _example(row: Row) -> Example:
    data = row["data"]
    return Example(
        case_id=str(row["case_id"]), effect_key=data["effect_key"], at=row["at"], workflow=data["workflow"],
        tool=data["tool"], actor=data["actor"], args=None, money=data["money"], before=data["live"]["decision"],
        after=data["decision"], reasons=_reasons(data["reasons"]), need=data["need"],
    )  # fmt: skip


def _reasons(found: Sequence[Sequence[str]]) -> list[Reason]:
    return [Reason(policy, text) for policy, text in found]
