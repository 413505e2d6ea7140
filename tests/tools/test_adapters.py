"""Functions, LangChain tools and endpoints, as the gateway runs them."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel

from interlock import errors
from interlock.clock import SystemClock
from interlock.tools.adapters import call_function, call_http, call_tool, in_thread
from interlock.tools.contract import ToolContext
from interlock.tools.failures import ambiguous

CTX = ToolContext("case-1", "effect-1", 1, "s3cret", "agent:a", "default", SystemClock(), key="business-1")
WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


# functions


def blocking(x: int, ctx: ToolContext) -> Any:
    WHERE.set("changed inside")
    return x, ctx.effect_key, threading.current_thread() is threading.main_thread()


async def looping(x: int) -> Any:
    return x, WHERE.get(), threading.current_thread() is threading.main_thread()


def hands_on(x: int) -> Any:
    return looping(x)


class Callable_:
    async def __call__(self, x: int) -> int:
        return x

    def blocking(self, x: int) -> int:
        return x


async def test_blocking_code_runs_in_a_thread_with_the_callers_context() -> None:
    WHERE.set("here")
    assert await call_function(blocking)({"x": 1}, CTX) == (1, "effect-1", False)
    assert await in_thread(WHERE.get) == "here"
    assert WHERE.get() == "here", "what it changes stays inside"


async def test_async_code_runs_on_the_loop() -> None:
    WHERE.set("here")
    assert await call_function(looping)({"x": 1}, CTX) == (1, "here", True)


@pytest.mark.parametrize(
    "fn",
    [functools.partial(looping), functools.partial(blocking, ctx=CTX), Callable_(), Callable_().blocking, hands_on],
    ids=["partial", "blocking partial", "object", "method", "function that gives a coroutine"],
)  # fmt: skip
async def test_whatever_can_be_called(fn: Callable[..., Any]) -> None:
    result = await call_function(fn)({"x": 1}, CTX)
    assert (result if isinstance(result, int) else result[0]) == 1


@pytest.mark.parametrize("raised", [ValueError("x"), errors.ToolFailed("x"), TimeoutError()])
async def test_errors_come_through(raised: Exception) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(type(raised)):
        await call_function(fail)({}, CTX)


async def test_a_stop_iteration_does_not_hang() -> None:
    def stop() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(call_function(stop)({}, CTX), 10)


async def test_blocking_calls_do_not_wait_for_each_other() -> None:
    both = threading.Barrier(8, timeout=10)

    def meet() -> int:
        return both.wait()

    assert len(set(await asyncio.gather(*(call_function(meet)({}, CTX) for _ in range(8))))) == 8


# LangChain tools


async def add(a: int, b: int = 2) -> int:
    return a + b


def slow(a: int) -> Any:
    return a, threading.current_thread() is threading.main_thread()


async def broken(a: int) -> int:
    raise ToolException("the system said no")


async def test_langchain_tools() -> None:
    tool = StructuredTool.from_function(coroutine=add, name="add", description="Adds.")
    assert await call_tool(tool)({"a": 1}, CTX) == 3
    in_a_thread = StructuredTool.from_function(func=slow, name="slow", description="Waits.")
    assert await call_tool(in_a_thread)({"a": 1}, CTX) == (1, False)


@pytest.mark.parametrize("handle", [True, "sorry", lambda exc: "sorry"])
async def test_an_error_that_a_tool_would_tell_a_model_is_a_failure(handle: Any) -> None:
    tool = StructuredTool.from_function(
        coroutine=broken, name="broken", description="Fails.", handle_tool_error=handle, handle_validation_error=handle
    )
    with pytest.raises(ToolException):
        await call_tool(tool)({"a": 1}, CTX)
    with pytest.raises(Exception, match="validation error"):
        await call_tool(tool)({"a": "x"}, CTX)
    assert tool.handle_tool_error is handle, "the object itself stays as it was"


async def test_a_tool_class() -> None:
    class Doubles(BaseTool):
        name: str = "doubles"
        description: str = "Doubles."

        def _run(self, a: int) -> int:
            return 2 * a

    assert await call_tool(Doubles())({"a": 4}, CTX) == 8


# endpoints


class Recorder(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: tuple[int, str, bytes] = (200, "application/json", b'{"ok": true}')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Any

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status, kind, data = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `seen`."""


@pytest.fixture
def erp() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
async def no_proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield


async def test_an_endpoint_gets_path_body_credential_and_key(erp: Recorder) -> None:
    call = call_http(f"{erp.url}/orders/{{id}}/lines", "post")
    assert await call({"id": "a/b ü?", "amount": 5, "lines": [1]}, CTX) == {"ok": True}
    ((method, path, headers, body),) = erp.seen
    assert (method, path) == ("POST", "/orders/a%2Fb%20%C3%BC%3F/lines")
    assert json.loads(body) == {"amount": 5, "lines": [1]}
    assert headers["authorization"] == "Bearer s3cret"
    assert headers["idempotency-key"] == "business-1"


