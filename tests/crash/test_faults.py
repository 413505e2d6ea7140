"""Storage that fails in the middle of a case: a clear error, nothing half-written, and the same end afterwards.

The case asks at a gate, calls an idempotent, a probed and a plain tool, and gives a person a task; each of its commits
meets a full disk, a locked file and a failing device. `make test` takes one of them per commit, `make chaos` all.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from interlock import ControlPlane, errors
from interlock.graphs.engine import embedded
from tests.crash.faults import CODES, Fault, failing
from tests.crash.killable import lived, opened
from tests.crash.outside import Outside
from tests.crash.test_matrix import EFFECTS

TURNS = {"intent": 3, "outcome": 3, "checkpoint": 5, "inbox item": 2}
PLACES = [(rows, turn) for rows, last in TURNS.items() for turn in range(1, last + 1)]
KINDS = list(itertools.product(CODES, [False, True]))
SOME = [(*place, *kind) for place, kind in zip(PLACES, itertools.cycle(KINDS), strict=False)]
ALL = [(*place, *kind) for place in PLACES for kind in KINDS]
Cells = list[tuple[str, int, int, bool]]
SAMPLED = pytest.mark.parametrize("cells", [SOME, pytest.param(ALL, marks=pytest.mark.chaos)], ids=["some", "all"])


class World:
    """One home after the other, and what a case leaves that nothing disturbs."""

    def __init__(self, homes: Path) -> None:
        self._homes, self._numbers = homes, itertools.count()
        self.end: dict[str, Any] = {}

    def home(self) -> tuple[Path, Outside]:
        home = self._homes / str(next(self._numbers))
        home.mkdir()
        return home, Outside(home)


def begun(home: Path, outside: Outside) -> AbstractAsyncContextManager[ControlPlane]:
    return opened(home, "sequence", outside, lambda what: None)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(embedded, "_STORAGE_TRIES", 2)  # it waits longer from try to try
    made = World(tmp_path)
    home, outside = made.home()
    async with begun(home, outside) as plane:
        made.end = await lived(plane, outside)
    assert (made.end["status"], outside.effects()) == ("completed", EFFECTS)
    return made


def wrong(world: World, end: dict[str, Any], outside: Outside) -> Iterator[str]:
    """In what the end of a disturbed case differs; a call whose outcome was lost is asked about, if it is plain."""
    asked = Counter(end["answered"]) - Counter(world.end["answered"])
    if not asked <= Counter({("exception", "pay"): 1}):
        yield f"people were asked {asked}"
    for name in world.end.keys() - {"answered"}:
        if end[name] != world.end[name]:
            yield f"{name} is {end[name]}, not {world.end[name]}"
    if outside.effects() != EFFECTS:
        yield f"outside happened {outside.effects()}"


@SAMPLED
async def test_a_fault_that_passes_is_not_noticed(world: World, cells: Cells) -> None:
    found: dict[str, list[str]] = {}
    for rows, turn, code, in_commit in cells:
        home, outside = world.home()
        fault = Fault(rows, turn, code, in_commit, lasting=False)
        async with begun(home, outside) as plane:
            with failing(fault):
                end = await patient(plane, outside)
        assert fault.times == 1, fault
        found[str(fault)] = list(wrong(world, end, outside))
    assert {name: what for name, what in found.items() if what} == {}


async def patient(plane: ControlPlane, outside: Outside) -> dict[str, Any]:
    """Somebody who tries again what the storage has refused: a start, an answer."""
    try:
        return await lived(plane, outside)
    except errors.StorageError:
        return await lived(plane, outside)


@SAMPLED
async def test_a_fault_that_stays_stops_the_case_at_its_last_durable_step(world: World, cells: Cells) -> None:
    found: dict[str, list[str]] = {}
    for rows, turn, code, in_commit in cells:
        home, outside = world.home()
        fault = Fault(rows, turn, code, in_commit, lasting=True)
        with failing(fault):
            async with begun(home, outside) as plane:
                with pytest.raises(CODES[code]) as caught:
                    await lived(plane, outside)
        assert caught.value.hint, fault
        found[str(fault)] = list(half_written(home / "interlock.db"))
        async with begun(home, outside) as plane:
            assert (await plane.ledger.verify()).ok
            found[str(fault)] += wrong(world, await lived(plane, outside), outside)
    assert {name: what for name, what in found.items() if what} == {}


PAIRS = {
    "effects without intent": "SELECT effect_key FROM effects WHERE effect_key || ':intent:1' NOT IN"
    " (SELECT identity FROM ledger WHERE type = 'tool.intent')",
    "intents without effect": "SELECT identity FROM ledger WHERE type = 'tool.intent' AND"
    " substr(identity, 1, instr(identity, ':') - 1) NOT IN (SELECT effect_key FROM effects)",
    "outcomes untold": "SELECT effect_key FROM effects WHERE status IN ('done', 'failed') AND"
    " effect_key || ':outcome' NOT IN (SELECT identity FROM ledger WHERE type = 'tool.outcome')",
    "unknown without item": "SELECT effect_key FROM effects WHERE status = 'unknown' AND item_id NOT IN"
    " (SELECT id FROM inbox)",
    "items untold": "SELECT id FROM inbox WHERE (SELECT count(*) FROM ledger WHERE type = 'inbox.opened')"
    " != (SELECT count(*) FROM inbox)",
    "a case that ended": "SELECT case_id FROM cases WHERE status IN ('completed', 'failed', 'cancelled')",
}


def half_written(file: Path) -> Iterator[str]:
    """Rows without their events, events without their rows."""
    with closing(sqlite3.connect(file)) as connection:
        for name, sql in PAIRS.items():
            if rows := connection.execute(sql).fetchall():
                yield f"{name}: {rows}"
