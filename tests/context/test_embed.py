"""The models: the offline one as measured, and any OpenAI-compatible endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from interlock import errors
from interlock.context import embed
from interlock.context.embed import MiniLM, QueryMemory, Remote, embedder_of
from interlock.settings import Settings

from .conftest import WordModel


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


def test_vectors_are_unit_and_near_for_near_meanings(minilm: MiniLM) -> None:
    vectors = minilm.embed(
        ["The pump is leaking oil.", "Lubricant escapes from the pump.", "Invoices are paid on Friday."]
    )

    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_a_vector_does_not_depend_on_its_neighbours_or_threads(minilm: MiniLM) -> None:
    texts = [f"text {n} " + "words " * n for n in range(8)]
    alone = [minilm.embed([text])[0] for text in texts]
    found: list[embed.Vectors] = []
    threads = [threading.Thread(target=lambda: found.append(minilm.embed(texts))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 3
    assert all(np.array_equal(vectors, alone) for vectors in found)


def test_256_tokens_are_read(minilm: MiniLM) -> None:
    first, same, longer = minilm.embed(["pump " * 200 + "x", "pump " * 200 + "zebra", "pump " * 400 + "zebra"])

    assert not np.array_equal(first, same)
    assert np.array_equal(longer, minilm.embed(["pump " * 300])[0])


def test_a_changed_or_missing_model_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_TOKENIZER", (*embed._TOKENIZER[:2], "0" * 64))
    with pytest.raises(errors.ConfigurationError, match="is not the file this version knows"):
        MiniLM()
    monkeypatch.setattr(embed, "_TOKENIZER", ("no_such_package", "x", ""))
    with pytest.raises(errors.ConfigurationError, match="not installed"):
        MiniLM()


def test_a_query_is_embedded_once() -> None:
    model = WordModel()
    memory = QueryMemory(model, size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        memory.vector(text)

    assert model.seen == ["a", "b", "c", "b"]


def settings(**changed: object) -> Settings:
    return Settings.load().model_copy(update=changed)


Answer = Callable[[httpx.Request], httpx.Response]


def remote(answer: Answer, **more: object) -> Remote:
    return Remote(
        "small", settings(base_url="http://models.test/v1", model_retries=1, **more), httpx.MockTransport(answer)
    )


def test_the_endpoint_is_asked_as_openai_says() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        data = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]
        return httpx.Response(200, json={"data": data})

    vectors = remote(answer, api_key=SecretStr("k")).embed(["a", "b"])

    assert vectors.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 1]]
    assert str(asked[0].url) == "http://models.test/v1/embeddings"
    assert asked[0].headers["authorization"] == "Bearer k"
    assert b'"model":"small"' in asked[0].content


def test_many_texts_go_in_batches() -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        size = request.content.count(b'"t"')
        sizes.append(size)
        return httpx.Response(200, json={"data": [{"index": n, "embedding": [1, n]} for n in range(size)]})

    assert remote(answer).embed(["t"] * 130).shape == (130, 2)
    assert sizes == [64, 64, 2]


def test_a_busy_endpoint_is_asked_again() -> None:
    answers = [httpx.Response(429), httpx.Response(200, json={"data": [{"index": 0, "embedding": [1, 0]}]})]

    assert remote(lambda _: answers.pop(0)).embed(["a"]).tolist() == [[1, 0]]


BROKEN = [
    httpx.Response(401, json={"error": "no"}),
    httpx.Response(503),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json={"data": []}),
    httpx.Response(200, json={"data": [{"index": 0, "embedding": "x"}]}),
    httpx.Response(200, json=["?"]),
]


@pytest.mark.parametrize("response", BROKEN)
def test_an_endpoint_that_fails_is_unreachable(response: httpx.Response) -> None:
    with pytest.raises(errors.Unreachable, match="embeddings endpoint failed"):
        remote(lambda _: response).embed(["a"])


def test_the_setting_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert embedder_of(settings()).name == "all-minilm-l6-v2-int8"
    named = embedder_of(settings(embeddings="openai:small", base_url="http://x/v1"))
    assert named.name == "openai:small@http://x/v1"
    named.close()
    for setting in ("openai:", "other", ""):
        with pytest.raises(errors.ConfigurationError, match="no embedding model"):
            embedder_of(settings(embeddings=setting))
    with pytest.raises(errors.ConfigurationError, match="no key"):
        embedder_of(settings(embeddings="openai:small"))
