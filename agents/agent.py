"""Agents: actors that are no people. Code, a compiled graph, a language model, or something outside."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from langchain_core.language_models import BaseChatModel
from langgraph.pregel import Pregel

from interlock import errors
from interlock.agents.governed import ungoverned
from interlock.agents.models import OutputMethod, reachable
from interlock.agents.retries import mend
from interlock.money import Money
from interlock.oversight.actors import Actor
from interlock.settings import Settings

__all__ = ["Agent", "Kind"]

Kind = Literal["code", "graph", "llm", "external"]


@dataclass(kw_only=True)
class Agent(Actor):
    """An agent. `run` is `async (state, call)` or any compiled LangGraph; `model` is a name or a chat model.

    `model="default"` takes the model of the settings. `cost` is what one task costs about, for the router.
    `internal` names tools of a graph that touch nothing but the graph's own state, such as hand-offs.
    Raises ConfigurationError when `run`, `model` or `output_method` is none, or a graph holds an ungoverned tool.
    """

    prefix: ClassVar[str] = "agent"

    run: Any = None
    model: str | BaseChatModel | None = None
    fallbacks: Sequence[str] = ()
    prompt: str = ""
    output_method: OutputMethod | None = None
    cost: Money | None = None
    internal: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run is not None and self.model is not None:
            raise errors.ConfigurationError(f"{self.id} has both run= and model=", "give one of them")
        if self.output_method not in (None, *get_args(OutputMethod)):
            methods = ", ".join(get_args(OutputMethod))
            raise errors.ConfigurationError(
                f"output_method of {self.id} is {self.output_method!r}", f"one of {methods}"
            )
        if not isinstance(self.model, (str, BaseChatModel, type(None))):
            raise errors.ConfigurationError(f"model= of {self.id} is {self.model!r}", "give a name or a chat model")
        if not isinstance(self.cost, (Money, type(None))):
            raise errors.ConfigurationError(f"cost of {self.id} is {self.cost!r}", 'give Money, as Money(5, "EUR")')
        if isinstance(self.run, Pregel):
            _check_graph(self.id, self.run, frozenset(self.internal))
        elif self.run is not None and not _is_async(self.run):
            raise errors.ConfigurationError(
                f"run= of {self.id} is neither an async function nor a compiled graph",
                "write `async def run(state, call)`, or call .compile() on the graph",
            )
        mend(self.run)

    @property
    def kind(self) -> Kind:
        if isinstance(self.run, Pregel):
            return "graph"
        if self.run is not None:
            return "code"
        return "external" if self.model is None else "llm"

    def available(self, settings: Settings) -> bool:
        """Whether the router may give it tasks: a model needs an endpoint or a key; an external agent gets none."""
        if isinstance(self.model, str):
            return reachable(self.model, settings)
        return self.kind != "external"


def _is_async(run: Any) -> bool:
    return callable(run) and (inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(run.__call__))


def _check_graph(agent: str, graph: Pregel[Any, Any, Any, Any], internal: frozenset[str]) -> None:
    if graph.checkpointer is not None:
        raise errors.ConfigurationError(
            f"the graph of {agent} brings a checkpointer of its own", "compile it without one: it runs inside the case"
        )
    if foreign := ungoverned(graph, internal):
        raise errors.ConfigurationError(
            f"the graph of {agent} has tools that are not governed: {', '.join(foreign)}",
            "register them and use plane.tools' governed objects; name pure hand-offs in internal=",
        )
