"""Whatever is done to a sealed ledger at random is found: in the database, in an export, in the anchor."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.observability.seal import Proof, Signer
from tests.observability.sealed import change, checked, copied, export, make, recompute, verified

MUTANTS = 12
Rows = sqlite3.Connection


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sealed")
    asyncio.run(make(home))
    return home


def last(other: Rows) -> int:
    found: int = other.execute("SELECT max(seq) FROM ledger").fetchone()[0]
    return found


def some(other: Rows, pick: random.Random) -> int:
    return pick.randint(1, last(other))


def edit(other: Rows, pick: random.Random) -> None:
    column = pick.choice(["at", "type", "actor", "case_id", "identity", "tenant", "hash", "prev", "payload_hash"])
    other.execute(f"UPDATE ledger SET {column} = ? WHERE seq = ?", (f"x{pick.random()}", some(other, pick)))


def delete(other: Rows, pick: random.Random) -> None:
    other.execute("DELETE FROM ledger WHERE seq = ?", (some(other, pick),))


def reorder(other: Rows, pick: random.Random) -> None:
    one, two = pick.sample(range(1, last(other) + 1), 2)
    for old, new in ((one, -1), (two, one), (-1, two)):
        other.execute("UPDATE ledger SET seq = ? WHERE seq = ?", (new, old))


def reorder_and_recompute(other: Rows, pick: random.Random) -> None:
    reorder(other, pick)
    recompute(other, 1)


def truncate(other: Rows, pick: random.Random) -> None:
    """The end is cut off and the recorded head set back, as if nothing had come."""
    keep = last(other) - pick.choice([1, 2, 5, 100])
    other.execute("DELETE FROM ledger WHERE seq > ?", (keep,))
    other.execute("DELETE FROM seals WHERE seq > ?", (keep,))
    other.execute("UPDATE heads SET (seq, hash) = (SELECT seq, hash FROM ledger WHERE seq = ?)", (keep,))


def empty(other: Rows, pick: random.Random) -> None:
    for table in ("ledger", "heads", "payloads", "seals")[: pick.randint(3, 4)]:
        other.execute(f"DELETE FROM {table}")


def rewrite(other: Rows, pick: random.Random) -> None:
    """An event is edited and the whole chain computed anew, so that the chain itself is sound."""
    seq = some(other, pick)
    other.execute("UPDATE ledger SET actor = 'person:eve' WHERE seq = ?", (seq,))
    recompute(other, seq)


def rewrite_payload(other: Rows, pick: random.Random) -> None:
    seq, salt = some(other, pick), b"\0" * 16
    data = orjson.dumps({"by": "person:eve"})
    other.execute("UPDATE ledger SET payload_hash = 'new' WHERE seq = ?", (seq,))
    other.execute("INSERT INTO payloads (tenant, hash, salt, data) VALUES ('default', 'new', ?, ?)", (salt, data))
    recompute(other, seq)


def rewrite_and_sign(other: Rows, pick: random.Random) -> None:
    """The chain computed anew, and sealed with a key of one's own, under a name of one's own or the right one."""
    rewrite(other, pick)
    own = Ed25519PrivateKey.generate()
    for stream, seq, link, at, name in other.execute("SELECT stream, seq, hash, at, key_id FROM seals").fetchall():
        seal = Signer(own, pick.choice([name, "0" * 16])).seal(stream, seq, link, at)
        other.execute("UPDATE seals SET key_id = ?, signature = ? WHERE seq = ?", (seal.key_id, seal.signature, seq))


def insert(other: Rows, pick: random.Random) -> None:
    """A copy of an event at the end, properly chained."""
    end = last(other)
    other.execute(
        "INSERT INTO ledger SELECT tenant, stream, ?, at, type, schema_version, case_id, actor, payload_hash, NULL,"
        " prev, hash FROM ledger WHERE seq = ?",
        (end + 1, pick.randint(1, end)),
    )
    if pick.random() < 0.5:
        other.execute("UPDATE ledger SET seq = -seq")
        other.execute("UPDATE ledger SET seq = 1 - seq")
        recompute(other, 2)


def seals(other: Rows, pick: random.Random) -> None:
    known = [row[0] for row in other.execute("SELECT seq FROM seals")]
    if pick.random() < 0.4:
        other.execute("DELETE FROM seals WHERE seq = ?", (pick.choice(known),))
    else:
        column = pick.choice(["hash", "at", "key_id", "signature", "stream", "seq"])
        other.execute(f"UPDATE seals SET {column} = ? WHERE seq = ?", (pick.choice(["x", 3, ""]), pick.choice(known)))


def heads(other: Rows, pick: random.Random) -> None:
    column, value = pick.choice([("hash", "x"), ("seq", 3), ("seq", 10**6), ("hash", None), ("seq", None)])
    other.execute(f"UPDATE heads SET {column} = ?", (value,))


def payloads(other: Rows, pick: random.Random) -> None:
    kept = "(SELECT payload_hash FROM ledger WHERE seq = ?) AND data IS NOT NULL"
    sql = pick.choice([
        f"UPDATE payloads SET data = x'7b7d' WHERE hash = {kept}",
        f"UPDATE payloads SET data = NULL WHERE hash = {kept}",
        f"UPDATE payloads SET data = NULL, erased_at = 'now' WHERE hash = {kept}",
        f"UPDATE payloads SET salt = x'00' WHERE hash = {kept}",
        f"DELETE FROM payloads WHERE hash = {kept}",
    ])  # fmt: skip
    while not other.execute(sql, (some(other, pick),)).rowcount:
        pass


DATABASE: list[Callable[[Rows, random.Random], None]] = [
    edit, delete, reorder, reorder_and_recompute, truncate, empty, rewrite, rewrite_payload, rewrite_and_sign, insert,
    seals, heads, payloads,
]  # fmt: skip


def _mutated(mutate: Callable[[Rows, random.Random], None], seed: int, other: Rows) -> None:
    mutate(other, random.Random(seed))


@pytest.mark.parametrize("mutate", DATABASE, ids=lambda one: one.__name__)
async def test_what_is_done_to_the_database_is_found(
    sealed: Path, tmp_path: Path, mutate: Callable[[Rows, random.Random], None]
) -> None:
    for seed in range(MUTANTS):
        home = copied(sealed, tmp_path / "home")
        change(home, partial(_mutated, mutate, seed))
        report = await verified(home)
        assert not report.ok, (mutate.__name__, seed)
        assert report.first_bad is not None
        assert report.why


async def test_the_sealed_ledger_itself_is_sound(sealed: Path) -> None:
    count = 6 * 21 + 1
    assert await verified(sealed) == (True, count, None, "")
    assert checked(sealed, await export(sealed)) == (True, count, count, None, "")


def _without(rows: list[bytes], at: int) -> list[bytes]:
    return rows[:at] + rows[at + 1 :]


def _twice(rows: list[bytes], at: int) -> list[bytes]:
    return rows[: at + 1] + rows[at:]


def _swapped(rows: list[bytes], one: int, two: int) -> list[bytes]:
    rows = list(rows)
    rows[one], rows[two] = rows[two], rows[one]
    return rows


def _edited(rows: list[bytes], pick: random.Random) -> list[bytes]:
    at = pick.randrange(len(rows))
    row = orjson.loads(rows[at])
    field = pick.choice([name for name in row if name != "salt" or row["data"] is not None])
    row[field] = pick.choice([{"x": 1}, "x", 10**6, [1], True])
    return [*rows[:at], orjson.dumps(row), *rows[at + 1 :]]


def _byte(rows: list[bytes], pick: random.Random) -> list[bytes]:
    """One character of a value is another one; what JSON reads the same is no change."""
    while True:
        at = pick.randrange(len(rows))
        line = bytearray(rows[at])
        line[pick.randrange(len(line))] = pick.randrange(32, 127)
        if bytes(line) != rows[at] and _other(bytes(line), rows[at]):
            return [*rows[:at], bytes(line), *rows[at + 1 :]]


def _other(line: bytes, before: bytes) -> bool:
    try:
        read, was = orjson.loads(line), orjson.loads(before)
    except ValueError:
        return True
    erased = was["data"] is None  # its salt is empty, and nothing rests on it
    return bool(read != was) and not (erased and read | {"salt": ""} == was)


LINES: dict[str, Callable[[list[bytes], random.Random], list[bytes]]] = {
    "drop": lambda rows, pick: _without(rows, pick.randrange(len(rows))),
    "last hundred": lambda rows, pick: rows[:-100],
    "truncate": lambda rows, pick: rows[: pick.randrange(len(rows))],
    "first": lambda rows, pick: rows[pick.randint(1, len(rows) - 1) :],
    "twice": lambda rows, pick: _twice(rows, pick.randrange(len(rows))),
    "swap": lambda rows, pick: _swapped(rows, *pick.sample(range(len(rows)), 2)),
    "edit": _edited,
    "byte": _byte,
}


@pytest.mark.parametrize("name", LINES)
async def test_what_is_done_to_an_export_is_found(sealed: Path, name: str) -> None:
    lines = await export(sealed)
    for seed in range(MUTANTS * 5):
        pick = random.Random(f"{name} {seed}")
        assert not checked(sealed, LINES[name](lines, pick)).ok, (name, seed)


@pytest.mark.parametrize("seed", range(MUTANTS))
async def test_an_export_whose_chain_was_computed_anew_is_found(sealed: Path, tmp_path: Path, seed: int) -> None:
    home = copied(sealed, tmp_path / "home")
    change(home, lambda other: rewrite(other, random.Random(seed)))
    assert not checked(home, await export(home)).ok


def _anchor_byte(rows: list[bytes], pick: random.Random) -> list[bytes]:
    at = pick.randrange(len(rows))
    line = bytearray(rows[at])
    place = pick.randrange(len(line))
    line[place] = pick.choice([c for c in range(33, 127) if c != line[place]])
    return [*rows[:at], bytes(line), *rows[at + 1 :]]


ANCHORS: dict[str, Callable[[list[bytes], random.Random], list[bytes]]] = {
    "drop": lambda rows, pick: _without(rows, pick.randrange(len(rows) - 1)),
    "none": lambda rows, pick: [],
    "swap": lambda rows, pick: _swapped(rows, *pick.sample(range(len(rows)), 2)),
    "twice": lambda rows, pick: _twice(rows, pick.randrange(len(rows))),
    "byte": _anchor_byte,
    "cut": lambda rows, pick: rows[: pick.randint(1, len(rows) - 2)],
}


@pytest.mark.parametrize("name", ANCHORS)
async def test_what_is_done_to_the_anchor_is_found(sealed: Path, tmp_path: Path, name: str) -> None:
    for seed in range(MUTANTS):
        home = copied(sealed, tmp_path / "home")
        anchor = Proof(home).anchor
        lines = ANCHORS[name](anchor.read_bytes().split(b"\n")[:-1], random.Random(f"{name} {seed}"))
        anchor.write_bytes(b"".join(line + b"\n" for line in lines))
        assert not (await verified(home)).ok, (name, seed)
