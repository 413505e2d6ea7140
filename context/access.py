"""Who may see what: the access labels of documents against those of an actor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

__all__ = ["Asker", "Grants", "Pass"]


class Asker(Protocol):
    """What this layer needs of an actor."""

    @property
    def id(self) -> str: ...

    @property
    def all_roles(self) -> frozenset[str]: ...


Grants = Callable[[Asker, frozenset[str]], Iterable[str]]
"""Asked with an actor and the labels it does not hold; gives those that policy grants it."""


class Pass:
    """The labels one actor holds: `actor:<id>`, `role:<role>`, and what policy grants. None holds none."""

    def __init__(self, actor: Asker | None, grants: Grants | None = None) -> None:
        self._actor, self._grants = actor, grants
        self._held = frozenset[str]() if actor is None else _own(actor)
        self._asked: dict[frozenset[str], bool] = {}

    def permits(self, labels: frozenset[str]) -> bool:
        """True for no labels, or when one of them is held."""
        if not labels or not labels.isdisjoint(self._held):
            return True
        if self._actor is None or self._grants is None:
            return False
        if labels not in self._asked:
            self._asked[labels] = not labels.isdisjoint(self._grants(self._actor, labels))
        return self._asked[labels]


def _own(actor: Asker) -> frozenset[str]:
    return frozenset({f"actor:{actor.id}", *(f"role:{role}" for role in actor.all_roles)})