async def test_reads_send_the_rest_as_a_query(erp: Recorder) -> None:
    await call_http(f"{erp.url}/orders/{{id}}", "GET")({"id": 7, "state": "open & new", "tags": ["a", "b"]}, CTX)
    ((_, path, _, body),) = erp.seen
    assert path == "/orders/7?state=open+%26+new&tags=a&tags=b"
    assert body == b""


async def test_without_business_key_or_credential(erp: Recorder) -> None:
    await call_http(f"{erp.url}/orders", "POST")({}, replace(CTX, key="", credential=None))
    ((_, _, headers, _),) = erp.seen
    assert headers["idempotency-key"] == "effect-1"
    assert "authorization" not in headers


@pytest.mark.parametrize("key", ["ü", "a\r\nX-Evil: 1", "a b", "100%", "\x00", "日本"])
async def test_a_key_of_any_text_is_sent_as_one_header(erp: Recorder, key: str) -> None:
    await call_http(f"{erp.url}/orders", "POST")({}, replace(CTX, key=key))
    ((_, _, headers, _),) = erp.seen
    assert headers["idempotency-key"].isascii()
    assert headers["idempotency-key"] != key
    assert "x-evil" not in headers


@pytest.mark.parametrize("value", ["..", ".", "", None, True, ["a"], {"a": 1}])
async def test_an_argument_never_leads_to_another_endpoint(erp: Recorder, value: Any) -> None:
    with pytest.raises(errors.InputError):
        await call_http(f"{erp.url}/orders/{{id}}", "DELETE")({"id": value}, CTX)
    with pytest.raises(errors.InputError):
        await call_http(f"{erp.url}/orders/{{id}}", "DELETE")({}, CTX)
    assert erp.seen == []


@pytest.mark.parametrize(
    "value", ["../admin", "x/../../admin", "%2e%2e", "a?b=1", "a#b", "@evil.com", "..%2Fadmin", "\\..\\"]
)
async def test_an_argument_stays_one_segment(erp: Recorder, value: str) -> None:
    await call_http(f"{erp.url}/orders/{{id}}", "GET")({"id": value}, CTX)
    ((_, path, _, _),) = erp.seen
    assert path.startswith("/orders/")
    assert path.count("/") == 2
    assert "?" not in path


async def test_python_values_are_sent_as_json(erp: Recorder) -> None:
    class Line(BaseModel):
        price: Decimal

    given = {"at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("1.10"), "lines": [Line(price=Decimal(2))]}
    await call_http(f"{erp.url}/orders", "POST")(given, CTX)
    assert json.loads(erp.seen[0][3]) == {"at": "2026-01-01T00:00:00Z", "price": "1.10", "lines": [{"price": "2"}]}


@pytest.mark.parametrize(
    ("kind", "data", "read"),
    [
        ("application/json; charset=utf-8", b"[1]", [1]), ("application/problem+json", b'{"a": 1}', {"a": 1}),
        ("text/plain", b"[1]", "[1]"), ("application/json", b"", ""), ("application/json", b"<html>", "<html>"),
        ("text/plain", b"\xff", "\ufffd"), ("application/xml", b"<json/>", "<json/>"),
    ],
)  # fmt: skip
async def test_an_answer_is_read_as_what_it_is_and_never_lost(erp: Recorder, kind: str, data: bytes, read: Any) -> None:
    erp.answer = (200, kind, data)
    assert await call_http(f"{erp.url}/orders", "POST")({}, CTX) == read


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 409, 429, 501, 503])
async def test_other_answers_are_failures_and_redirects_are_not_followed(erp: Recorder, status: int) -> None:
    erp.answer = (status, "text/plain", b"")
    with pytest.raises(httpx.HTTPStatusError) as failed:
        await call_http(f"{erp.url}/orders", "POST")({}, CTX)
    assert len(erp.seen) == 1
    assert not ambiguous(failed.value)


async def test_nobody_there_means_nothing_happened(erp: Recorder) -> None:
    erp.server_close()
    with pytest.raises(httpx.ConnectError) as failed:
        await call_http(f"{erp.url}/orders", "POST")({}, CTX)
    assert not ambiguous(failed.value)


@pytest.mark.parametrize(
    ("url", "method"),
    [
        ("ftp://erp/x", "GET"), ("erp/x", "GET"), ("", "GET"), ("http://", "GET"), ("https://erp/x", "GET /"),
        ("https://erp/x", ""), ("https://{host}/x", "GET"), ("https://erp.{domain}/x", "GET"), ("{url}", "GET"),
        ("https://erp{port}/x", "GET"), ("https://er p/x", "GET"), ("https:///x", "GET"),
    ],
)  # fmt: skip
def test_what_is_no_endpoint(url: str, method: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        call_http(url, method)
