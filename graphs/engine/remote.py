"""Commands to the live engine from other processes: one JSON line each way over loopback, guarded by a token."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from interlock import errors
from interlock.graphs.engine.lock import Address, new_token

__all__ = ["CommandServer", "Stopping", "send"]

_LINE_LIMIT = 4 * 1024 * 1024
_ANSWERS_S = 5.0  # how long commands that have begun may take when the engine stops
_STOPPING = b'{"stopping": true}\n'
_TREE = {
    cls.code: cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.InterlockError)
}

Handler = Callable[..., Awaitable[Any]]


class Stopping(errors.Unreachable):
    """The engine takes no commands any more: nothing was done, and its lock is free in a moment."""


class CommandServer:
    """Listens on 127.0.0.1 for the commands of other processes; handlers take and give JSON values."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._token = new_token()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._changing: dict[asyncio.StreamWriter, asyncio.Task[Any]] = {}

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LINE_LIMIT)
        port = self._server.sockets[0].getsockname()[1]
        return Address("127.0.0.1", port, self._token, os.getpid())

    async def close(self) -> None:
        """Take no more commands. Those that change something are answered, all others hear that the engine stops."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._open - self._changing.keys():
            self._open.discard(writer)
            writer.write(_STOPPING)
            writer.close()
        if self._changing:
            await asyncio.wait(self._changing.values(), timeout=_ANSWERS_S)
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            line = await reader.readline()
            if writer in self._open:  # or it has heard that the engine stops
                writer.write(orjson.dumps(await self._answer(line, writer)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.LimitOverrunError):
            return
        finally:
            self._open.discard(writer)
            self._changing.pop(writer, None)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            if request["command"] != "wait" and (task := asyncio.current_task()) is not None:
                self._changing[writer] = task
            return {"value": await self._call(request)}
        except errors.InterlockError as exc:
            return {"error": exc.error}
        except (ValueError, TypeError, KeyError) as exc:
            return {"error": {"code": "input", "message": f"not understood: {exc}", "hint": "use the CLI"}}

    async def _call(self, request: dict[str, Any]) -> Any:
        if not hmac.compare_digest(str(request["token"]).encode(), self._token.encode()):
            raise errors.NotAuthorized("the token is wrong", "read engine.json of the home again")
        if request["command"] not in self._handlers:
            raise errors.InputError(f"no command {request['command']!r}", f"one of {sorted(self._handlers)}")
        return await self._handlers[request["command"]](**request["params"])


async def send(address: Address, command: str, **params: Any) -> Any:
    """Run a command in the live engine; its errors are raised here.

    Raises Stopping when the engine did not take it, Unreachable when no answer came.
    """
    try:
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=_LINE_LIMIT)
    except OSError as exc:
        raise Stopping(f"the engine (pid {address.pid}) does not answer: {exc}", "is it stopping?") from exc
    try:
        writer.write(orjson.dumps({"token": address.token, "command": command, "params": params}) + b"\n")
        await writer.drain()
        line = await reader.readline()
    except ConnectionError:
        line = b""
    finally:
        writer.close()
    if not line:
        raise errors.Unreachable(f"the engine (pid {address.pid}) closed the connection", "look at the case, try again")
    answer = orjson.loads(line)
    if "stopping" in answer:
        raise Stopping(f"the engine (pid {address.pid}) stops", "try again in a moment")
    if "error" in answer:
        wrong = answer["error"]
        raise _TREE.get(wrong["code"], errors.InterlockError)(wrong["message"], wrong["hint"])
    return answer["value"]
