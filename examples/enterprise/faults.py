"""Faults of an outside system, for tests and suites: the n-th call of a path fails in a chosen way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fault", "Faulty"]


class Fault(BaseModel):
    """Which call fails, and how.

    `refused`: 503, and nothing was done. `lost`: it is done, and the answer does not arrive. `timeout`: nothing was
    done, and nobody can know. `unreachable`: no connection. `call` counts calls that match, from 1; `times` is how
    many in a row fail.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="Beginning of the path, as /work-orders.")
    how: Literal["refused", "lost", "timeout", "unreachable"]
    method: Literal["GET", "POST"] = "POST"
    call: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=1)

    def hits(self, count: int) -> bool:
        return self.call <= count < self.call + self.times


class Faulty(httpx.AsyncBaseTransport):
    """A transport that passes requests on to another one, with faults. `happened` lists the faults, in order."""

    def __init__(self, inner: httpx.AsyncBaseTransport, faults: Sequence[Fault | Mapping[str, Any]]) -> None:
        self.happened: list[str] = []
        self._inner = inner
        self._faults = [Fault.model_validate(fault) for fault in faults]
        self._seen = [0] * len(self._faults)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = self._next(request)
        if fault is None:
            return await self._inner.handle_async_request(request)
        self.happened.append(f"{fault.how} {request.method} {request.url.path}")
        match fault.how:
            case "refused":
                return httpx.Response(503, json={"detail": "not now"}, request=request)
            case "unreachable":
                raise httpx.ConnectError("connection refused", request=request)
            case "lost":
                answer = await self._inner.handle_async_request(request)
                await answer.aread()
                raise httpx.ReadError("the connection was closed before the answer", request=request)
            case "timeout":
                raise httpx.ReadTimeout("no answer in time", request=request)

    def _next(self, request: httpx.Request) -> Fault | None:
        """Count the request for every fault that it matches; the first one whose turn it is."""
        chosen: Fault | None = None
        for place, fault in enumerate(self._faults):
            if request.method != fault.method or not request.url.path.startswith(fault.path):
                continue
            self._seen[place] += 1
            if chosen is None and fault.hits(self._seen[place]):
                chosen = fault
        return chosen

    async def aclose(self) -> None:
        await self._inner.aclose()
