"""The database of the reference CMMS: joining, keys, steps, history, load."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.clock import iso
from interlock.examples.enterprise.cmms_store import CmmsStore, Refused
from interlock.examples.enterprise.reference import SAMPLE, read_reference

PUMP, OTHER = "FM1-PU01", "FM1-PU02"
FIRST = datetime(2026, 3, 2, 12, tzinfo=UTC)
REFERENCE = read_reference(SAMPLE)


def at(**after: float) -> str:
    return iso(FIRST + timedelta(**after))


def order(request: str, **other: Any) -> dict[str, Any]:
    body = {"request": request, "asset": PUMP, "code": "M101", "description": "x", "priority": 1, "currency": "USD"}
    return {**body, "labour_minutes": 60, "cost": 1000, **other}


def create(store: CmmsStore, start: str = at(), code: str = "M101", asset: str = PUMP) -> str:
    request = store.report(f"{asset}/{code}/{start}", asset, code, start)["request"]
    return str(store.create(f"wo:{request}", order(request, asset=asset, code=code))[0]["id"])


# -- joining


@pytest.mark.parametrize(
    ("after", "joins"),
    [
        ({"seconds": 0}, True),
        ({"minutes": 1}, True),
        ({"hours": 23, "minutes": 59}, True),
        ({"hours": 24}, True),
        ({"hours": 24, "seconds": 1}, False),
        ({"hours": 24, "minutes": 1}, False),
        ({"minutes": -1}, False),
        ({"days": 30}, False),
    ],
)
def test_an_alert_joins_from_0_to_24_hours_both_included(
    store: CmmsStore, after: dict[str, float], joins: bool
) -> None:
    first = store.report("a", PUMP, "M101", at())
    second = store.report("b", PUMP, "M101", at(**after))
    assert (first["joined"], second["joined"]) == (False, joins)
    assert (second["request"] == first["request"]) is joins
    assert second["alert"] == ("a" if joins else "b")


def test_the_24_hours_count_from_the_first_alert_and_not_from_the_last(store: CmmsStore) -> None:
    answers = [store.report(str(hours), PUMP, "M101", at(hours=hours)) for hours in (0, 20, 24, 40, 64, 65)]
    assert [answer["joined"] for answer in answers] == [False, True, True, False, True, False]
    assert len({answer["request"] for answer in answers}) == 3


@pytest.mark.parametrize(("asset", "code"), [(OTHER, "M101"), (PUMP, "M102")])
def test_another_asset_or_another_code_never_joins(store: CmmsStore, asset: str, code: str) -> None:
    store.report("a", PUMP, "M101", at())
    assert store.report("b", asset, code, at())["joined"] is False


def test_the_same_report_gets_the_same_answer_for_ever(store: CmmsStore) -> None:
    first = store.report("a", PUMP, "M101", at())
    store.report("b", PUMP, "M101", at(hours=2))
    assert store.report("a", PUMP, "M101", at()) == first
    assert store.stats()["alerts"] == 2


def test_a_key_does_not_stand_for_two_alerts(store: CmmsStore) -> None:
    store.report("a", PUMP, "M101", at())
    with pytest.raises(Refused, match="another code") as refused:
        store.report("a", PUMP, "M102", at())
    assert refused.value.status == 409


def test_an_unknown_asset_opens_nothing(store: CmmsStore) -> None:
    with pytest.raises(Refused) as refused:
        store.report("a", "FM9", "M101", at())
    assert (refused.value.status, store.stats()["requests"]) == (404, 0)


@given(st.lists(st.tuples(st.sampled_from([PUMP, OTHER]), st.integers(0, 6000)), min_size=1, max_size=30, unique=True))
def test_joining_equals_a_naive_model(events: list[tuple[str, int]]) -> None:
    """In the order of events, an alert joins when a request of its asset began at most 24 hours before."""
    store, opened = CmmsStore(), dict[str, int]()
    store.load(REFERENCE)
    for number, (asset, minute) in enumerate(sorted(events, key=lambda event: event[::-1])):
        joins = asset in opened and minute - opened[asset] <= 24 * 60
        opened[asset] = opened[asset] if joins else minute
        assert store.report(str(number), asset, "M101", at(minutes=minute))["joined"] is joins
    store.close()


def test_reports_at_the_same_instant_open_one_request(store: CmmsStore) -> None:
    gate = threading.Barrier(8)

    def report(number: int) -> dict[str, Any]:
        gate.wait()
        return store.report(str(number), PUMP, "M101", at())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(report, range(8)))
    assert Counter(answer["joined"] for answer in answers) == {False: 1, True: 7}
    assert len({answer["request"] for answer in answers}) == 1


# -- work orders


def test_a_double_is_refused_and_counted(store: CmmsStore) -> None:
    request = store.report("a", PUMP, "M101", at())["request"]
    first, created = store.create("k", order(request))
    again, twice = store.create("k", order(request))
    assert (created, twice, first) == (True, False, again)
    assert (store.stats()["work_orders"], store.stats()["refused_doubles"]) == (1, 1)


@pytest.mark.parametrize(("key", "change"), [("k", {"cost": 1}), ("other", {}), ("k", {"priority": 2})])
def test_neither_key_nor_request_takes_a_second_order(store: CmmsStore, key: str, change: dict[str, Any]) -> None:
    request = store.report("a", PUMP, "M101", at())["request"]
    store.create("k", order(request))
    with pytest.raises(Refused) as refused:
        store.create(key, order(request, **change))
    assert refused.value.status == 409
    assert (store.stats()["work_orders"], store.stats()["refused_doubles"]) == (1, 1)


def test_many_threads_with_one_key_make_one_order(store: CmmsStore) -> None:
    request = store.report("a", PUMP, "M101", at())["request"]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.create("k", order(request))[1], range(16)))
    assert (sum(made), store.stats()["work_orders"], store.stats()["refused_doubles"]) == (1, 1, 15)


def test_an_order_needs_its_request(store: CmmsStore) -> None:
    with pytest.raises(Refused) as refused:
        store.create("k", order("MR-none"))
    assert (refused.value.status, store.stats()["work_orders"]) == (404, 0)


SLOT = {"starts": at(hours=2), "ends": at(hours=3)}


def test_the_steps_follow_one_another_and_may_be_repeated(store: CmmsStore) -> None:
    made = create(store)
    for step, values in (("schedule", SLOT), ("assign", {"technician": "T102"}), ("close", {})):
        once = store.advance(made, step, values)
        assert store.advance(made, step, values) == once
    assert store.work_order(made)["status"] == "released"
    assert store.advance(made, "schedule", SLOT)["status"] == "released", "a repeated step is no step back"


@pytest.mark.parametrize(("done", "step"), [(0, "assign"), (0, "close"), (1, "close")])
def test_no_step_is_left_out(store: CmmsStore, done: int, step: str) -> None:
    made = create(store)
    for name, values in [("schedule", SLOT)][:done]:
        store.advance(made, name, values)
    before = store.work_order(made)
    with pytest.raises(Refused) as refused:
        store.advance(made, step, {"technician": "T102"} if step == "assign" else {})
    assert (refused.value.status, store.work_order(made)) == (409, before)


def test_a_step_is_not_taken_twice_with_other_values(store: CmmsStore) -> None:
    made = create(store)
    store.advance(made, "schedule", SLOT)
    with pytest.raises(Refused, match="scheduled"):
        store.advance(made, "schedule", {**SLOT, "ends": at(hours=4)})
    assert store.work_order(made)["ends"] == SLOT["ends"]


def test_a_cancelled_order_takes_no_step(store: CmmsStore) -> None:
    made = create(store)
    assert store.cancel(made)["status"] == "cancelled"
    with pytest.raises(Refused, match="cancelled"):
        store.advance(made, "schedule", SLOT)


@pytest.mark.parametrize("call", ["schedule", "cancel", "find", "work_order"])
def test_what_does_not_exist_is_404(store: CmmsStore, call: str) -> None:
    calls = {"schedule": lambda: store.advance("WO-none", "schedule", SLOT), "cancel": lambda: store.cancel("WO-none")}
    calls |= {"find": lambda: store.find("k"), "work_order": lambda: store.work_order("WO-none")}
    with pytest.raises(Refused) as refused:
        calls[call]()
    assert refused.value.status == 404


# -- what the CMMS knows


def test_history_ends_before_the_event_and_never_holds_own_orders(store: CmmsStore) -> None:
    before = store.history(["M101", "M102"], "2025-11-03T15:40:00.000000Z", PUMP)
    after = store.history(["M101", "M102"], "2025-11-03T15:40:01.000000Z", PUMP)
    assert (before["counts"], after["counts"]) == ({"M101": 2, "M102": 1}, {"M101": 3, "M102": 1})
    create(store, at(days=-200))
    assert store.history(["M101", "M102"], at(days=300), PUMP)["counts"] == after["counts"]


def test_history_cites_the_newest_and_gives_the_median(store: CmmsStore) -> None:
    found = store.history(["M101"], at(), PUMP, limit=2)
    assert found["cited"] == {"M101": ["FW1005", "FW1003"]}
    assert found["median_minutes"] == {"M101": 330}
    assert (found["finished"], found["corrective"]) == (3, 3)
    assert store.history([], at(), PUMP, limit=0) | {"newest": 0} == {
        "finished": 5, "corrective": 4, "counts": {}, "cited": {}, "median_minutes": {}, "newest": 0,
    }  # fmt: skip


def test_nothing_is_known_of_an_unused_code(store: CmmsStore) -> None:
    found = store.history(["XX9"], at())
    assert (found["counts"], found["median_minutes"], found["cited"]) == ({"XX9": 0}, {"XX9": None}, {"XX9": []})


@pytest.mark.parametrize(("name", "found"), [(PUMP, PUMP), ("feed PUMP 1", PUMP), ("Dock door", "FM2-DR01")])
def test_an_asset_is_found_by_id_or_name(store: CmmsStore, name: str, found: str) -> None:
    assert store.asset(name)["id"] == found


@pytest.mark.parametrize("name", ["", "Feed pump", "' OR 1=1 --", "%", "\u0000", "x" * 10_000])
def test_an_asset_is_not_found_by_anything_else(store: CmmsStore, name: str) -> None:
    with pytest.raises(Refused) as refused:
        store.asset(name)
    assert refused.value.status == 404


def test_a_name_that_several_assets_have_is_no_answer(tmp_path: Path) -> None:
    store, reference = CmmsStore(), read_reference(SAMPLE)
    reference.assets["FM1-PU09"] = ("FM1-PU09", "Feed pump 1", "FM1")
    store.load(reference)
    with pytest.raises(Refused, match="FM1-PU01, FM1-PU09") as refused:
        store.asset("feed pump 1")
    assert refused.value.status == 409
    assert store.asset(PUMP)["id"] == PUMP
    store.close()


@pytest.mark.parametrize(("code", "minutes"), [("M104", 420), ("M199", 300), ("CS7", 150), ("M", 300)])
def test_a_job_is_that_of_the_code_or_of_its_family(store: CmmsStore, code: str, minutes: int) -> None:
    assert (store.job(code)["labour_minutes"], store.job(code)["code"]) == (minutes, code)


@pytest.mark.parametrize("code", ["SV101", "", "104", "M-104"])
def test_a_code_without_a_job_has_none(store: CmmsStore, code: str) -> None:
    with pytest.raises(Refused) as refused:
        store.job(code)
    assert refused.value.status == 404


def test_technicians_are_those_of_site_and_asset_with_their_load(store: CmmsStore) -> None:
    assert [one["id"] for one in store.technicians(PUMP, at(), "")] == ["T101", "T102", "T103", "T104", "T105"]
    assert [one["id"] for one in store.technicians("FM1-BO01", at(), "")] == ["T101", "T102", "T104", "T105"]
    made = create(store)
    store.advance(made, "schedule", SLOT)
    store.advance(made, "assign", {"technician": "T103"})

    def load(start: str, request: str = "", asset: str = PUMP) -> int:
        return sum(one["load"] for one in store.technicians(asset, start, request))

    own = store.work_order(made)["request"]
    assert (load(at()), load(at(hours=24)), load(at(), own)) == (1, 1, 0)
    assert (load(at(hours=25)), load(at(hours=-1)), load(at(), asset=OTHER)) == (0, 0, 0)
    store.cancel(made)
    assert load(at()) == 0


def test_reference_data_is_replaced_whole_and_orders_stay(store: CmmsStore) -> None:
    made, reference = create(store), read_reference(SAMPLE)
    reference.digest, reference.history = "other", []
    assert store.load(reference) | {"history": 28} == store.load(read_reference(SAMPLE))
    store.load(reference)
    assert (store.loaded(), store.history(["M101"], at())["finished"]) == ("other", 0)
    assert store.work_order(made)["status"] == "created"


def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    first = CmmsStore(tmp_path / "c.db")
    first.load(REFERENCE)
    made = create(first)
    first.close()
    second = CmmsStore(tmp_path / "c.db")
    assert (second.work_order(made)["key"], second.loaded()) == (f"wo:MR{made[2:]}", REFERENCE.digest)
    second.close()


def test_two_processes_may_share_the_file(store: CmmsStore, tmp_path: Path) -> None:
    other = CmmsStore(tmp_path / "cmms.db")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: (store, other)[n % 2].report(str(n), PUMP, "M101", at(minutes=n)), range(20)))
    other.close()
    assert store.stats()["alerts"] == 20
    assert sum(not answer["joined"] for answer in answers) == store.stats()["requests"]
