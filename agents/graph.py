"""A compiled LangGraph as an agent: one task is one run of it, inside the task's node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage, SystemMessage
from pydantic import BaseModel, ValidationError

from interlock import errors
from interlock.agents.contract import Contract
from interlock.agents.job import Job
from interlock.agents.output import parse, why_invalid
from interlock.agents.prompt import question

__all__ = ["run_graph"]


async def run_graph(job: Job) -> Any:
    """Run the graph on the state it knows; one that talks gets the task as its first message.

    Gives its `structured_response`, the output's fields among its state, or what it said last. Raises OutputInvalid.
    """
    graph, state = job.agent.run, job.state
    given: dict[str, Any] = {key: state[key] for key in state if key in graph.channels and key != "messages"}
    if "messages" in graph.channels:
        system = [SystemMessage(job.agent.prompt)] if job.agent.prompt else []
        given["messages"] = [*system, question(job.contract, state, await job.facts(), schema=True)]
    result = await graph.ainvoke(given)
    return _result(job.contract, result if isinstance(result, Mapping) else {})


def _result(contract: Contract, result: Mapping[str, Any]) -> Any:
    if (typed := result.get("structured_response")) is not None:
        return typed
    last: BaseMessage | None = next(iter(reversed(result.get("messages") or [])), None)
    if contract.output is not None:
        return _typed(contract.output, result, last)
    if last is None:
        return dict(result)
    return last.text if contract.into else {**result, "messages": [last]}


def _typed(output: type[BaseModel], result: Mapping[str, Any], last: BaseMessage | None) -> Any:
    fields = {name: result[name] for name in output.model_fields if name in result}
    if fields or last is None:
        return fields
    try:
        return parse(output, last.text)
    except ValidationError as exc:
        raise errors.OutputInvalid(
            f"the graph's last message does not fit {output.__name__}: {why_invalid(exc)}",
            "let the graph set the output's fields or `structured_response` in its state",
        ) from exc
