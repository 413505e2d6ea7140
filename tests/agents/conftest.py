"""A loopback model server, and `call` objects whose ledger is a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from interlock.agents.call import Call
from interlock.agents.models import Models
from interlock.settings import Settings
from interlock.tools.site import SITE, CallSite
from tests.loopback_openai import LoopbackOpenAI, serve

MakeCall = Callable[..., Call]
MakeModels = Callable[..., Models]


@dataclass
class Ticking:
    """A clock that moves a second whenever it is read."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    async def sleep_until(self, t: datetime) -> None:
        self.time = max(self.time, t)


@dataclass
class Events:
    """Stands in for the ledger: keeps what was deferred, as (type, data, ns)."""

    rows: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)

    def event(self, type: str, **about: Any) -> tuple[str, dict[str, Any]]:
        return type, about["data"]

    def defer(self, event: tuple[str, dict[str, Any]], ns: str, attempt: int = 1) -> None:
        self.rows.append((*event, ns))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for type_, data, _ in self.rows if type_ == kind]


@dataclass
class Fact:
    """A retrieved fact, as the context layer gives it."""

    id: str
    text: str
    title: str = "Pump manual"
    source: str = "manuals"
    version: str = "1"
    as_of: str = "2026-01-01"
    trust: str = "reviewed"


def make_site(ns: str = "t:1", task: str = "diagnose", actor: str = "agent:solver") -> CallSite:
    return CallSite(
        tenant="default",
        case_id="case-1",
        workflow="flow",
        version="1",
        task=task,
        visit=1,
        actor=actor,
        requester="person:ana",
        preparers=frozenset(),
        owner="",
        allowed=None,
        ns=ns,
        attempt=1,
        snapshot=7,
        autonomy="autonomous",
        guest=False,
        trusted=True,
        deadline=None,
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackOpenAI]:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as running:
        yield running


@pytest.fixture
async def make_models(server: LoopbackOpenAI) -> AsyncIterator[MakeModels]:
    """Models of the loopback server; keyword arguments are settings."""
    made: list[Models] = []

    def make(**settings: Any) -> Models:
        made.append(Models(Settings(**{"base_url": server.url, "model": "openai:small", **settings})))
        return made[-1]

    yield make
    for models in made:
        await models.close()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def make_call(make_models: MakeModels, events: Events) -> Iterator[MakeCall]:
    """A `call` whose tools are given by name, with settings of its own."""

    def make(
        tools: dict[str, Callable[..., Any]] | None = None, facts: list[Fact] | None = None, **settings: Any
    ) -> Call:
        objects = {name: _plain(name, fn) for name, fn in (tools or {}).items()}

        async def retrieve(text: str, k: int, where: Any) -> list[Fact]:
            return (facts or [])[:k]

        async def launch(workflow: str, value: Any, wait: bool) -> Any:
            return {"workflow": workflow, "input": value, "wait": wait}

        return Call(
            case_id="case-1",
            task="diagnose",
            actor="agent:solver",
            requester="person:ana",
            tenant="default",
            clock=Ticking(),
            models=make_models(**settings),
            governed=objects.__getitem__,
            retrieve=retrieve,
            launch=launch,
            ledger=events,  # type: ignore[arg-type]  # a list stands in for the ledger
        )

    token = SITE.set(make_site())
    yield make
    SITE.reset(token)


def _plain(name: str, fn: Callable[..., Any]) -> BaseTool:
    """A tool object under the name that a model sees."""
    return StructuredTool.from_function(coroutine=fn, name=name.replace(".", "__"), description=name)
