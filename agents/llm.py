"""An LLM agent's turn: `create_agent` with governed tools, typed output, one repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.structured_output import StructuredOutputError
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from interlock import errors
from interlock.agents.job import Job
from interlock.agents.models import Fallback, strategy
from interlock.agents.output import parse, raw_text, why_invalid
from interlock.agents.prompt import RULES, question

__all__ = ["run_model"]


class _Unfit(Exception):
    """An answer that does not fit, with what was said and why it does not."""

    def __init__(self, said: str, why: str) -> None:
        super().__init__(why)
        self.said, self.why = said, why


async def run_model(job: Job) -> Any:
    """Run the agent's loop. Gives the output model; without one the text, for `into`, or the last message.

    Raises OutputInvalid when the answer does not fit after one repair.
    """
    asked = question(job.contract, job.state, await job.facts(), schema=job.method == "json_mode")
    try:
        return await _turn(job, [asked], [job.call.governed(name) for name in job.contract.tools])
    except _Unfit as unfit:
        return await _repair(job, unfit)


async def _repair(job: Job, unfit: _Unfit) -> Any:
    """Say what was wrong and ask again, without tools: nothing happens twice when this is repeated."""
    ask = HumanMessage(
        f"Your answer was:\n{unfit.said}\n\nIt is not acceptable: {unfit.why}\nGive the corrected answer as JSON."
    )
    try:
        return await _turn(job, [*_conversation(job), ask], [])
    except _Unfit as again:
        raise errors.OutputInvalid(
            f"{job.agent.id} gave no acceptable output in two attempts: {again.why}",
            "a person can give the output instead",
        ) from again


def _conversation(job: Job) -> list[BaseMessage]:
    """What was said before the bad answer; the system message is given anew."""
    return [message for message in job.meter.messages[:-1] if message.type != "system"]


async def _turn(job: Job, messages: Sequence[BaseMessage], tools: Sequence[BaseTool]) -> Any:
    try:
        result = await _loop(job, tools).ainvoke({"messages": [*messages]})
    except StructuredOutputError as exc:
        raise _Unfit(raw_text(exc.ai_message), why_invalid(exc)) from exc
    return _answer(job.contract.output, job.contract.into, result)


def _loop(job: Job, tools: Sequence[BaseTool]) -> Any:
    """Compiled without a checkpointer: it runs inside the task's node, so its interrupts and steps are the case's."""
    agent, output = job.agent, job.contract.output
    assert agent.model is not None, "only an LLM agent has a turn"
    as_text = job.method == "json_mode" and output is not None
    first, *others = job.call.models.chain(agent.model, agent.fallbacks, json_mode=as_text)
    return create_agent(
        first,
        list(tools),
        system_prompt=f"{agent.prompt}\n\n{RULES}".strip(),
        middleware=[Fallback(others)] if others else [],
        response_format=strategy(output, job.method),
    )


def _answer(output: type[BaseModel] | None, into: str | None, result: Mapping[str, Any]) -> Any:
    if (typed := result.get("structured_response")) is not None:
        return typed
    last: BaseMessage = result["messages"][-1]
    if output is None:
        return last.text if into else {"messages": [last]}
    try:
        return parse(output, last.text)
    except ValidationError as exc:
        raise _Unfit(raw_text(last), why_invalid(exc)) from exc
