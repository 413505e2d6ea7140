"""One alert at a time through the maintenance workflow: people answer, systems fail, history is withheld."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from interlock import ControlPlane, Decision, errors
from interlock.agents.roster.diagnosis import THRESHOLD
from interlock.agents.roster.triage import downtime
from interlock.examples.enterprise.plant import OPERATOR, REQUESTER
from interlock.examples.enterprise.reference import RULE_CODES, SAMPLE
from interlock.graphs.cases import Case
from interlock.graphs.workflows.maintenance import Result, figures, wf
from interlock.oversight.items import Item
from interlock.oversight.sources import SHIPPED
from tests.graphs.workflows.runs import orders_of, plant

PLAIN = {"equipment_id": "FM1-PU01", "rule_id": "FR01", "start_time": "2026-03-02 05:10"}
DEAR = {"equipment_id": "FM2-CO01", "rule_id": "FR05", "start_time": "2026-03-02 09:30"}  # 3,080.84
DEAREST = {"equipment_id": "FM1-BO01", "rule_id": "FR07", "start_time": "2026-03-03 21:15"}  # 13,943.75
UNSERVED = {"equipment_id": "FM2-DR01", "rule_id": "FR13", "start_time": "2026-03-07 15:30"}
SHIFT_LEAD, MANAGER, PLANT = "person:shift-lead", "person:maintenance-manager", "person:plant-manager"


async def begin(plane: ControlPlane, alert: dict[str, Any]) -> Case:
    case = await plane.start("maintenance", alert, requester=REQUESTER)
    return await plane.wait(case.id, timeout=30)


async def question(plane: ControlPlane, case: Case, kind: str) -> Item:
    (item,) = (await plane.inbox.list(case_id=case.id)).items
    assert (case.status, item.kind) == ("waiting", kind)
    return item


async def answer(plane: ControlPlane, case: Case, decision: Decision, by: str) -> Case:
    (item,) = (await plane.inbox.list(case_id=case.id)).items
    await plane.inbox.decide(item.id, decision, by=by)
    return await plane.wait(case.id, timeout=30)


async def called(plane: ControlPlane, case: Case) -> Counter[str]:
    """How often each tool was let through for a case."""
    events = [event async for event in plane.ledger.export(case_id=case.id)]
    return Counter(event["data"]["tool"] for event in events if event["type"] == "tool.outcome")


# -- the shape


def test_the_workflow_file_is_short_and_says_what_it_is() -> None:
    assert (wf.name, wf.version, wf.owner) == ("maintenance", "1", "maintenance")
    assert list(wf.tasks) == ["triage", "diagnose", "merge", "history", "plan", "order", "schedule", "assign", "close"]
    assert wf.tasks["diagnose"].min_confidence == THRESHOLD


def test_figures_count_what_completed_and_add_up() -> None:
    def done(outcome: str, code: str = "A") -> tuple[Any, Any]:
        return None, {"outcome": outcome, "code": code, "codes": ["A", "B"]}

    pairs = [
        done("work_order"),
        done("work_order", "X"),
        done("duplicate"),
        done("rejected"),
        (None, Result().model_dump()),
    ]
    assert figures(pairs) == {"work_orders": 2, "duplicates_merged": 1, "rejected": 1, "code_in_rule_mapping": 1}
    assert figures([]) == {"work_orders": 0, "duplicates_merged": 0, "rejected": 0, "code_in_rule_mapping": 0}


def test_downtime_is_from_start_to_end_and_unknown_without_one() -> None:
    span = {"start_time": "2026-03-02T05:10:00.000000Z", "end_time": "2026-03-02T06:10:00.000000Z"}
    assert downtime(span) == {"asset_downtime_s": 3600.0}
    assert downtime({**span, "end_time": None}) == {}


# -- approvals


async def test_an_approved_order_is_made_once_and_goes_to_a_technician(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, DEAR)
        item = await question(plane, case, "approval")
        assert (item.action["args"]["cost"], item.authority) == (308084, "maintenance")
        assert {"code_name", "confidence", "evidence"} <= set(item.evidence["case"]), "what the diagnosis rests on"
        assert orders_of(home)[0] == {}, "nothing is ordered before the answer"
        case = await answer(plane, case, Decision.approve(), SHIFT_LEAD)
        assert (case.status, case.values["outcome"]) == ("completed", "work_order")
        assert (await called(plane, case))["cmms.create_work_order"] == 1
    (order,), stats = orders_of(home)[0].values(), orders_of(home)[1]
    assert (order["status"], order["cost"], stats["refused_doubles"]) == ("released", 308084, 0)


async def test_an_approver_may_make_it_cheaper_and_the_order_says_so(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, DEAR)
        args = {**(await question(plane, case, "approval")).action["args"], "cost": 120000, "labour_minutes": 60}
        case = await answer(plane, case, Decision.edit(args), SHIFT_LEAD)
        assert (case.status, case.values["cost"]) == ("completed", 120000)
    (order,) = orders_of(home)[0].values()
    assert (order["cost"], order["labour_minutes"], order["ends"][11:16]) == (120000, 60, "15:00")


async def test_a_refused_order_completes_the_case_as_rejected(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, DEAR)
        case = await answer(plane, case, Decision.reject("it is replaced next month"), SHIFT_LEAD)
        assert (case.status, case.values["outcome"], case.values["work_order"]) == ("completed", "rejected", None)
        assert case.values["evidence"][-1] == f"{SHIFT_LEAD} refused it: it is replaced next month"
        later = await begin(plane, {**DEAR, "start_time": "2026-03-02 19:00"})
        assert later.values["outcome"] == "duplicate", "for a day the fault has had its answer"
    assert orders_of(home)[0] == {}


async def test_the_dearest_orders_need_both_authorities(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, DEAREST)
        first = await question(plane, case, "approval")
        assert (first.authority, first.eligible) == ("maintenance", [MANAGER])
        with pytest.raises(errors.NotAuthorized):
            await answer(plane, case, Decision.approve(), SHIFT_LEAD)
        case = await answer(plane, case, Decision.approve(), MANAGER)
        second = await question(plane, case, "approval")
        assert (second.authority, second.eligible) == ("plant", [PLANT])
        with pytest.raises(errors.NotAuthorized):
            await answer(plane, case, Decision.approve(), MANAGER)
        case = await answer(plane, case, Decision.approve(), PLANT)
        assert case.values["outcome"] == "work_order"
    assert orders_of(home)[1]["work_orders"] == 1


async def test_nobody_else_can_say_yes(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, DEAR)
        for who in (REQUESTER, OPERATOR, PLANT, "person:nobody", "agent:clerk"):
            with pytest.raises(errors.NotAuthorized):
                await answer(plane, case, Decision.approve(), who)
        assert (await plane.case(case.id)).status == "waiting"
    assert orders_of(home)[0] == {}


async def test_a_duplicate_of_an_order_that_waits_completes(home: Path) -> None:
    async with plant(home) as plane:
        first = await begin(plane, DEAR)
        second = await begin(plane, {**DEAR, "start_time": "2026-03-03 09:30"})
        assert (first.status, second.status, second.values["outcome"]) == ("waiting", "completed", "duplicate")
        assert not {"cmms.job", "cmms.create_work_order", "cmms.assign"} & set(await called(plane, second))


# -- history


WITHHELD = """
@id("no.history") @reason("past work is under review")
forbid (principal, action == Interlock::Action::"cmms.history", resource);
"""


def shipped(**more: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in SHIPPED.glob("*.cedar")} | {
        f"{name}.cedar": text for name, text in more.items()
    }


async def test_without_the_history_confidence_falls_below_the_threshold_and_a_person_decides(home: Path) -> None:
    async with plant(home) as plane:
        sure = (await begin(plane, {**PLAIN, "start_time": "2026-03-01 05:10"})).values["confidence"]
    async with plant(home, policies=shipped(review=WITHHELD)) as plane:
        case = await begin(plane, PLAIN)
        item = await question(plane, case, "exception")
        assert item.task == "diagnose"
        found = item.evidence["found"]["result"]
        assert (found["code"], found["basis"]) == ("M101", "withheld")
        assert found["confidence"] < THRESHOLD <= sure
        assert "cmms.create_work_order" not in await called(plane, case)


async def test_history_without_a_word_on_the_codes_lowers_confidence_and_goes_on(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, {"equipment_id": "FM1-HX01", "rule_id": "FR02", "start_time": "2026-03-02 08:05"})
        known = await begin(plane, PLAIN)
    assert (case.status, case.values["basis"], case.values["code"]) == ("completed", "none", "CS101")
    assert THRESHOLD <= case.values["confidence"] < known.values["confidence"]
    assert "no past work order" in case.values["evidence"][1]


async def test_own_work_orders_never_become_history(home: Path) -> None:
    alert = {"equipment_id": "FM2-FT01", "rule_id": "FR02", "start_time": "2026-03-02 08:05"}
    async with plant(home) as plane:
        first = await begin(plane, alert)
        later = await begin(plane, {**alert, "start_time": "2027-03-02 08:05"})
    assert (first.values["basis"], first.values["code"]) == ("none", "CS101")
    assert (later.values["basis"], later.values["code"]) == ("fleet", "CS102"), (
        "only what the plant had finished counts"
    )
    assert "FW1029, FW1028" in later.values["evidence"][1]


# -- exceptions


async def test_a_person_names_the_technician_where_nobody_can(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, UNSERVED)
        item = await question(plane, case, "exception")
        assert item.task == "assign"
        assert "T204 is not on shift at 22:00" in item.evidence["found"]["result"]["considered"]
        case = await answer(plane, case, Decision.respond({"technician": "T204"}), OPERATOR)
        assert (case.status, case.values["technician"]) == ("completed", "T204")
        assert case.values["chosen_because"] == "named by a person"
    (order,) = orders_of(home)[0].values()
    assert (order["status"], order["technician"]) == ("released", "T204")


async def test_an_answer_that_is_no_output_of_the_task_is_refused(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, UNSERVED)
        for wrong in ({}, {"technician": 7}, "T204"):
            with pytest.raises(errors.InputError):
                await answer(plane, case, Decision.respond(wrong), OPERATOR)
        assert (await plane.case(case.id)).status == "waiting"


async def test_giving_up_an_exception_fails_the_case_with_the_reason(home: Path) -> None:
    async with plant(home) as plane:
        case = await begin(plane, {**PLAIN, "rule_id": "FR77"})
        case = await answer(plane, case, Decision.reject("a test of the sender"), OPERATOR)
        assert case.status == "failed"
        assert case.error is not None
        assert "a test of the sender" in case.error["message"]


async def test_trying_again_after_the_cmms_was_completed_goes_on(home: Path) -> None:
    """The rule is unknown, the plant's data is replaced by one that knows it, the operator says: again."""
    reference = home.parent / "plant"
    async with plant(home) as plane:
        case = await begin(plane, {**PLAIN, "rule_id": "FR77"})
        await question(plane, case, "exception")
    copytree(SAMPLE, reference)
    with (reference / RULE_CODES).open("a") as file:
        file.write("FR77,New rule,L101,Shaft seal leak\n")
    async with plant(home, reference=reference) as plane:
        case = await answer(plane, case, Decision.approve(), OPERATOR)
        assert (case.status, case.values["code"]) == ("completed", "L101")


