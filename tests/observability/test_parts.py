"""An export of one case or tenant proves that it is whole: whatever is left out, added, changed or swapped is found."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from interlock import errors
from interlock.observability import verify
from interlock.observability.archiving import archive
from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.verify import FIELDS, Result, check
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.sealed import START, sealer_of

Rows = list[dict[str, Any]]
PARTS = [("default", None), ("acme", None), ("default", "c1"), ("acme", "c1"), ("default", "c2")]


async def interleaved(home: Path) -> None:
    """Two tenants with cases of the same names, mixed; an erasure; events without a case; a case across seals."""
    for number in range(5):
        db = await Database.open(f"sqlite:///{home}/interlock.db")
        ledger, sealer = sealer_of(db, home)
        for turn in range(12):
            tenant, case = ("default", "acme")[turn % 2], (None, "c1", f"c{number}")[turn % 3]
            data = {"by": "person:ana", "comment": f"{number}.{turn}"}
            await ledger.record(ledger.event("case.resumed", tenant=tenant, case_id=case, data=data))
        if number == 3:
            await ledger.erase("default", case_id="c2", by="person:ana", why="asked")
        await sealer.close()
        await db.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("parts")
    asyncio.run(interleaved(made))
    return made


async def part(home: Path, tenant: str, case_id: str | None) -> Rows:
    db = await Database.open(f"sqlite:///{home}/interlock.db", read_only=True)
    try:
        ledger = Ledger(db, ManualClock(START))
        ledger.proof = Proof(home)
        return [line async for line in ledger.part(tenant, case_id)]
    finally:
        await db.close()


def checked(home: Path, rows: Rows, *, anchored: bool = True) -> Result:
    proof = Proof(home)
    return check([orjson.dumps(row) for row in rows], proof.keys(), proof.anchored() if anchored else None)


@pytest.mark.parametrize(("tenant", "case_id"), PARTS)
@pytest.mark.parametrize("anchored", [True, False])
async def test_a_part_is_proved_whole(home: Path, tenant: str, case_id: str | None, anchored: bool) -> None:
    rows = await part(home, tenant, case_id)
    own = [row for row in rows[1:] if row["type"] != "seal.made"]
    assert {row["tenant"] for row in own} == {tenant}
    assert case_id is None or {row["case_id"] for row in own} == {case_id}
    assert checked(home, rows, anchored=anchored) == (True, len(own), rows[-1]["seq"], None, "")


async def test_a_part_tells_nothing_of_others(home: Path) -> None:
    rows = await part(home, "acme", None)
    seals = [row["data"] for row in rows[1:] if row["type"] == "seal.made"]
    assert all(seal.keys() == {"seq", "hash", "key_id", "since", "parts"} for seal in seals)
    text = orjson.dumps(rows).decode()
    assert '"comment":"0.1"' in text
    assert '"comment":"0.0"' not in text
    assert "asked" not in text


async def test_a_case_that_is_not_there_is_said_to_be_missing(home: Path) -> None:
    with pytest.raises(errors.NotFound, match="no sealed event"):
        await part(home, "default", "c99")
    assert checked(home, await part(home, "nobody", None)) == (True, 0, 66, None, "")


def _dropped(rows: Rows, pick: random.Random) -> Rows:
    at = pick.randrange(1, len(rows))
    return rows[:at] + rows[at + 1 :]


def _twice(rows: Rows, pick: random.Random) -> Rows:
    at = pick.randrange(1, len(rows))
    return rows[: at + 1] + rows[at:]


def _swapped(rows: Rows, pick: random.Random) -> Rows:
    one, two = pick.sample(range(1, len(rows)), 2)
    rows[one], rows[two] = rows[two], rows[one]
    return rows


def _edited(rows: Rows, pick: random.Random) -> Rows:
    row = rows[pick.randrange(1, len(rows))]
    name = pick.choice([name for name in row if name != "salt" or row["data"] is not None])
    row[name] = pick.choice([{"x": 1}, "x", 10**6, [1], True])
    return rows


def _rehash(row: dict[str, Any]) -> None:
    row["hash"] = hashlib.sha256(
        orjson.dumps([*(row[name] for name in FIELDS), row["payload_hash"], row["prev"]])
    ).hexdigest()


def _rehashed(rows: Rows, pick: random.Random) -> Rows:
    row = rows[pick.randrange(1, len(rows))]
    row["actor"] = "person:eve"
    _rehash(row)
    return rows


def _added(rows: Rows, pick: random.Random) -> Rows:
    """An event that is sound in itself, in a gap between two others."""
    gaps = [at for at in range(2, len(rows)) if rows[at]["seq"] - rows[at - 1]["seq"] > 1]
    at = pick.choice(gaps)
    own = next(row for row in rows[1:] if row["type"] != "seal.made")
    made = {**own, "seq": rows[at - 1]["seq"] + 1}
    _rehash(made)
    return [*rows[:at], made, *rows[at:]]


def _blanked(rows: Rows, pick: random.Random) -> Rows:
    """A payload is left out as if it had been erased."""
    row = pick.choice([row for row in rows[1:] if row["data"] is not None])
    row["data"], row["salt"] = None, ""
    return rows


def _cut(rows: Rows, pick: random.Random) -> Rows:
    return rows[: pick.randrange(1, len(rows))]


def _late(rows: Rows, pick: random.Random) -> Rows:
    """The beginning is left out, up to a seal, as if the part began there."""
    seals = [at for at, row in enumerate(rows) if at and row["type"] == "seal.made"][:-1]
    own = [at for at, row in enumerate(rows) if at and row["type"] != "seal.made"]
    at = pick.choice([at for at in seals if own[0] < at])
    rows[0]["proof"]["since"] = pick.choice([0, rows[at]["seq"] - 1, rows[at]["seq"] + 1])
    return [rows[0], *rows[at + 1 :]]


def _retold(rows: Rows, pick: random.Random) -> Rows:
    """The part is called another one."""
    name, value = pick.choice([
        ("tenant", "other"), ("case_id", "c77"), ("stream", "x"), ("since", 1), ("since", "x"), ("since", 10**9),
    ])  # fmt: skip
    rows[0]["proof"][name] = value
    return rows


def _seal_and_its_events(rows: Rows, pick: random.Random) -> Rows:
    """Everything between two seals is left out together with the seal."""
    seals = [at for at, row in enumerate(rows) if at and row["type"] == "seal.made"]
    number = pick.randrange(1, len(seals))
    return [*rows[: seals[number - 1] + 1], *rows[seals[number] + 1 :]]


def _resealed(rows: Rows, pick: random.Random) -> Rows:
    """An event is dropped, and the seal changed to say so."""
    seal = next(row for row in rows[1:] if row["type"] == "seal.made")
    seal["data"]["parts"] = {name: [0, ""] for name in seal["data"]["parts"]}
    return _dropped(rows, pick)


MUTATIONS: list[Callable[[Rows, random.Random], Rows]] = [
    _dropped, _twice, _swapped, _edited, _rehashed, _added, _blanked, _cut, _late, _retold, _seal_and_its_events,
    _resealed,
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize(("tenant", "case_id"), PARTS[:4])
async def test_what_is_done_to_a_part_is_found(
    home: Path, tenant: str, case_id: str | None, mutate: Callable[[Rows, random.Random], Rows]
) -> None:
    whole = orjson.dumps(await part(home, tenant, case_id))
    for seed in range(30):
        found = checked(home, mutate(orjson.loads(whole), random.Random(seed)))
        assert not found.ok, (mutate.__name__, seed)
        assert found.why


async def test_a_part_begins_in_the_archives(home: Path, tmp_path: Path) -> None:
    await interleaved(tmp_path)
    before = await part(tmp_path, "default", "c1")
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path)
    assert (await archive(db, ledger, START + timedelta(days=1), tenant="default", by="person:ana")).events == 66
    await sealer.close()
    await db.close()
    for tenant, case_id in PARTS:
        rows = await part(tmp_path, tenant, case_id)
        assert checked(tmp_path, rows).ok, (tenant, case_id)
        if (tenant, case_id) == ("default", "c1"):
            assert rows[:-1] == before


async def test_the_verifier_checks_a_part_alone(home: Path, tmp_path: Path) -> None:
    rows = await part(home, "acme", "c1")
    alone, file = tmp_path / "alone.py", tmp_path / "part.jsonl"
    alone.write_bytes(Path(verify.__file__).read_bytes())
    command = [sys.executable, "-I", str(alone), str(file), "--anchor", str(Proof(home).anchor)]
    command += ["--key", str(next((home / "seal_keys").glob("*.pem")))]
    for kept, code in ((rows, 0), (rows[:3] + rows[4:], 1)):
        file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in kept))
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (code, "")
