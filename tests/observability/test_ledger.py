"""The ledger: what is written, exported and erased."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.observability.events import EVENTS
from interlock.observability.ledger import Ledger
from interlock.storage.chain import GENESIS
from interlock.storage.claim import CLAIM, Claim
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.observability.chain import START, exported, filled, said, tamper

PAYLOAD_5 = "(SELECT payload_hash FROM ledger WHERE seq = 5)"


# writing


def test_the_list_of_events_is_that_of_the_api() -> None:
    api = """
        case.started/completed/failed/cancelled/paused/resumed/forked/migrated task.routed/started/finished
        context.retrieved/ingested model.called policy.decided/shadowed tool.intent/outcome
        inbox.opened/claimed/delegated/decided/completed/expired/escalated lease.taken/released
        limit.reserved/settled/released system.opened/closed switch.set policy.loaded actor.registered
        autonomy.changed access.denied payload.erased seal.made
        ledger.archived
    """
    pairs = [name.partition(".") for name in api.split()]
    assert set(EVENTS) == {f"{subject}.{verb}" for subject, _, verbs in pairs for verb in verbs.split("/")}
    assert all(kind.schema_version >= 1 and kind.keys for kind in EVENTS.values())


@pytest.mark.parametrize("type_", ["", "case", "case.Started", "case.started ", "tool.unknown"])
def test_an_event_outside_the_list_is_refused(ledger: Ledger, type_: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="no ledger event"):
        ledger.event(type_, tenant="default")


@pytest.mark.parametrize("type_", sorted(EVENTS))
def test_every_key_of_an_event_must_be_there_and_may_be_null(ledger: Ledger, type_: str) -> None:
    whole = dict.fromkeys(EVENTS[type_].keys)
    event = ledger.event(type_, tenant="default", data={**whole, "more": 1})
    assert event.schema_version == EVENTS[type_].schema_version
    for key in whole:
        with pytest.raises(errors.ConfigurationError, match=key):
            ledger.event(type_, tenant="default", data={k: v for k, v in whole.items() if k != key})


@pytest.mark.parametrize("header", [{"tenant": 5}, {"actor": 5}, {"actor": None}, {"case_id": 5}, {"tenant": b"west"}])
def test_a_header_that_is_no_text_is_refused_before_it_breaks_the_chain(ledger: Ledger, header: dict[str, Any]) -> None:
    """The database would give back another value than the one that was hashed."""
    told: dict[str, Any] = {"tenant": "default", "data": dict.fromkeys(EVENTS["case.resumed"].keys), **header}
    with pytest.raises(errors.InputError, match="no text"):
        ledger.event("case.resumed", **told)


@pytest.mark.parametrize("value", [object(), {1, 2}, {1: "a"}, 2**64, "\ud800", b"bytes"])
def test_what_json_cannot_say_is_refused_before_anything_is_written(ledger: Ledger, value: object) -> None:
    with pytest.raises(errors.InputError, match="JSON"):
        said(ledger, value)


async def test_an_event_is_what_it_was_when_it_was_made(ledger: Ledger) -> None:
    growing = ["one"]
    event = said(ledger, growing)
    growing.append("two")
    await ledger.record(event)
    assert (await exported(ledger))[0]["data"]["comment"] == ["one"]


async def test_records_get_consecutive_numbers_and_are_one_unit(db: Database, ledger: Ledger) -> None:
    before = db.units
    assert await ledger.record(*(said(ledger, n) for n in range(3))) == [1, 2, 3]
    assert db.units == before + 1
    assert await ledger.record(said(ledger, 4, identity="i"), said(ledger, 5, identity="i")) == [4, None]
    assert await ledger.record() == []


async def test_a_record_belongs_to_the_claim_when_all_of_it_is_of_its_case(db: Database, ledger: Ledger) -> None:
    claim = Claim("default", "c", 1)  # of a case that is not there: it may write nothing
    CLAIM.set(claim)
    assert await ledger.record(said(ledger, 1), said(ledger, 2, case="other")) == [1, 2]
    assert await ledger.record(said(ledger, 3, tenant="acme")) == [3]
    with pytest.raises(errors.Stale):
        await ledger.record(said(ledger, 4))
    with pytest.raises(errors.ConfigurationError, match="no claim"):
        ledger.defer(said(ledger, 5, case="other"), "a:T")
    CLAIM.set(None)
    with pytest.raises(errors.ConfigurationError, match="CLAIM"):
        ledger.defer(said(ledger, 6), "a:T")
    assert [event["data"]["comment"] for event in await exported(ledger)] == [1, 2, 3]


async def test_the_identity_of_a_deferred_row_is_its_turn_in_its_task(db: Database, ledger: Ledger) -> None:
    claim = Claim("default", "c", 1)
    CLAIM.set(claim)
    for ns, attempt in (("a:T", 1), ("a:T", 1), ("a:T", 2), ("b:T", 1)):
        ledger.defer(said(ledger, f"{ns} {attempt}"), ns, attempt)
    ledger.defer(said(ledger, "own", identity="mine"), "a:T")
    CLAIM.set(None)
    await db.commit(lambda tx: [apply(tx) for apply in claim.take_all()])
    found = await exported(ledger)
    assert [event["data"]["comment"] for event in found] == ["a:T 1", "a:T 1", "b:T 1", "own"]
    assert len({event["identity"] for event in found}) == 4
    assert found[-1]["identity"] == "mine"


# exporting


async def test_an_export_holds_what_the_chain_needs(ledger: Ledger) -> None:
    """Somebody else can check the chain from the export alone."""
    await ledger.record(*(said(ledger, n, identity=f"i{n}" if n % 2 else None) for n in range(5)))
    prev = GENESIS
    for event in await exported(ledger):
        payload = orjson.dumps(event["data"], option=orjson.OPT_SORT_KEYS)
        assert event["payload_hash"] == hashlib.sha256(bytes.fromhex(event["salt"]) + payload).hexdigest()
        fields = ("stream", "seq", "at", "type", "schema_version", "tenant", "case_id", "actor", "identity")
        header = [event[name] for name in fields]
        assert event["prev"] == prev
        assert event["hash"] == hashlib.sha256(orjson.dumps([*header, event["payload_hash"], prev])).hexdigest()
        prev = event["hash"]


async def test_an_export_of_many_pages_is_whole_and_in_order(ledger: Ledger) -> None:
    await ledger.record(*(said(ledger, n, case=f"c{n % 3}", tenant=f"t{n % 2}") for n in range(1203)))
    assert [event["seq"] for event in await exported(ledger)] == list(range(1, 1204))
    assert [event["data"]["comment"] for event in await exported(ledger, case_id="c1")] == list(range(1, 1203, 3))
    assert [event["seq"] for event in await exported(ledger, tenant="t1")] == list(range(2, 1204, 2))
    assert len(await exported(ledger, case_id="c0", tenant="t0")) == 201
    assert await exported(ledger, case_id="no such case") == []
    assert await exported(ledger, tenant="' OR 1=1 --") == []


async def test_an_export_goes_on_while_events_are_written(ledger: Ledger) -> None:
    await ledger.record(*(said(ledger, n) for n in range(700)))
    seen = []
    async for event in ledger.export():
        seen.append(event["seq"])
        if event["seq"] == 1:
            await ledger.record(*(said(ledger, n) for n in range(100)))
    assert seen == list(range(1, 801))


@pytest.mark.parametrize(
    "since",
    [
        START + timedelta(hours=2),
        (START + timedelta(hours=2)).replace(tzinfo=None),
        (START + timedelta(hours=2)).astimezone(timezone(timedelta(hours=-7))),
        "2026-01-31T00:00:00Z",
        "2026-01-31",
        "2026-01-31T01:00:00+01:00",
        "2026-01-30T23:59:59.999999",
    ],
)
async def test_since_is_a_time_in_any_form(ledger: Ledger, clock: ManualClock, since: Any) -> None:
    for hour in range(5):
        await ledger.record(said(ledger, hour))
        await clock.advance(timedelta(hours=1))
    assert [event["data"]["comment"] for event in await exported(ledger, since=since)] == [2, 3, 4]


@pytest.mark.parametrize("since", ["", "yesterday", "2026-13-01", "2026-01-30' OR 1=1 --"])
async def test_since_that_is_no_time(ledger: Ledger, since: str) -> None:
    with pytest.raises(errors.InputError, match="is no time") as caught:
        await exported(ledger, since=since)
    assert caught.value.hint


async def test_any_text_and_a_huge_payload_come_back_as_they_were(ledger: Ledger) -> None:
    odd = ["\0", "\u202e", "\U0001f600", "ẞ" * 1000, "'; DROP TABLE ledger; --", "\\ud800", "", "x" * 5_000_000]
    case = "case\0\U0001f600"
    await ledger.record(said(ledger, odd, case=case, tenant="Ünï", identity="\U0001f600"))
    found = (await exported(ledger, case_id=case, tenant="Ünï"))[0]
    assert found["data"]["comment"] == odd
    assert (await ledger.verify()).ok


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(values=st.lists(json_values, max_size=8))
async def test_any_json_comes_back_as_it_was(values: list[Any]) -> None:
    db = await Database.open(":memory:")
    try:
        ledger = Ledger(db, ManualClock(START))
        await ledger.record(*(said(ledger, value) for value in values))
        assert [event["data"]["comment"] for event in await exported(ledger)] == values
        assert await ledger.verify() == (True, len(values), None, "")
    finally:
        await db.close()


async def test_counting_the_events_of_cases(ledger: Ledger) -> None:
    await ledger.record(*(said(ledger, n, case=f"c{n % 3}", tenant=f"t{n % 2}") for n in range(60)))
    assert await ledger.count("t0", ["c0", "c2", "c2", "no such case"]) == 20
    assert await ledger.count("t0", []) == await ledger.count("acme", ["c0"]) == 0


# erasing


async def test_erasing_a_case_leaves_the_chain_whole_and_says_so(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.record(said(ledger, "secret one"), said(ledger, "kept", case="d"), said(ledger, "secret two"))
    await clock.advance(timedelta(days=1))
    assert await ledger.erase("default", case_id="c", by="person:ana", why="asked to forget") == 2
    one, kept, two, erasure = await exported(ledger)
    assert (one["data"], one["salt"]) == (two["data"], two["salt"]) == (None, "")
    assert kept["data"]["comment"] == "kept"
    assert (erasure["type"], erasure["case_id"], erasure["actor"]) == ("payload.erased", "c", "person:ana")
    assert erasure["data"] == {"hashes": [one["payload_hash"], two["payload_hash"]], "why": "asked to forget"}
    assert await ledger.verify() == (True, 4, None, "")


async def test_what_was_erased_is_nowhere_in_the_table(db: Database, ledger: Ledger) -> None:
    await ledger.record(said(ledger, "very secret"))
    await ledger.erase("default", case_id="c", by="person:ana", why="asked")
    rows = await db.read(lambda reader: reader.rows("SELECT * FROM payloads"))
    assert not any(isinstance(value, bytes) and b"secret" in value for row in rows for value in row)


async def test_erasing_by_hash_and_again(ledger: Ledger) -> None:
    await ledger.record(*(said(ledger, n) for n in range(3)))
    hashes = [event["payload_hash"] for event in await exported(ledger)]
    assert await ledger.erase("default", [hashes[1], hashes[1], "no such hash"], by="person:ana", why="asked") == 1
    assert await ledger.erase("default", hashes[1:2], by="person:ana", why="asked") == 0
    assert await ledger.erase("default", [], by="person:ana", why="asked") == 0
    assert await ledger.erase("acme", hashes, by="person:ana", why="another tenant's") == 0
    found = await exported(ledger)
    assert [event["data"] is None for event in found] == [False, True, False, False]
    assert (await ledger.verify()).ok


async def test_an_erasure_itself_cannot_be_erased(ledger: Ledger) -> None:
    await ledger.record(said(ledger, "secret"))
    await ledger.erase("default", case_id="c", by="person:ana", why="asked")
    hashes = [event["payload_hash"] for event in await exported(ledger)]
    assert await ledger.erase("default", hashes, by="person:eve", why="to hide it") == 0
    assert await ledger.erase("default", case_id="c", by="person:eve", why="to hide it") == 0
    assert (await exported(ledger))[-1]["data"]["why"] == "asked"
    assert (await ledger.verify()).ok


async def test_an_erasure_that_was_taken_out_is_found(path: Path, ledger: Ledger) -> None:
    await ledger.record(said(ledger, "secret"))
    await ledger.erase("default", case_id="c", by="person:ana", why="asked")
    change = "UPDATE payloads SET data = NULL, erased_at = 'now' WHERE erased_at IS NULL"
    await asyncio.to_thread(tamper, path, change)
    report = await ledger.verify()
    assert (report.ok, report.first_bad) == (False, 1)


@pytest.mark.parametrize("wanted", [{}, {"hashes": ["x"], "case_id": "c"}])
async def test_what_to_erase_must_be_said(ledger: Ledger, wanted: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError, match="say what to erase"):
        await ledger.erase("default", **wanted, by="person:ana", why="asked")


# exporting what was broken


@pytest.mark.parametrize("change", ["data = 'no json'", "data = x'ff'", "salt = 'text'"])
async def test_a_payload_that_cannot_be_read_is_a_clear_error(path: Path, ledger: Ledger, change: str) -> None:
    await filled(ledger)
    await asyncio.to_thread(tamper, path, f"UPDATE payloads SET {change} WHERE hash = {PAYLOAD_5}")
    with pytest.raises(errors.DatabaseCorrupt, match="event 5") as caught:
        await exported(ledger)
    assert "audit verify" in caught.value.hint


async def test_a_missing_payload_is_exported_as_none(path: Path, ledger: Ledger) -> None:
    await filled(ledger)
    await asyncio.to_thread(tamper, path, f"DELETE FROM payloads WHERE hash = {PAYLOAD_5}")
    found = await exported(ledger)
    assert [event["seq"] for event in found if event["data"] is None] == [5]
