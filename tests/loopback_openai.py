"""A loopback OpenAI-compatible server: real HTTP, scripted answers, no key, no network.

    with serve() as server:
        server.script(tool_call("search__find", {"q": "pump"}), text("done"))
        ChatOpenAI(base_url=server.url, api_key="test", model="m").invoke("hello")
        server.requests[0].body["messages"]

It is as strict as the original where code tends to be wrong: function names, unanswered tool calls, JSON mode.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = [
    "Answer",
    "LoopbackOpenAI",
    "Recorded",
    "as_json",
    "error",
    "rate_limited",
    "serve",
    "slow",
    "text",
    "tool_call",
    "tool_calls",
]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class Answer:
    """One scripted answer. `usage` is (input, output) tokens; None counts about four letters a token."""

    content: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: tuple[int, int] | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Recorded:
    """A request as it came in; `body` is the parsed JSON."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """All message contents in one string, to look for what was shown to the model."""
        return "\n".join(str(message.get("content")) for message in self.body.get("messages", []))


class Refused(Exception):
    """The request is not one that the original would take."""


def text(content: str, usage: tuple[int, int] | None = None) -> Answer:
    return Answer(content=content, usage=usage)


def as_json(value: Any, usage: tuple[int, int] | None = None) -> Answer:
    return Answer(content=json.dumps(value), usage=usage)


def tool_call(name: str, args: Any, usage: tuple[int, int] | None = None) -> Answer:
    return tool_calls((name, args), usage=usage)


def tool_calls(*calls: tuple[str, Any], usage: tuple[int, int] | None = None) -> Answer:
    """Several calls in one answer; arguments that are text are sent as they are, so they may be malformed."""
    raw = tuple((name, args if isinstance(args, str) else json.dumps(args)) for name, args in calls)
    return Answer(calls=raw, usage=usage)


def error(status: int) -> Answer:
    return Answer(content="scripted error", status=status)


def rate_limited(retry_after: float = 0.01) -> Answer:
    return Answer(content="rate limited", status=429, headers={"Retry-After": str(retry_after)})


def slow(seconds: float, content: str = "late") -> Answer:
    return Answer(content=content, delay=seconds)


class LoopbackOpenAI:
    """State of the server: the script, the requests, an optional key that callers must show."""

    def __init__(self, port: int, api_key: str | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.api_key = api_key
        self.requests: list[Recorded] = []
        self.respond: Callable[[dict[str, Any]], Answer] | None = None
        self._script: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def script(self, *answers: Answer) -> None:
        """Append answers; each chat request takes the next one."""
        self._script.extend(answers)

    @property
    def chats(self) -> list[Recorded]:
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    @property
    def left(self) -> int:
        """How many scripted answers nobody has asked for."""
        return len(self._script)

    def next(self, body: dict[str, Any]) -> Answer:
        with self._lock:
            if self._script:
                return self._script.popleft()
        if self.respond is not None:
            return self.respond(body)
        raise Refused("the script is empty: a model call was made that the test did not expect")

    def pause(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def stop(self) -> None:
        self._stopped.set()


def check(body: dict[str, Any]) -> None:
    """Raise Refused on what the original answers with 400."""
    if body.get("tools") == []:
        raise Refused("invalid 'tools': empty array, expected an array with minimum length 1")
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    names += [call["function"]["name"] for m in body["messages"] for call in m.get("tool_calls") or []]
    for name in names:
        if not _NAME.fullmatch(name):
            raise Refused(f"invalid function name {name!r}: expected [a-zA-Z0-9_-]{{1,64}}")
    if len(set(tools := names[: len(body.get("tools", []))])) < len(tools):
        raise Refused("function names are not unique")
    _check_tool_messages(body["messages"])
    _check_format(body)


def _check_tool_messages(messages: list[dict[str, Any]]) -> None:
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refused("a tool message answers no tool call before it")
            waiting.discard(message["tool_call_id"])
            continue
        if waiting:
            raise Refused(f"tool calls without an answer: {sorted(waiting)}")
        waiting = {call["id"] for call in message.get("tool_calls") or []}
    if waiting:
        raise Refused(f"tool calls without an answer: {sorted(waiting)}")


def _check_format(body: dict[str, Any]) -> None:
    wanted: dict[str, Any] = body.get("response_format") or {"type": "text"}
    match wanted["type"]:
        case "json_schema":
            schema = wanted["json_schema"]
            if not _NAME.fullmatch(schema["name"]) or schema["schema"].get("type") != "object":
                raise Refused("json_schema needs a name and a schema of type object")
        case "json_object":
            if not any("json" in str(m.get("content")).lower() for m in body["messages"]):
                raise Refused("messages must contain the word 'json' to use response_format json_object")


def completion(body: dict[str, Any], answer: Answer, number: int) -> dict[str, Any]:
    """A chat completion as the original writes it."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [
            {"id": f"call_{number}_{i}", "type": "function", "function": {"name": name, "arguments": args}}
            for i, (name, args) in enumerate(answer.calls)
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"{body['model']}-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}],
        "usage": usage(body, answer),
    }


