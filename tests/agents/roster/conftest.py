"""`call` as specialists see it: answers from a table of tools, and a record of what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from interlock.agents.runtime import Call
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.reference import SAMPLE, read_reference

Answer = Any


@dataclass
class Asked:
    """A call that answers by tool: a value, an error to raise, or a function of the arguments."""

    answers: Mapping[str, Answer]
    guides: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def __call__(self, tool: str, args: dict[str, Any], *, key: str | None = None) -> Any:
        self.asked.append((tool, args))
        answer = self.answers[tool]
        if isinstance(answer, Exception):
            raise answer
        return answer(**args) if callable(answer) else answer

    async def context(self, text: str, k: int = 5, where: Mapping[str, Any] | None = None) -> list[Any]:
        self.asked.append(("context", {"text": text, "where": where}))
        return self.guides[:k]

    @property
    def tools(self) -> list[str]:
        return [tool for tool, _ in self.asked]

    def as_call(self) -> Call:
        return cast("Call", self)


MakeCall = Callable[..., Asked]


@pytest.fixture
def calling() -> MakeCall:
    def make(guides: list[Any] | None = None, **answers: Answer) -> Asked:
        return Asked({f"cmms.{name}": answer for name, answer in answers.items()}, guides or [])

    return make


@pytest.fixture(scope="session")
def store() -> CmmsStore:
    """The sample plant, for reading."""
    opened = CmmsStore()
    opened.load(read_reference(SAMPLE))
    return opened
