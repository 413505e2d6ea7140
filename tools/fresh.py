"""What a drive knows of itself before the database does: the keys it has seen, what it has read and been given."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from interlock.storage.claim import Claim
from interlock.tools.attempt import Attempt, refused
from interlock.tools.effects import Outcome
from interlock.tools.facts import Found
from interlock.tools.records import claim_at
from interlock.tools.site import CallSite
from interlock.tools.sources import Call, Recent

__all__ = ["Fresh"]


class Fresh:
    """One per gateway. What is kept of a drive goes with its claim."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Claim, set[str]] = WeakKeyDictionary()
        self._read: WeakKeyDictionary[Claim, dict[str, tuple[Attempt, Outcome, str]]] = WeakKeyDictionary()
        self._found: WeakKeyDictionary[Claim, list[Found]] = WeakKeyDictionary()

    def never_seen(self, attempt: Attempt) -> bool:
        """Whether nothing can be recorded yet: the case is driven for the first time, and the call is its first."""
        claim = claim_at(attempt.site)
        if claim is None or claim.epoch != 1 or not attempt.site.ns or attempt.approval is not None:
            return False
        seen = self._seen.setdefault(claim, set())
        new = attempt.effect_key not in seen
        seen.add(attempt.effect_key)
        return new

    def keep(self, claim: Claim, attempt: Attempt, outcome: Outcome, at: str) -> None:
        """Remember a read until its task is committed."""
        self._read.setdefault(claim, {})[attempt.effect_key] = (attempt, outcome, at)

    def found(self, claim: Claim, facts: Iterable[Found]) -> None:
        """Remember facts until the task that got them is committed."""
        self._found.setdefault(claim, []).extend(facts)

    def repeated(self, attempt: Attempt) -> Outcome | None:
        """What this drive has read under the same key. Raises Refused when it was asked for something else."""
        claim = claim_at(attempt.site)
        known = self._read.get(claim, {}).get(attempt.effect_key) if claim is not None else None
        if known is None:
            return None
        if known[0].asked != attempt.asked:
            raise refused("divergence", f"{attempt.name} was called before with other arguments: a person has to look")
        return known[1]

    def recent(self, site: CallSite) -> Recent:
        """Reads and facts of the drive; made only when asked for: a task may have read a thousand times."""
        claim = claim_at(site)
        if claim is None:
            return Recent()
        read = self._read.get(claim, {}).values()
        done = ((known, outcome.value, at) for known, outcome, at in read if outcome.status == "done")
        calls = [Call(known.name, known.args, value, at, at) for known, value, at in done]
        return Recent(calls, list(self._found.get(claim, ())))
