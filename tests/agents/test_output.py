"""From what an agent gave back to an update that fits; and what is said when it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, Field, ValidationError

from interlock import errors
from interlock.agents.contract import Contract, Outcome
from interlock.agents.output import accept, parse, raw_text, why_invalid


class Diagnosis(BaseModel):
    code: str
    confidence: float = Field(default=0.5, ge=0, le=1)
    evidence: list[str] = []


class Other(BaseModel):
    code: int


PLAIN = {"code": "M7", "confidence": 0.9, "evidence": ["vibrates"]}


@pytest.mark.parametrize("value", [PLAIN, Diagnosis(code="M7", confidence=0.9, evidence=["vibrates"])])
def test_fields_of_the_output_become_the_update(value: Any) -> None:
    outcome = accept(Contract("t", output=Diagnosis), value)
    assert outcome.update == PLAIN
    assert (outcome.confidence, outcome.evidence) == (0.9, ["vibrates"])
    assert accept(Contract("t", output=Diagnosis, into="found"), value).update == {"found": PLAIN}


def test_an_outcome_may_say_more_than_its_update() -> None:
    said = Outcome({"code": "M7"}, confidence=0.3, evidence="a hunch", found={"seen": 1})
    outcome = accept(Contract("t", output=Diagnosis), said)
    assert outcome.update == {"code": "M7", "confidence": 0.5, "evidence": []}
    assert (outcome.confidence, outcome.evidence, outcome.found) == (0.3, "a hunch", {"seen": 1})


def test_without_an_output_anything_plain_will_do() -> None:
    assert accept(Contract("t"), None).update == {}
    assert accept(Contract("t"), {"a": 1}).update == {"a": 1}
    assert accept(Contract("t"), Other(code=1)).update == {"code": 1}
    assert accept(Contract("t"), "text").update == {"t": "text"}
    assert accept(Contract("t", into="note"), "text").update == {"note": "text"}
    assert accept(Contract("t"), {"confidence": True}).confidence is None
    assert accept(Contract("t"), {"confidence": "high"}).confidence is None
    assert accept(Contract("t"), {"confidence": 1}).confidence == 1.0


@pytest.mark.parametrize(
    "value", [None, {}, "M7", 5, [], {"code": 7}, {"code": None}, {**PLAIN, "confidence": 1.1}, Other(code=1)]
)
def test_what_does_not_fit_the_output(value: Any) -> None:
    with pytest.raises(errors.OutputInvalid, match="does not fit Diagnosis"):
        accept(Contract("t", output=Diagnosis), value)


@pytest.mark.parametrize("value", [5, [1], (1,), True, object()])
def test_what_is_no_update(value: Any) -> None:
    with pytest.raises(errors.OutputInvalid, match="return a dict"):
        accept(Contract("t"), value)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PLAIN), f"```json\n{json.dumps(PLAIN)}\n```", f"```\n{json.dumps(PLAIN)}```",
        f"  \n```json {json.dumps(PLAIN)} ```  \n", json.dumps(PLAIN, indent=3),
    ],
)  # fmt: skip
def test_json_and_a_fence_around_it_are_read(text: str) -> None:
    assert parse(Diagnosis, text) == Diagnosis(**PLAIN)


@pytest.mark.parametrize(
    "text", ["", "M7", "[]", "null", '{"code": 7}', "{", "```json\n```", f"It is {json.dumps(PLAIN)}."]
)
def test_other_text_is_not(text: str) -> None:
    with pytest.raises(ValidationError):
        parse(Diagnosis, text)


@given(st.text())
def test_reading_raises_nothing_else(text: str) -> None:
    try:
        parse(Diagnosis, text)
    except ValidationError as exc:
        assert why_invalid(exc)


def test_reasons_name_the_field_and_never_repeat_the_value() -> None:
    with pytest.raises(errors.OutputInvalid) as failed:
        accept(Contract("t", output=Diagnosis), {"code": ["hunter2"], "confidence": 7})
    said = str(failed.value)
    assert "code: " in said
    assert "confidence: " in said
    assert "hunter2" not in said
    assert "https://" not in said


def test_the_reason_is_found_behind_a_wrapper() -> None:
    try:
        Diagnosis.model_validate({})
    except ValidationError as exc:
        wrapper = RuntimeError("structured output failed")
        wrapper.__cause__ = exc
        assert why_invalid(wrapper) == "code: Field required"
    assert why_invalid(RuntimeError("plain")) == "plain"


def test_what_a_model_said_includes_its_calls() -> None:
    call = {"name": "Diagnosis", "args": {"code": 7}, "id": "1", "type": "tool_call"}
    assert raw_text(AIMessage("so", tool_calls=[call])) == 'so\n{"code": 7}'
    assert raw_text(HumanMessage("hello")) == "hello"
