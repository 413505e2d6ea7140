"""The sealer: when it seals, what it writes where, and what does not stop it."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from interlock import errors
from interlock.observability import verify
from interlock.observability.seal import Proof, rotate
from interlock.storage.database import Database
from tests.observability.sealed import checked, export, fill, make, sealer_of, verified


async def test_a_home_keeps_key_public_keys_and_anchor(tmp_path: Path) -> None:
    await make(tmp_path, rounds=2)
    proof = Proof(tmp_path)
    assert stat.S_IMODE(proof.private.stat().st_mode) == 0o600
    assert list(proof.keys()) == [proof.signer().key_id]
    assert len(verify.read_anchor(proof.anchor.read_bytes(), proof.keys())) == 2


async def test_closing_seals_nothing_twice(tmp_path: Path) -> None:
    await make(tmp_path, rounds=1)
    await make(tmp_path, rounds=1, each=0)
    assert await verified(tmp_path) == (True, 21, None, "")


async def test_old_seals_verify_after_the_key_was_changed(tmp_path: Path) -> None:
    await make(tmp_path, rounds=1)
    old = Proof(tmp_path).signer().key_id
    assert rotate(Proof(tmp_path)) != old
    await make(tmp_path, rounds=1)
    assert len(Proof(tmp_path).keys()) == 2
    assert (await verified(tmp_path)).ok


async def test_seals_come_after_so_many_events_while_the_plane_lives(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path, seal_events=5)
    await fill(ledger, 4)
    assert not await sealer._due()
    await fill(ledger, 1)
    assert await sealer._due()
    async with asyncio.timeout(30):
        while not Proof(tmp_path).anchor.exists():  # noqa: ASYNC110 - the file is all that can be seen
            await asyncio.sleep(0.05)
    await sealer.close()
    await db.close()
    assert (await verified(tmp_path)).events == 6


async def test_a_seal_that_a_crash_kept_from_the_anchor_is_added(tmp_path: Path) -> None:
    await make(tmp_path, rounds=2)
    anchor = Proof(tmp_path).anchor
    whole = anchor.read_bytes()
    anchor.write_bytes(whole[:-40])
    assert (await verified(tmp_path)).ok
    await make(tmp_path, rounds=1, each=1)
    assert (await verified(tmp_path)).ok
    assert checked(tmp_path, await export(tmp_path)).ok


async def test_the_newest_seal_goes_to_the_command_until_it_takes_it(tmp_path: Path) -> None:
    got, ready = tmp_path / "got", tmp_path / "ready"
    script = (
        f"import pathlib, sys; pathlib.Path({str(ready)!r}).read_text();"
        f"pathlib.Path({str(got)!r}).write_bytes(sys.stdin.buffer.read())"
    )
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path, seal_command=[sys.executable, "-c", script], seal_command_s=30)
    await fill(ledger, 3)
    await sealer._turn()
    assert not got.exists()
    ready.touch()
    await sealer.close()
    await db.close()
    assert got.read_bytes() == Proof(tmp_path).anchor.read_bytes()


async def test_an_anchor_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "anchor").mkdir()
    db = await Database.open(f"sqlite:///{tmp_path}/interlock.db")
    ledger, sealer = sealer_of(db, tmp_path, anchor_file=tmp_path / "anchor")
    await fill(ledger, 3)
    await sealer.close()
    assert [event["type"] async for event in ledger.export()][-1] == "seal.made"
    await db.close()


async def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    await make(tmp_path, rounds=1)
    Proof(tmp_path).private.chmod(0o644)
    with pytest.raises(errors.ConfigurationError, match="read by others"):
        Proof(tmp_path).signer()


async def test_the_verifier_runs_alone(tmp_path: Path) -> None:
    await make(tmp_path, rounds=2)
    lines = [line + b"\n" for line in await export(tmp_path)]
    alone, rows = tmp_path / "alone.py", tmp_path / "rows.jsonl"
    alone.write_bytes(Path(verify.__file__).read_bytes())
    public = next((tmp_path / "seal_keys").glob("*.pem"))
    command = [sys.executable, "-I", str(alone), str(rows), "--key", str(public)]
    command += ["--anchor", str(tmp_path / "anchor.jsonl")]
    for kept, code, said in ((lines, 0, "42 events, verified"), (lines[:-21], 1, "BROKEN at event 22")):
        rows.write_bytes(b"".join(kept))
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (code, "")
        assert ended.stdout.startswith(said)
