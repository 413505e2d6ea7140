"""One performance of one task by one agent: everything that its steps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interlock.agents.agent import Agent
from interlock.agents.call import Call
from interlock.agents.contract import Contract
from interlock.agents.guardrails import Meter, readable
from interlock.agents.models import OutputMethod
from interlock.agents.prompt import search_text
from interlock.tools.results import recordable

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """`state` is what the task may read of the case's state."""

    agent: Agent
    contract: Contract
    state: Mapping[str, Any]
    call: Call
    meter: Meter

    @property
    def method(self) -> OutputMethod:
        """How typed output is asked of the model."""
        return self.agent.output_method or self.call.models.settings.output_method

    async def facts(self) -> list[Any]:
        """The facts that the contract asks for, before the first model call."""
        if not self.contract.context:
            return []
        where = {"source": {"$in": list(self.contract.context)}}
        return await self.call.context(search_text(self.contract, self.state), self.contract.facts, where)

    def found(self) -> dict[str, Any]:
        """What was seen on the way, as plain JSON: tool calls and facts, the conversation, what it took."""
        tokens, steps = self.meter.used()
        used = {"tokens": tokens, "steps": steps} if steps else {}
        found = {"calls": list(self.call.done), "messages": readable(self.meter.messages), "used": used}
        return {key: recordable(value) for key, value in found.items() if value}
