"""Spans go where they are sent, and nowhere else; they carry no content."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.errors import GraphInterrupt
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from interlock import errors
from interlock.observability import trace
from interlock.settings import Settings


def settings(**changes: Any) -> Settings:
    return Settings.load().model_copy(update=changes)


@pytest.fixture
def sent() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    assert trace.configure(settings(), exporter)
    yield exporter
    trace.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    provider = trace._provider
    assert provider is not None
    provider.force_flush()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_the_five_operations_nest_and_have_the_names_of_the_conventions(sent: InMemorySpanExporter) -> None:
    with (
        trace.invoke_workflow("maintenance", case_id="c1", version="1", tenant="default"),
        trace.invoke_agent("agent:triage", case_id="c1", task="triage", model="openai:gpt-5-mini"),
    ):
        with trace.execute_tool(
            "cmms.create", case_id="c1", task="triage", actor="agent:triage", effect_key="e", system="cmms"
        ):
            pass
        with trace.retrieval("manuals", case_id="c1", k=5):
            pass
        trace.chat("openai:gpt-5-mini", seconds=1.5, input_tokens=10, output_tokens=20, case_id="c1", task="triage")
    got = spans(sent)
    assert set(got) == {
        "invoke_workflow maintenance",
        "invoke_agent agent:triage",
        "execute_tool cmms.create",
        "retrieval manuals",
        "chat gpt-5-mini",
    }
    root, agent = got["invoke_workflow maintenance"], got["invoke_agent agent:triage"]
    assert agent.parent is not None
    assert root.context is not None
    assert agent.parent.span_id == root.context.span_id
    used = got["chat gpt-5-mini"].attributes or {}
    assert used["gen_ai.usage.output_tokens"] == 20
    assert used["gen_ai.provider.name"] == "openai"
    assert used["gen_ai.conversation.id"] == "c1"
    assert (got["execute_tool cmms.create"].attributes or {})["interlock.system"] == "cmms"


def test_an_error_is_named_but_its_text_stays_here(sent: InMemorySpanExporter) -> None:
    with pytest.raises(errors.ToolFailed), trace.retrieval("manuals"):
        raise errors.ToolFailed("the secret of IBAN DE00", "look")
    span = spans(sent)["retrieval manuals"]
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()
    assert (span.attributes or {})["error.type"] == "tool_failed"


@pytest.mark.parametrize("stop", [asyncio.CancelledError(), GraphInterrupt(())])
def test_waiting_is_no_error(sent: InMemorySpanExporter, stop: BaseException) -> None:
    with pytest.raises(type(stop)), trace.invoke_workflow("m", case_id="c"):
        raise stop
    assert spans(sent)["invoke_workflow m"].status.status_code is StatusCode.UNSET


def test_off_by_default_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert not trace.configure(settings())
    with trace.retrieval("manuals") as span:
        assert not span.is_recording()
    trace.chat("m", seconds=0, input_tokens=1, output_tokens=1)
    trace.shutdown()


def test_an_endpoint_without_its_package_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_EXPORTER", "interlock.no_such_exporter")
    with pytest.raises(errors.ConfigurationError, match="otlp"):
        trace.configure(settings(otlp_endpoint="http://127.0.0.1:4318/v1/traces"))


def test_langsmith_tags_only_when_asked() -> None:
    case = {"workflow": "m", "version": "2", "case_id": "c", "tenant": "t"}
    assert trace.run_config(settings(), **case) == {}
    config = trace.run_config(settings(langsmith=True), task="plan", **case)
    assert config["tags"] == ["interlock", "workflow:m", "task:plan"]
    assert config["metadata"]["interlock_case_id"] == "c"
