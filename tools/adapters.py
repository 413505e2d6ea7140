"""How the three kinds of tools are run: a function, a LangChain tool, an HTTP endpoint."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.tools import BaseTool

from interlock import errors
from interlock.tools.contract import ToolContext

__all__ = ["Call", "call_function", "call_http", "call_tool", "in_thread"]

Call = Callable[[Mapping[str, Any], ToolContext], Awaitable[Any]]
_THREADS = ThreadPoolExecutor(32, "interlock-tool")
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NO_BODY = frozenset({"GET", "HEAD", "DELETE"})


async def in_thread(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run blocking code off the loop, with the context variables of the caller."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: context.run(fn, *args, **kwargs))


def call_function(fn: Callable[..., Any]) -> Call:
    """Arguments as keywords, `ctx` if the function declares it; blocking functions run in a worker thread."""
    wants_ctx = "ctx" in inspect.signature(fn).parameters
    is_async = inspect.iscoroutinefunction(fn if inspect.isroutine(fn) else type(fn).__call__)

    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        given = {**args, "ctx": ctx} if wants_ctx else dict(args)
        result = fn(**given) if is_async else await in_thread(fn, **given)
        return await result if inspect.isawaitable(result) else result

    return call


def call_tool(tool: BaseTool) -> Call:
    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        return await tool.ainvoke(dict(args))

    return call


def call_http(url: str, method: str) -> Call:
    """JSON over HTTP. `{name}` in the address takes an argument; the rest is the body, or the query.

    Sends the credential as a bearer token and the call's key as `Idempotency-Key`.
    """
    verb = method.upper()
    if not url.startswith(("http://", "https://")) or not verb.isalpha():
        raise errors.ConfigurationError(f"{method} {url} is no endpoint", "give an http(s) address and a method")
    in_path = set(_FIELD.findall(url))

    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        address = _FIELD.sub(lambda m: quote(str(args[m[1]]), safe=""), url)
        rest = {name: value for name, value in args.items() if name not in in_path}
        sent: dict[str, Any] = {"params": rest} if verb in _NO_BODY else {"json": rest}
        async with httpx.AsyncClient(headers=_headers(ctx), timeout=None) as client:  # noqa: S113  # the gateway times it
            response = await client.request(verb, address, **sent)
        response.raise_for_status()
        return _body(response)

    return call


def _headers(ctx: ToolContext) -> dict[str, str]:
    bearer = {"Authorization": f"Bearer {ctx.credential}"} if ctx.credential else {}
    return {"Idempotency-Key": ctx.key or ctx.effect_key, **bearer}


def _body(response: httpx.Response) -> Any:
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.json() if is_json else response.text
