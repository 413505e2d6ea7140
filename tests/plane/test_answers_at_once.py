"""Answers from several processes at once: every item has one, every case ends once, every effect happens once."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from interlock import Decision, errors
from tests.graphs.office import Erp, events, office
from tests.graphs.test_parallel import forked

CASES = 50
ANSWERER = Path(__file__).parent / "answerer.py"


async def answers(home: Path, by: str, seed: int, ids: list[str]) -> list[str]:
    """What a process of its own says about each of these items."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ANSWERER), str(home), by, str(seed), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(" ".join(ids).encode())
    assert process.returncode == 0
    return out.decode().split()


async def test_two_parallel_approvals_answered_in_fifty_orders_from_two_processes(tmp_path: Path) -> None:
    erp, home = Erp(), tmp_path / "home"
    async with office(forked(500_000, 400_000), erp=erp, url=f"sqlite:///{home / 'interlock.db'}") as plane:
        cases = await plane.start_many("forked", [{}] * CASES, requester="person:ana")
        ids = [case.id for case in cases if not isinstance(case, errors.InterlockError)]
        await plane.wait_all(ids, until="settled", timeout=60)
        items = [item.id for item in (await plane.approvals.list(limit=1000)).items]
        assert len(items) == 2 * CASES
        told = await asyncio.gather(
            *(answers(home, by, seed, items) for seed, by in enumerate(["person:bo", "person:cy"]))
        )
        ended = await plane.wait_all(ids, until="ended", timeout=60)
        assert Counter(case.status for case in ended) == {"completed": CASES}
        assert Counter(one for said in told for one in said) == {"decided": 2 * CASES, "already_decided": 2 * CASES}
        assert Counter(erp.orders) == {("west", 500_000): CASES, ("east", 400_000): CASES}
        assert all(sorted(case.values["log"]) == ["east", "join 2", "west"] for case in ended)
        kinds = Counter(event["type"] for event in await events(plane))
        assert (kinds["inbox.decided"], kinds["case.completed"], kinds["tool.outcome"]) == (2 * CASES, CASES, 2 * CASES)
        assert (await plane.ledger.verify()).ok


async def test_many_are_answered_one_by_one_and_each_refusal_is_its_own(tmp_path: Path) -> None:
    erp = Erp()
    async with office(forked(500_000, 900_000), erp=erp) as plane:  # bo's limit is 500,000
        cases = [await plane.start("forked", {}, requester=by) for by in ("person:ana", "person:bo")]
        await plane.wait_all([case.id for case in cases], until="settled", timeout=30)
        items = [item.id for item in (await plane.approvals.list()).items]
        wanted = [*items, "nothing", items[0], cases[0].id]
        told = await plane.approvals.decide_many(wanted, Decision.approve(), by="person:bo", comment="in bulk")
        assert len(told) == len(items) + 2
        good = [one for one in told if not isinstance(one, errors.InterlockError)]
        codes = Counter(one.code for one in told if isinstance(one, errors.InterlockError))
        assert [(one.money["amount"], one.requester, one.comment) for one in good] == [
            (500_000, "person:ana", "in bulk")
        ]
        assert codes == {"not_authorized": 3, "not_found": 2}
        again = await plane.approvals.decide_many(items, Decision.approve(), by="person:cy")
        assert [getattr(one, "code", "") for one in again].count("already_decided") == 1
        ended = await plane.wait_all([case.id for case in cases], until="ended", timeout=30)
        assert [case.status for case in ended] == ["completed", "completed"]
        decided = await events(plane, None, "inbox.decided")
        assert Counter(event["actor"] for event in decided) == {"person:bo": 1, "person:cy": 3}
        assert len(erp.orders) == 4
