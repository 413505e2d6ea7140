"""Duplicate cases on one object: found in the commit of the start, and allowed, joined or rejected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import errors
from tests.graphs.office import Erp, buying, events, office


def about(value: Any) -> str | None:
    return f"po/{value['note']}" if value.get("note") else None


def held() -> Erp:
    """A system whose cases stay open until it is released."""
    return Erp(release=asyncio.Event())


async def let_go(erp: Erp) -> None:
    assert erp.release is not None
    erp.release.set()


async def test_a_duplicate_is_allowed_by_default_and_recorded() -> None:
    erp = held()
    async with office(buying(object=about), erp=erp) as plane:
        first = await plane.start("buying", {"note": "7"}, requester="person:ana")
        second = await plane.start("buying", {"note": "7"}, requester="person:ana")
        assert first.id != second.id
        (started,) = await events(plane, second.id, "case.started")
        assert (started["data"]["object"], started["data"]["duplicate_of"]) == ("po/7", first.id)
        (began,) = await events(plane, first.id, "case.started")
        assert began["data"]["duplicate_of"] is None
        await let_go(erp)
        assert (await plane.ledger.verify()).ok


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_of_many_starts_at_once_one_case_begins(one_by_one: bool) -> None:
    erp = held()
    async with office(buying(object=about, on_duplicate="join"), erp=erp) as plane:
        inputs = [{"note": "7", "total": total} for total in range(1, 21)]
        if one_by_one:
            found = await asyncio.gather(*(plane.start("buying", one, requester="person:ana") for one in inputs))
            ids = {case.id for case in found}
        else:
            many = await plane.start_many("buying", inputs, requester="person:ana")
            ids = {case.id for case in many if not isinstance(case, errors.InterlockError)}
        assert len(ids) == 1
        await let_go(erp)
        await plane.wait_all(ids, timeout=30)
        assert len(erp.orders) == 1
        again = await plane.start("buying", {"note": "7"}, requester="person:ana")
        assert again.id not in ids, "the object is free again when its case has ended"


async def test_a_duplicate_is_rejected_with_the_case_that_is_open() -> None:
    erp = held()
    async with office(buying(object=about, on_duplicate="reject"), erp=erp) as plane:
        first = await plane.start("buying", {"note": "7"}, requester="person:ana")
        with pytest.raises(errors.Conflict, match=first.id):
            await plane.start("buying", {"note": "7"}, requester="person:ana")
        many = await plane.start_many("buying", [{"note": "7"}, {"note": "8"}], requester="person:ana")
        assert isinstance(many[0], errors.Conflict)
        assert not isinstance(many[1], errors.InterlockError)
        assert len((await plane.cases()).items) == 2
        await let_go(erp)


async def test_other_objects_and_none_are_no_duplicates() -> None:
    async with office(buying(object=about, on_duplicate="reject"), erp=(erp := held())) as plane:
        for note in ("7", "\u0667", "7 ", "", ""):
            await plane.start("buying", {"note": note}, requester="person:ana")
        assert len((await plane.cases()).items) == 5
        await let_go(erp)


async def test_a_known_key_comes_before_the_object() -> None:
    async with office(buying(object=about, on_duplicate="reject"), erp=(erp := held())) as plane:
        first = await plane.start("buying", {"note": "7"}, key="k", requester="person:ana")
        again = await plane.start("buying", {"note": "7"}, key="k", requester="person:ana")
        assert first.id == again.id
        await let_go(erp)


@pytest.mark.parametrize("wrong", [lambda value: 7, lambda value: value["missing"]])
async def test_an_object_that_is_no_text_refuses_the_input(wrong: Any) -> None:
    async with office(buying(object=wrong)) as plane:
        with pytest.raises(errors.InputError, match="object="):
            await plane.start("buying", {}, requester="person:ana")


def test_an_unknown_answer_to_duplicates_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="on_duplicate"):
        buying(on_duplicate="ignore")
