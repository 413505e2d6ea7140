"""Performs a task with an agent, whatever its kind, and holds it to its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs, var_child_runnable_config
from langgraph.errors import GraphBubbleUp, GraphRecursionError

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.call import Call
from interlock.agents.contract import Contract, Outcome
from interlock.agents.graph import run_graph
from interlock.agents.guardrails import Budget, Meter, check_confidence
from interlock.agents.job import Job
from interlock.agents.llm import run_model
from interlock.agents.output import accept
from interlock.observability import trace
from interlock.tools.tool import Suspended

__all__ = ["Budget", "Call", "Contract", "Outcome", "perform"]


async def perform(agent: Agent, contract: Contract, state: Mapping[str, Any], call: Call) -> Outcome:
    """Let an agent do a task, inside `tools.tool.performing`. Gives an Outcome whose update fits the contract.

    Raises AgentFailed, BudgetExceeded or OutputInvalid, each with everything found so far in `.found`; lets Denied,
    Rejected, ToolFailed and UnknownOutcome of uncaught tool calls through, and the signal of a pending approval.
    """
    job = Job(agent, contract, state, call, _meter(agent, contract, call))
    with trace.invoke_agent(agent.id, case_id=call.case_id, task=call.task), _explained(job):
        outcome = accept(contract, await _in_time(job))
        job.meter.check()
        check_confidence(outcome.confidence, contract.min_confidence, outcome.update)
    return replace(outcome, found={**job.found(), **outcome.found})


def _meter(agent: Agent, contract: Contract, call: Call) -> Meter:
    def note(data: dict[str, Any], ns: str | None) -> None:
        call.note("model.called", {"agent": agent.id, **data}, ns)
        trace.chat(
            data["model"], seconds=data["seconds"], input_tokens=data["input_tokens"],
            output_tokens=data["output_tokens"], failed=data["status"] == "failed",
            case_id=call.case_id, task=call.task, agent=agent.id,
        )  # fmt: skip

    return Meter(contract.budget, call.models.settings.prices, call.clock, note)


async def _in_time(job: Job) -> Any:
    seconds = job.contract.budget.seconds
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await _run(job)
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise errors.BudgetExceeded(
            f"{job.agent.id} took longer than {seconds:g} s", "raise the task's budget, or do it by hand"
        ) from exc


async def _run(job: Job) -> Any:
    with _metered(job.meter):
        match job.agent.kind:
            case "graph":
                return await run_graph(job)
            case "llm":
                return await run_model(job)
            case "code":
                return await job.agent.run(job.state, job.call)
            case "external":
                raise errors.AgentFailed(f"{job.agent.id} is external and performs no tasks", "give it run= or model=")


@contextmanager
def _metered(meter: Meter) -> Iterator[None]:
    """Count every model call below: LangChain reads callbacks from the running config.

    Given to `ainvoke` they would take the place of those that are there, which stream tokens and trace.
    """
    config: RunnableConfig = merge_configs(var_child_runnable_config.get() or {}, {"callbacks": [meter]})
    token: Token[Any] = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


@contextmanager
def _explained(job: Job) -> Iterator[None]:
    """Make every failure one of ours, with what was found; let signals through as they are."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _explain(_first(group), job) from group
    except Exception as exc:
        explained = _explain(exc, job)
        if explained is exc:
            raise
        raise explained from exc


def _explain(exc: BaseException, job: Job) -> BaseException:
    if isinstance(exc, errors.AgentFailed):
        exc.found = job.found() | ({"result": exc.found} if exc.found else {})
        return exc
    if isinstance(exc, errors.InterlockError | GraphBubbleUp) or not isinstance(exc, Exception):
        return exc
    who, found = job.agent.id, job.found()
    if isinstance(exc, GraphRecursionError):
        return errors.BudgetExceeded(f"{who} went round too often", "look for the loop in its graph", found=found)
    return errors.AgentFailed(f"{who} failed with {type(exc).__name__}: {exc}", "see what it had found", found=found)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A task group wraps what happened in it: the signal of a pending call goes first, then errors of ours."""
    chosen: BaseException = group
    for kind in (Suspended, GraphBubbleUp, errors.InterlockError):
        if (matching := group.subgroup(kind)) is not None:
            chosen = matching
            break
    while isinstance(chosen, BaseExceptionGroup):
        chosen = chosen.exceptions[0]
    return chosen
