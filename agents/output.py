"""From what an agent gave back to an Outcome that fits its task's contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel, ValidationError

from interlock import errors
from interlock.agents.contract import Contract, Outcome

__all__ = ["accept", "parse", "raw_text", "why_invalid"]

_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)


def accept(contract: Contract, value: Any) -> Outcome:
    """Validate a result and lay it out as a state update. Raises OutputInvalid."""
    if contract.output is None and isinstance(value, str):
        return Outcome({contract.into or contract.task: value})
    outcome = value if isinstance(value, Outcome) else Outcome({})
    plain = outcome.update if isinstance(value, Outcome) else value
    fields = _fields(contract.output, plain)
    confidence = outcome.confidence if outcome.confidence is not None else _number(fields.get("confidence"))
    evidence = outcome.evidence if outcome.evidence is not None else fields.get("evidence")
    update = fields if contract.into is None else {contract.into: fields}
    return Outcome(update, confidence, evidence, outcome.found)


def parse(output: type[BaseModel], text: str) -> BaseModel:
    """Read a model's text as JSON of a schema; a code fence around it is forgiven. Raises ValidationError."""
    fenced = _FENCE.match(text)
    return output.model_validate_json(fenced[1] if fenced else text)


def raw_text(message: BaseMessage) -> str:
    """What a model said, its tool calls included, as text for the repair and for people."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return "\n".join([message.text, *(json.dumps(call["args"]) for call in calls)]).strip()


def why_invalid(error: BaseException) -> str:
    """A few words per field, without the rejected values and without links."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:10])
    source = error.__cause__ or getattr(error, "source", None)
    return why_invalid(source) if isinstance(source, Exception) else str(error)


def _fields(output: type[BaseModel] | None, value: Any) -> dict[str, Any]:
    if output is not None and not (isinstance(value, BaseModel) and isinstance(value, output)):
        value = _validated(output, value)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    raise errors.OutputInvalid(
        f"the agent returned {type(value).__name__}", "return a dict, a pydantic model or an Outcome", found=None
    )


def _validated(output: type[BaseModel], value: Any) -> BaseModel:
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    try:
        return output.model_validate(plain)
    except ValidationError as exc:
        raise errors.OutputInvalid(
            f"the result does not fit {output.__name__}: {why_invalid(exc)}", "a person can give the output instead"
        ) from exc


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
