"""Encryption at rest, and the allow-list of types that are loaded."""

from __future__ import annotations

import hashlib
import operator
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from interlock import errors
from interlock.storage.checkpoints import Checkpoints, strict_serializer
from interlock.storage.database import Database, Reader


class State(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]
    answer: str


class Note(BaseModel):
    text: str


def thread(name: str = "t", **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": name, **more}}


def sync_graph() -> Any:
    graph: Any = StateGraph(State)
    graph.add_node("one", lambda _: {"seen": [1]})
    graph.add_node("two", lambda _: {"seen": [2], "answer": interrupt("sure?")})
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    return graph


# encryption


class Keyed:
    """A stream of digests with a checksum: enough to tell plain from encrypted, and one key from another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "test", self._sum(plaintext) + self._mask(plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        plaintext = self._mask(ciphertext[32:])
        if ciphername != "test" or self._sum(plaintext) != ciphertext[:32]:
            raise ValueError("not of this key")
        return plaintext

    def _sum(self, data: bytes) -> bytes:
        return hashlib.sha256(self._key + data).digest()

    def _mask(self, data: bytes) -> bytes:
        blocks = (hashlib.sha256(self._key + n.to_bytes(8)).digest() for n in range(len(data) // 32 + 1))
        return bytes(a ^ b for a, b in zip(data, b"".join(blocks), strict=False))


@pytest.fixture
async def encrypted(db: Database) -> AsyncIterator[Checkpoints]:
    yield Checkpoints(db, serde=strict_serializer(allow=[Note], cipher=Keyed(b"k" * 32)))


async def test_values_are_encrypted_at_rest(db: Database, encrypted: Checkpoints) -> None:
    graph = sync_graph().compile(encrypted)
    await graph.ainvoke({"seen": ["very secret", Note(text="also secret")]}, thread(), durability="sync")
    assert (await graph.aget_state(thread())).values["seen"] == ["very secret", Note(text="also secret"), 1]

    def blobs(reader: Reader) -> bytes:
        rows = reader.rows("SELECT checkpoint AS b FROM checkpoints UNION ALL SELECT value FROM writes")
        return b"".join(row["b"] for row in rows)

    stored = await db.read(blobs)
    assert len(stored) > 1000
    assert b"secret" not in stored
    kinds = await db.read(lambda reader: reader.rows("SELECT type FROM checkpoints UNION SELECT type FROM writes"))
    assert all(row["type"].endswith("+test") for row in kinds)


async def test_a_wrong_key_or_a_changed_value_is_a_clear_error(db: Database, encrypted: Checkpoints) -> None:
    await encrypted.aput(thread(), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    with pytest.raises(errors.StorageError, match="cannot be read") as caught:
        await Checkpoints(db, serde=strict_serializer(cipher=Keyed(b"x" * 32))).aget_tuple(thread())
    assert "key" in caught.value.hint
    with pytest.raises(errors.StorageError):
        await Checkpoints(db).aget_tuple(thread())
    await db.commit(lambda tx: tx.execute("UPDATE checkpoints SET checkpoint = checkpoint || x'00'"))
    with pytest.raises(errors.StorageError):
        await encrypted.aget_tuple(thread())


# the allow-list


@pytest.mark.parametrize(
    "serde",
    [
        JsonPlusSerializer(allowed_msgpack_modules=True),
        JsonPlusSerializer(pickle_fallback=True, allowed_msgpack_modules=None),
        EncryptedSerializer(Keyed(b"k" * 32), JsonPlusSerializer(allowed_msgpack_modules=True)),
    ],
)
def test_a_serializer_that_loads_anything_is_refused(db: Database, serde: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="loads any type") as caught:
        Checkpoints(db, serde=serde)
    assert "strict_serializer" in caught.value.hint


async def test_types_are_loaded_only_when_they_are_allowed(db: Database, saver: Checkpoints) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"note": Note(text="x")}
    await saver.aput(thread(), checkpoint, {"source": "loop", "step": 0}, {})
    by_name = Checkpoints(db, serde=strict_serializer(allow=[(Note.__module__, "Note")]))
    by_class = Checkpoints(db, serde=strict_serializer(allow=[Note]))
    later = saver.with_allowlist([(Note.__module__, "Note")])
    assert isinstance(later, Checkpoints)
    assert saver.with_allowlist([]) is saver
    for one, expected in (
        (by_name, Note(text="x")),
        (by_class, Note(text="x")),
        (later, Note(text="x")),
        (saver, {"text": "x"}),
    ):
        found = await one.aget_tuple(thread())
        assert found is not None
        assert found.checkpoint["channel_values"]["note"] == expected


_STRICT = """
import asyncio
import langgraph.checkpoint.serde.jsonplus
from langgraph.checkpoint.base import empty_checkpoint
from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database

class Evil:
    def __init__(self, **kwargs): print("EVIL", flush=True)
    def model_dump(self): return {"a": 1}

async def main():
    db = await Database.open(":memory:")
    saver, config = Checkpoints(db), {"configurable": {"thread_id": "t"}}
    checkpoint = empty_checkpoint()
    evil = Evil.__new__(Evil)
    checkpoint["channel_values"] = {"evil": evil, "plain": 1}
    await saver.aput(config, checkpoint, {}, {})
    found = await saver.aget_tuple(config)
    print(type(found.checkpoint["channel_values"]["evil"]).__name__)
    await db.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("strict", [None, "false"])
def test_the_list_is_strict_although_langgraph_was_imported_first(strict: str | None) -> None:
    environment = {"LANGGRAPH_STRICT_MSGPACK": strict} if strict else {}
    command = [sys.executable, "-c", _STRICT]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "dict\n", ran.stderr