# -- anomalies


async def test_anomalies_go_the_same_way(home: Path) -> None:
    def anomaly(value: float, at: str, **other: Any) -> dict[str, Any]:
        bounds = {"upper_bound": 380, "lower_bound": 290, "KPI": "Cooling power", "asset_name": "freezer TUNNEL"}
        return {**bounds, "timestamp": at, "value": value, **other}

    async with plant(home) as plane:
        high = await begin(plane, anomaly(412, "2026-03-03 09:20"))
        again = await begin(plane, anomaly(405.5, "2026-03-03 15:05"))
        within = await begin(plane, anomaly(300, "2026-03-04 15:05"))
        item = await question(plane, within, "exception")
    assert (high.values["outcome"], high.values["code"], high.values["asset"]) == ("work_order", "OP102", "FM2-FT01")
    assert again.values["outcome"] == "duplicate"
    assert "within its bounds" in item.reasons[0].text


# -- faults of the CMMS


ORDER, PATHS = "/work-orders", ("/reports", "/work-orders", "/work-orders/")


@pytest.mark.parametrize("how", ["lost", "refused", "unreachable", "timeout"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_fault_neither_stops_a_case_nor_doubles_anything(home: Path, how: str, times: int) -> None:
    """Report, order and steps each fail once or twice in a row; the order and its steps share a path's beginning."""
    faults = [{"path": path, "how": how, "times": times} for path in PATHS]
    async with plant(home, faults=faults) as plane:
        case = await begin(plane, PLAIN)
        assert (case.status, case.values["outcome"]) == ("completed", "work_order")
        assert {tool: n for tool, n in (await called(plane, case)).items() if n > 1} == {"cmms.history": 3}
    orders, stats = orders_of(home)
    assert (len(orders), stats["requests"], stats["alerts"], stats["released"]) == (1, 1, 1, 1)


async def test_a_lost_answer_to_an_order_leaves_one_order_and_one_outcome(home: Path) -> None:
    async with plant(home, faults=[{"path": ORDER, "how": "lost"}]) as plane:
        case = await begin(plane, PLAIN)
        assert (await called(plane, case))["cmms.create_work_order"] == 1
        events = [event async for event in plane.ledger.export(case_id=case.id)]
    created = [
        e["data"] for e in events if e["type"] == "tool.outcome" and e["data"]["tool"] == "cmms.create_work_order"
    ]
    assert [(one["status"], one["key"]) for one in created] == [("done", f"wo:{case.values['request']}")]
    assert orders_of(home)[1]["work_orders"] == 1


async def test_a_cmms_that_stays_down_is_an_exception_and_the_case_goes_on_when_it_is_back(home: Path) -> None:
    async with plant(home, faults=[{"path": ORDER, "how": "refused", "times": 50}]) as plane:
        case = await begin(plane, PLAIN)
        item = await question(plane, case, "exception")
        assert item.task == "order"
        assert "down" in item.reasons[0].text
    async with plant(home) as plane:
        case = await answer(plane, case, Decision.approve(), OPERATOR)
        assert (case.status, case.values["outcome"]) == ("completed", "work_order")
    assert orders_of(home)[1] | {"alerts": 1} == {
        "alerts": 1, "requests": 1, "work_orders": 1, "released": 1, "refused_doubles": 0,
    }  # fmt: skip


async def test_when_nobody_can_tell_whether_it_was_ordered_a_person_is_asked(home: Path) -> None:
    """The answer is lost, and so is every answer to the question whether it happened."""
    faults = [
        {"path": ORDER, "how": "lost", "times": 50},
        {"path": ORDER, "how": "unreachable", "method": "GET", "times": 50},
    ]
    async with plant(home, faults=faults) as plane:
        case = await begin(plane, PLAIN)
        item = await question(plane, case, "exception")
        assert item.task == "order"
        assert orders_of(home)[1]["work_orders"] == 1
    async with plant(home) as plane:
        (order,) = orders_of(home)[0].values()
        case = await answer(plane, case, Decision.respond(order), OPERATOR)
        assert (case.status, case.values["work_order"]) == ("completed", order["id"])
    assert orders_of(home)[1]["work_orders"] == 1
