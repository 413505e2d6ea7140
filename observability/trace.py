"""Spans by OpenTelemetry's GenAI conventions, and tags for LangSmith. Nothing leaves the process unless configured.

Without a configured provider every span is a no-op. Spans carry names, ids and counts only: never prompts, arguments,
results or facts. The conventions are still in development; all of their names are in this module (semconv 1.39).
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from interlock import errors
from interlock.settings import Settings

__all__ = [
    "chat",
    "configure",
    "execute_tool",
    "invoke_agent",
    "invoke_workflow",
    "retrieval",
    "run_config",
    "shutdown",
]

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_SUSPENDED = {"GraphBubbleUp"}  # by name: this layer does not import langgraph
_provider: TracerProvider | None = None


def configure(settings: Settings, exporter: SpanExporter | None = None) -> bool:
    """Send spans to `settings.otlp_endpoint`, or to a given exporter; True if spans are sent.

    Without either nothing changes: spans then go to the provider of the surrounding application, if it has one.
    Raises ConfigurationError when the endpoint is set and the exporter package is missing.
    """
    global _provider  # noqa: PLW0603  # one exporter per process, as in OpenTelemetry itself
    chosen = exporter or (_otlp(settings.otlp_endpoint) if settings.otlp_endpoint else None)
    if chosen is None:
        return False
    shutdown()
    _provider = TracerProvider(resource=Resource.create({"service.name": "interlock"}))
    _provider.add_span_processor(BatchSpanProcessor(chosen))
    return True


def shutdown() -> None:
    """Send what is left and stop; spans are no-ops again. A second call does nothing."""
    global _provider
    old, _provider = _provider, None
    if old is not None:
        old.shutdown()


@contextmanager
def invoke_workflow(name: str, *, case_id: str, version: str = "", tenant: str = "", epoch: int = 0) -> Iterator[Span]:
    """One drive of a case."""
    own = {"workflow.version": version, "tenant": tenant, "epoch": epoch}
    with _span("invoke_workflow", name, {"gen_ai.workflow.name": name, **_case(case_id)}, own) as span:
        yield span


@contextmanager
def invoke_agent(agent: str, *, case_id: str, task: str, model: str = "") -> Iterator[Span]:
    """One task performed by an agent; `agent` is its id."""
    shown = {"gen_ai.agent.id": agent, "gen_ai.agent.name": agent.partition(":")[2] or agent, **_model(model)}
    with _span("invoke_agent", agent, {**shown, **_case(case_id)}, {"task": task}) as span:
        yield span


@contextmanager
def execute_tool(
    tool: str, *, case_id: str, task: str, actor: str, effect_key: str, system: str = ""
) -> Iterator[Span]:
    """One tool call that was let through."""
    shown = {"gen_ai.tool.name": tool, "gen_ai.tool.type": "function", "gen_ai.tool.call.id": effect_key}
    own = {"task": task, "actor": actor, "system": system}
    with _span("execute_tool", tool, {**shown, **_case(case_id)}, own) as span:
        yield span


@contextmanager
def retrieval(source: str, *, case_id: str = "", k: int = 0) -> Iterator[Span]:
    """One query of the context store."""
    shown = {"gen_ai.data_source.id": source, "gen_ai.request.top_k": k, **_case(case_id)}
    with _span("retrieval", source, shown, {}) as span:
        yield span


def chat(
    model: str, *, seconds: float, input_tokens: int, output_tokens: int, failed: bool = False, **case: str
) -> None:
    """One model call that has just ended; `case` are case_id, task and agent."""
    shown = {**_model(model), **_case(case.get("case_id", ""))}
    shown |= {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens}
    own = {"task": case.get("task", ""), "actor": case.get("agent", "")}
    end = time.time_ns()
    name, known = _named("chat", model.partition(":")[2] or model, shown, own)
    tracer = trace.get_tracer("interlock", tracer_provider=_provider)
    span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known, start_time=end - int(seconds * 1e9))
    if failed:
        span.set_status(Status(StatusCode.ERROR, "model"))
    span.end(end)


def run_config(
    settings: Settings, *, workflow: str, version: str, case_id: str, tenant: str, task: str = ""
) -> dict[str, Any]:
    """Tags and metadata for a LangChain config, so that LangSmith groups runs by case; {} when it is off."""
    if not settings.langsmith:
        return {}
    metadata = {"case_id": case_id, "workflow": workflow, "version": version, "tenant": tenant, "task": task}
    tags = ["interlock", f"workflow:{workflow}"] + ([f"task:{task}"] if task else [])
    return {"tags": tags, "metadata": {f"interlock_{k}": v for k, v in metadata.items() if v}}


def _otlp(endpoint: str) -> SpanExporter:
    try:
        exporter = importlib.import_module(_EXPORTER)
    except ImportError as exc:
        raise errors.ConfigurationError(
            "otlp_endpoint is set, but the OTLP exporter is not installed", "pip install 'interlock[otlp]'"
        ) from exc
    made: SpanExporter = exporter.OTLPSpanExporter(endpoint=endpoint)
    return made


@contextmanager
def _span(
    operation: str,
    name: str,
    conventional: Mapping[str, Any],
    own: Mapping[str, Any],
) -> Iterator[Span]:
    title, known = _named(operation, name, conventional, own)
    tracer = trace.get_tracer("interlock", tracer_provider=_provider)
    options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with tracer.start_as_current_span(title, attributes=known, **options) as span:
        try:
            yield span
        except BaseException as exc:
            _fail(span, exc)
            raise


def _named(
    operation: str, name: str, conventional: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The title of a span, and its attributes without empty ones."""
    attributes = {"gen_ai.operation.name": operation, **conventional}
    attributes |= {f"interlock.{key}": value for key, value in own.items()}
    known = {key: value for key, value in attributes.items() if value not in ("", 0)}
    return f"{operation} {name}".strip(), known


def _fail(span: Span, exc: BaseException) -> None:
    """A case that waits for a person, or is cancelled, has not failed; of an error only its kind is sent."""
    if isinstance(exc, asyncio.CancelledError) or _SUSPENDED & {c.__name__ for c in type(exc).__mro__}:
        span.set_attribute("interlock.suspended", True)
        return
    kind = exc.code if isinstance(exc, errors.InterlockError) else type(exc).__qualname__
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _case(case_id: str) -> dict[str, Any]:
    return {"gen_ai.conversation.id": case_id, "interlock.case_id": case_id}


def _model(model: str) -> dict[str, Any]:
    provider, _, name = model.rpartition(":")
    return {"gen_ai.request.model": name, "gen_ai.provider.name": provider}
