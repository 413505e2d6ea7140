"""The right to drive one case, and the rows that wait to be committed with its tasks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from interlock.errors import InterlockError, StorageError
from interlock.storage.transaction import Transaction

__all__ = ["CLAIM", "TENANT", "Apply", "Claim"]

Apply = Callable[[Transaction], Any]


@dataclass(eq=False)
class Claim:
    """One drive of one case. `poison` is set when a unit under it failed; later units are then refused.

    The engine sets it in `CLAIM` before it invokes the graph. One claim serves one drive: call `rewind`
    before the same claim drives the graph again, so that restarted tasks count their rows from zero.
    """

    tenant: str
    case_id: str
    epoch: int
    guest: bool = False
    poison: InterlockError | None = None
    _waiting: list[tuple[frozenset[str], Apply]] = field(default_factory=list, repr=False)
    _turns: Counter[tuple[str, int, str]] = field(default_factory=Counter, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def fail(self, error: Exception) -> None:
        """Poison this claim; the first failure under it stays."""
        with self._lock:
            if self.poison is None:
                self.poison = error if isinstance(error, InterlockError) else _other(error)

    def later(self, ns: str, apply: Apply) -> None:
        """Commit `apply` with the task of namespace `ns` ("a:TASKID|b:TASKID2"), in call order."""
        with self._lock:
            self._waiting.append((_task_ids(ns), apply))

    def take(self, task_id: str) -> list[Apply]:
        """Remove and return the rows of a task and of the namespaces below it, in call order."""
        with self._lock:
            if not self._waiting:
                return []
            taken = [apply for ids, apply in self._waiting if task_id in ids]
            self._waiting = [entry for entry in self._waiting if task_id not in entry[0]]
            return taken

    def take_all(self) -> list[Apply]:
        """Remove and return whatever still waits: the engine commits it when a run ends."""
        with self._lock:
            taken = [apply for _, apply in self._waiting]
            self._waiting = []
            return taken

    def turn(self, ns: str, attempt: int, kind: str) -> int:
        """0, 1, 2 ... : the how-manieth row of this kind in this attempt of this task."""
        with self._lock:
            count = self._turns[ns, attempt, kind]
            self._turns[ns, attempt, kind] = count + 1
            return count

    def rewind(self) -> None:
        """Count turns from zero again: the next drive restarts tasks from their first line."""
        with self._lock:
            self._turns.clear()


def _other(error: Exception) -> StorageError:
    return StorageError(f"{type(error).__name__}: {error}", "see the error of that write")


def _task_ids(ns: str) -> frozenset[str]:
    return frozenset(part.rpartition(":")[2] for part in ns.split("|") if ":" in part)


CLAIM: ContextVar[Claim | None] = ContextVar("interlock_claim", default=None)
TENANT: ContextVar[str] = ContextVar("interlock_tenant", default="default")
