"""A clear no to a repetition says nothing of the try before, which may have acted: nothing is called failed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from interlock.oversight.inbox import Decision
from interlock.tools.contract import DidNotHappen, Happened, Unsure
from tests.tools.plant import Plant, bank, plant

CLEAR: list[Callable[[], Exception]] = [lambda: ValueError("no"), lambda: ConnectionRefusedError("away")]


def before(failure: Exception) -> Exception:
    """Raised before the tool acts."""
    vars(failure)["before"] = True
    return failure


async def spent(one: Plant) -> dict[str, int]:
    sql = "SELECT sum(reserved) AS reserved, sum(settled) AS settled FROM limits WHERE bucket = 'requester/person:ana'"
    found = await one.db.read(lambda tx: tx.row(sql + " AND period LIKE '____-__-__'"))
    return dict(found) if found is not None else {}


@pytest.mark.parametrize("no", CLEAR)
async def test_it_acts_without_an_answer_and_the_next_try_is_refused(no: Callable[[], Exception]) -> None:
    async with plant(tool_retries=1) as one:
        bank(one, idempotent=True)
        await one.case()
        one.world.fail = [TimeoutError(), before(no())]
        result = await one.pay()
        assert (result.status, one.world.done.total()) == ("unknown", 1)
        assert await spent(one) == {"reserved": 100, "settled": 0}
        (item,) = (await one.inbox.list()).items
        await one.inbox.decide(item.id, Decision.respond("seen in the books"), by="person:op")
        assert (await one.pay()).value == "seen in the books"
        assert (await spent(one), one.world.done.total()) == ({"reserved": 0, "settled": 100}, 1)


@pytest.mark.parametrize("no", CLEAR)
async def test_after_a_crash_the_repetition_is_refused(no: Callable[[], Exception]) -> None:
    async with plant(tool_retries=0) as one:
        bank(one, idempotent=True)
        await one.case()
        await one.crash()
        one.world.fail = [before(no())]
        result = await one.pay()
        assert (result.status, len((await one.inbox.list()).items)) == ("unknown", 1)
        assert await spent(one) == {"reserved": 100, "settled": 0}


@pytest.mark.parametrize(("said", "status"), [(Happened("seen"), "done"), (DidNotHappen(), "failed")])
async def test_a_probe_ends_the_doubt(said: Any, status: str) -> None:
    async with plant(tool_retries=0) as one:
        bank(one, idempotent=True, reconcile=lambda args, ctx: said)
        await one.case()
        await one.crash()
        one.world.fail = [before(ValueError("no"))]
        result = await one.pay()
        assert (result.status, (await one.effect(result))["by"]) == (status, "reconciled")


async def test_whoever_says_that_it_did_not_happen_ends_the_doubt() -> None:
    async with plant(tool_retries=0) as one:
        bank(one, idempotent=True, reconcile=lambda args, ctx: Unsure())
        await one.case()
        await one.crash()
        one.world.fail = [before(ValueError("no"))]
        assert (await one.pay()).status == "unknown"
        (item,) = (await one.inbox.list()).items
        await one.inbox.decide(item.id, Decision.approve(), by="person:op")
        one.world.fail = [before(ValueError("no"))]
        assert (await one.pay()).status == "failed"
        assert await spent(one) == {"reserved": 0, "settled": 0}


@pytest.mark.parametrize("no", CLEAR)
async def test_a_clear_no_to_the_first_try_is_a_failure(no: Callable[[], Exception]) -> None:
    async with plant(tool_retries=1) as one:
        bank(one, idempotent=True)
        await one.case()
        one.world.fail = [before(no()), before(no())]
        assert (await one.pay()).status == "failed"
