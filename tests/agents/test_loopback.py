"""The loopback server behaves as the original does where our code could be wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.loopback_openai import LoopbackOpenAI, as_json, error, rate_limited, serve, text, tool_call, tool_calls

HELLO = {"role": "user", "content": "hello"}


@pytest.fixture
async def http(server: LoopbackOpenAI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url) as client:
        yield client


async def ask(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/chat/completions", json={"model": "m", "messages": [HELLO], **body})


async def test_answers_come_in_the_order_of_the_script(server: LoopbackOpenAI, http: httpx.AsyncClient) -> None:
    server.script(text("one", usage=(3, 4)), as_json({"two": 2}))
    first, second = (await ask(http)).json(), (await ask(http)).json()
    assert first["choices"][0]["message"]["content"] == "one"
    assert first["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert second["choices"][0]["message"]["content"] == '{"two": 2}'
    assert [request.body["model"] for request in server.chats] == ["m", "m"]
    assert server.left == 0


async def test_an_unexpected_call_is_refused(server: LoopbackOpenAI, http: httpx.AsyncClient) -> None:
    refused = await ask(http)
    assert refused.status_code == 400
    assert "script is empty" in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", ["erp.create_po", "", "x" * 65, "größe", "a b"])
async def test_function_names_outside_the_pattern_are_refused(
    server: LoopbackOpenAI, http: httpx.AsyncClient, name: str
) -> None:
    server.script(text("never"))
    refused = await ask(http, tools=[{"type": "function", "function": {"name": name, "parameters": {}}}])
    assert refused.status_code == 400
    assert "invalid function name" in refused.json()["error"]["message"]
    assert server.left == 1


async def test_tool_calls_must_be_answered(server: LoopbackOpenAI, http: httpx.AsyncClient) -> None:
    server.script(tool_calls(("a", {"x": 1}), ("b", "{not json")))
    message = (await ask(http)).json()["choices"][0]["message"]
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"x": 1}', "{not json"]
    one = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "ok"}
    refused = await ask(http, messages=[HELLO, message, one])
    assert refused.status_code == 400
    assert "without an answer" in refused.json()["error"]["message"]


async def test_json_mode_wants_the_word_and_schemas_want_an_object(http: httpx.AsyncClient) -> None:
    wordless = await ask(http, response_format={"type": "json_object"})
    schema = {"name": "n", "schema": {"type": "array"}}
    shapeless = await ask(http, response_format={"type": "json_schema", "json_schema": schema})
    assert (wordless.status_code, shapeless.status_code) == (400, 400)


async def test_streams_in_pieces_and_reports_usage_only_when_asked(
    server: LoopbackOpenAI, http: httpx.AsyncClient
) -> None:
    server.script(text("one two three"), tool_call("f", {"x": 1}))
    plain = await ask(http, stream=True)
    assert plain.text.count("data: ") >= 5
    assert plain.text.endswith("data: [DONE]\n\n")
    assert "usage" not in plain.text
    counted = await ask(http, stream=True, stream_options={"include_usage": True})
    assert '"usage"' in counted.text
    assert '"name": "f"' in counted.text


async def test_scripted_errors_and_keys(http: httpx.AsyncClient, server: LoopbackOpenAI) -> None:
    server.script(error(503), rate_limited(2))
    assert (await ask(http)).status_code == 503
    limited = await ask(http)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
    with serve(api_key="right") as guarded, httpx.Client(base_url=guarded.url) as client:
        guarded.script(text("in"))
        body = {"model": "m", "messages": [HELLO]}
        assert client.post("/chat/completions", json=body).status_code == 401
        right = client.post("/chat/completions", json=body, headers={"Authorization": "Bearer right"})
        assert right.status_code == 200


async def test_embeddings_depend_on_the_text_alone(http: httpx.AsyncClient) -> None:
    async def embed(**body: Any) -> list[Any]:
        answer = await http.post("/embeddings", json={"model": "e", **body})
        return [row["embedding"] for row in answer.json()["data"]]

    one, other = await embed(input=["pump", "valve"])
    assert [one] == await embed(input="pump")
    assert one != other
    assert sum(x * x for x in one) == pytest.approx(1.0)
    assert isinstance((await embed(input="pump", encoding_format="base64"))[0], str)
