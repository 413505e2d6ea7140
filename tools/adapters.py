"""How the three kinds of tools are run: a function, a LangChain tool, an HTTP endpoint."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.tools import BaseTool
from pydantic_core import to_jsonable_python

from interlock import errors
from interlock.tools.adopted import pristine
from interlock.tools.contract import ToolContext

__all__ = ["Call", "call_function", "call_http", "call_tool", "in_thread"]

Call = Callable[[Mapping[str, Any], ToolContext], Awaitable[Any]]
_THREADS = ThreadPoolExecutor(32, "interlock-tool")
_ENDPOINT = re.compile(r"https?://[^/{}?#\s]+(?:[/?#]|$)")
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLAIN = "!#$&'()*+,/:;<=>?@[]^`{|}~"
_NO_BODY = frozenset({"GET", "HEAD", "DELETE"})


async def in_thread(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run blocking code off the loop, with the context variables of the caller."""
    context = contextvars.copy_context()

    def run() -> Any:
        try:
            return context.run(fn, *args, **kwargs)
        except StopIteration as exc:  # no future can carry it: the caller would wait for ever
            raise RuntimeError("the function raised StopIteration") from exc

    return await asyncio.get_running_loop().run_in_executor(_THREADS, run)


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
    """A LangChain tool. Errors that it would turn into text for a model stay errors: they are outcomes."""
    plain = pristine(tool, handle_tool_error=False, handle_validation_error=False)

    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        return await plain.ainvoke(dict(args))

    return call


def call_http(url: str, method: str) -> Call:
    """JSON over HTTP. `{name}` in the path takes an argument; the rest is the body, or the query.

    Sends the credential as a bearer token and the call's key as `Idempotency-Key`; follows no redirect.
    """
    verb = method.upper()
    if not _ENDPOINT.match(url) or not verb.isalpha():
        raise errors.ConfigurationError(
            f"{method} {url} is no endpoint", "give a method and an http(s) address; {name} only behind the host"
        )
    in_path = set(_FIELD.findall(url))

    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        given = to_jsonable_python(dict(args))
        address = _FIELD.sub(lambda m: _segment(m[1], given.get(m[1])), url)
        rest = {name: value for name, value in given.items() if name not in in_path}
        sent: dict[str, Any] = {"params": rest} if verb in _NO_BODY else {"json": rest}
        async with httpx.AsyncClient(headers=_headers(ctx), timeout=None) as client:  # noqa: S113  # the gateway times it
            response = await client.request(verb, address, **sent)
        response.raise_for_status()
        return _body(response)

    return call


def _segment(name: str, value: Any) -> str:
    """An argument as one segment of a path: it must not lead to another endpoint."""
    if value is None or isinstance(value, (bool, dict, list)) or str(value) in ("", ".", ".."):
        raise errors.InputError(f"{name} is {value!r}, which is no part of an address", "give a plain name or number")
    return quote(str(value), safe="")


def _headers(ctx: ToolContext) -> dict[str, str]:
    """The key is quoted: a business key comes from arguments, and may hold what no header may."""
    bearer = {"Authorization": f"Bearer {ctx.credential}"} if ctx.credential else {}
    return {"Idempotency-Key": quote(ctx.key or ctx.effect_key, safe=_PLAIN), **bearer}


def _body(response: httpx.Response) -> Any:
    """JSON where it is some, else text: an answer that cannot be read is still the answer of a call that was made."""
    is_json = "json" in response.headers.get("content-type", "").partition(";")[0]
    with suppress(ValueError):
        return response.json() if is_json else response.text
    return response.text