def usage(body: dict[str, Any], answer: Answer) -> dict[str, int]:
    spoken = len(answer.content or "") + sum(len(args) for _, args in answer.calls)
    prompt, out = answer.usage or (len(json.dumps(body["messages"])) // 4, spoken // 4 + 1)
    return {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}


def chunks(body: dict[str, Any], answer: Answer, number: int) -> Iterator[dict[str, Any]]:
    """The same completion as server-sent chunks: content word by word, arguments in two halves."""
    whole = completion(body, answer, number)
    head = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for delta in _deltas(answer, number):
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(answer)}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield head | {"choices": [], "usage": whole["usage"]}


def _deltas(answer: Answer, number: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\s*\S+\s*", answer.content or ""):
        yield {"content": word}
    for i, (name, args) in enumerate(answer.calls):
        first = {"index": i, "id": f"call_{number}_{i}", "type": "function"}
        half = len(args) // 2
        yield {"tool_calls": [first | {"function": {"name": name, "arguments": args[:half]}}]}
        yield {"tool_calls": [{"index": i, "function": {"arguments": args[half:]}}]}


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def embeddings(body: dict[str, Any], size: int = 8) -> dict[str, Any]:
    """Vectors of length 1 that depend on nothing but the text (or token ids) given."""
    given = body["input"]
    inputs = given if isinstance(given, list) and not (given and isinstance(given[0], int)) else [given]
    data = []
    for i, one in enumerate(inputs):
        raw = [byte - 127.5 for byte in hashlib.sha256(json.dumps(one).encode()).digest()[:size]]
        norm = sum(x * x for x in raw) ** 0.5
        data.append({"object": "embedding", "index": i, "embedding": _encoded([x / norm for x in raw], body)})
    used = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "data": data, "model": body["model"], "usage": used}


def _encoded(vector: list[float], body: dict[str, Any]) -> list[float] | str:
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Any

    def do_POST(self) -> None:
        state: LoopbackOpenAI = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state.requests.append(Recorded(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if state.api_key is not None and self.headers["Authorization"] != f"Bearer {state.api_key}":
            self._fail(401, "incorrect API key provided")
        elif self.path.endswith("/embeddings"):
            self._json(200, embeddings(body))
        elif self.path.endswith("/chat/completions"):
            self._chat(state, body)
        else:
            self._fail(404, f"no such path {self.path}")

    def _chat(self, state: LoopbackOpenAI, body: dict[str, Any]) -> None:
        try:
            check(body)
            answer = state.next(body)
        except Refused as refused:
            return self._fail(400, str(refused))
        if answer.delay:
            state.pause(answer.delay)
        if answer.status != 200:
            return self._fail(answer.status, answer.content or "", answer.headers)
        number = len(state.requests)
        if body.get("stream"):
            return self._stream(chunks(body, answer, number))
        return self._json(200, completion(body, answer, number))

    def _fail(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._json(status, {"error": {"message": message, "type": "loopback", "code": status}}, headers)

    def _json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, content in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, content)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, parts: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self._chunk(b"data: " + json.dumps(part).encode() + b"\n\n")
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests`, not the console."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = LoopbackOpenAI(self.server_address[1])
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as one does on a time-out, is no error of the server."""

    def hang_up(self) -> None:
        for connection in list(self._open):
            self.shutdown_request(connection)


@contextmanager
def serve(api_key: str | None = None) -> Iterator[LoopbackOpenAI]:
    """Run the server on a free port in a thread of its own; usable from any event loop or process."""
    server = _Server()
    server.state.api_key = api_key
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.state.stop()
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()
