"""What holds an agent: budgets, counted where models are called, and the confidence a task asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, LLMResult

from interlock import errors
from interlock.clock import Clock
from interlock.money import Money
from interlock.observability.cost import charge, price
from interlock.settings import Price

__all__ = ["Budget", "Meter", "check_confidence", "readable"]

Note = Callable[[dict[str, Any], str | None], None]


@dataclass(frozen=True)
class Budget:
    """Bounds of one performance of a task; None is no bound. `steps` counts model calls."""

    tokens: int | None = None
    money: Money | None = None
    steps: int | None = 25
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "steps", "seconds"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise errors.InputError(f"the budget allows {bound} {name}", "give more than 0, or None for no bound")


@dataclass
class _Spent:
    """One model call; `tokens` are input and output, zero while it runs."""

    model: str
    ns: str | None
    started: datetime
    tokens: tuple[int, int] = (0, 0)


class Meter(BaseCallbackHandler):
    """Counts every model call below the config it is given to, and stops the one that would exceed the budget.

    Synchronous and inline: LangChain drops the errors of asynchronous handlers in synchronous calls.
    """

    raise_error = True
    run_inline = True

    def __init__(self, budget: Budget, prices: Mapping[str, Price], clock: Clock, note: Note) -> None:
        self.budget = budget
        self.messages: list[BaseMessage] = []
        self._prices, self._clock, self._note = prices, clock, note
        self._calls: dict[UUID, _Spent] = {}
        self._own: set[str] = set()
        self._before: dict[str, tuple[int, int, int]] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Refuse the call when nothing is left for it. Raises BudgetExceeded."""
        about = metadata or {}
        model = f"{about.get('ls_provider', 'unknown')}:{about.get('ls_model_name', 'unknown')}"
        self._recall(model, messages[0])
        self.check(1)
        self._calls[run_id] = _Spent(model, about.get("langgraph_checkpoint_ns"), self._clock.now())

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Count and record the call. Raises BudgetExceeded when it took more than was left."""
        spent = self._calls.get(run_id)
        generation = response.generations[0][0]
        if spent is None or not isinstance(generation, ChatGeneration):
            return
        spent.tokens = _usage(generation.message, self.messages)
        self.messages.append(generation.message)
        self._own.add(generation.message.id or "")
        self._record(spent, "done")
        self.check(0)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        spent = self._calls.get(run_id)
        if spent is not None:
            self._record(spent, "failed")

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        if isinstance(output, ToolMessage):
            self.messages.append(output)

    def check(self, more: int = 0) -> None:
        """Raise BudgetExceeded when the budget has no room for `more` calls, or is overspent."""
        budget, (tokens, steps) = self.budget, self.used()
        if budget.steps is not None and steps + more > budget.steps:
            raise _exceeded(f"{budget.steps} model calls")
        if budget.tokens is not None and tokens + more > budget.tokens:
            raise _exceeded(f"{budget.tokens} tokens")
        if budget.money is not None and self._cost(budget.money) + more > budget.money.amount:
            raise _exceeded(str(budget.money))

    def used(self) -> tuple[int, int]:
        """Tokens and model calls so far, those before an interrupt or a crash included."""
        counts = self._totals().values()
        return sum(i + o for i, o, _ in counts), sum(n for _, _, n in counts)

    def _totals(self) -> dict[str, tuple[int, int, int]]:
        totals = dict(self._before)
        for spent in list(self._calls.values()):
            i, o, n = totals.get(spent.model, (0, 0, 0))
            totals[spent.model] = (i + spent.tokens[0], o + spent.tokens[1], n + 1)
        return totals

    def _cost(self, bound: Money) -> int:
        total = 0
        for model, (i, o, _) in self._totals().items():
            cost = price(self._prices, model, i, o)
            if cost is None or cost.currency != bound.currency:
                raise errors.BudgetExceeded(
                    f"no price in {bound.currency} for {model}, so its budget of {bound} cannot be kept",
                    "add the model to `prices` in the settings",
                )
            total += cost.amount
        return total

    def _recall(self, model: str, messages: Sequence[BaseMessage]) -> None:
        """Read from the conversation what was spent in it before this process took it over."""
        self.messages = list(messages)
        old = [m for m in messages if isinstance(m, AIMessage) and m.usage_metadata and m.id not in self._own]
        spent = [_usage(message, ()) for message in old]
        before = (sum(i for i, _ in spent), sum(o for _, o in spent), len(old))
        self._before[model] = max(before, self._before.get(model, (0, 0, 0)))

    def _record(self, spent: _Spent, status: str) -> None:
        given, written = spent.tokens
        data = {
            "model": spent.model,
            "input_tokens": given,
            "output_tokens": written,
            "cost": charge(self._prices, spent.model, given, written),
            "seconds": (self._clock.now() - spent.started).total_seconds(),
            "status": status,
        }
        self._note(data, spent.ns)


def _exceeded(what: str) -> errors.BudgetExceeded:
    return errors.BudgetExceeded(f"the budget of {what} is used up", "raise the task's budget, or do it by hand")


def _usage(message: BaseMessage, before: Sequence[BaseMessage]) -> tuple[int, int]:
    """Tokens as reported; endpoints that report none are estimated, so that a budget still holds."""
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    if usage is not None:
        return usage["input_tokens"], usage["output_tokens"]
    return count_tokens_approximately(before), count_tokens_approximately([message])


def check_confidence(confidence: float | None, least: float | None, found: Any = None) -> None:
    """Raise AgentFailed when a result is less sure than its task asks for, or does not say how sure it is."""
    if least is None or (confidence is not None and least <= confidence <= 1):
        return
    said = "no confidence was given" if confidence is None else f"confidence is {confidence:g}"
    raise errors.AgentFailed(
        f"{said}, and the task asks for {least:g}", "a person can confirm or correct the result", found=found
    )


def readable(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """A conversation as plain JSON, for the person who takes over."""
    return [_shown(message) for message in messages if message.type != "system"]


def _shown(message: BaseMessage) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": message.type, "text": message.text}
    if isinstance(message, AIMessage) and message.tool_calls:
        shown["calls"] = [{"tool": call["name"], "args": call["args"]} for call in message.tool_calls]
    if isinstance(message, ToolMessage):
        shown |= {"tool": message.name, "status": message.status}
    return shown
