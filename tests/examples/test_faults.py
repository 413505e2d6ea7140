"""Faults on the way to the CMMS, as tests and suites use them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from interlock import errors
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.faults import Fault, Faulty
from interlock.tools.systems.cmms import Cmms
from tests.examples.conftest import TOKEN

AT = "2026-03-02T12:00:00Z"


def faulty(transport: httpx.ASGITransport, *faults: Fault | dict[str, Any]) -> tuple[Cmms, Faulty]:
    broken = Faulty(transport, faults)
    return Cmms(transport=broken), broken


async def report(cmms: Cmms, key: str) -> str:
    try:
        await cmms.report(TOKEN, key, "FM1-PU01", "M101", AT)
    except errors.InterlockError as exc:
        return exc.code
    return "done"


async def test_a_lost_answer_is_a_deed_that_nobody_heard_of(transport: httpx.ASGITransport, store: CmmsStore) -> None:
    cmms, broken = faulty(transport, Fault(path="/reports", how="lost", call=2))
    assert [await report(cmms, key) for key in "abc"] == ["done", "unknown_outcome", "done"]
    assert store.stats()["alerts"] == 3
    assert broken.happened == ["lost POST /reports"]


@pytest.mark.parametrize(
    ("how", "code"), [("refused", "unreachable"), ("unreachable", "unreachable"), ("timeout", "unknown_outcome")]
)
async def test_the_other_faults_do_nothing(
    transport: httpx.ASGITransport, store: CmmsStore, how: Any, code: str
) -> None:
    cmms, _ = faulty(transport, {"path": "/reports", "how": how, "times": 2})
    assert [await report(cmms, key) for key in "abc"] == [code, code, "done"]
    assert store.stats()["alerts"] == 1


async def test_a_fault_hits_only_its_method_and_path(transport: httpx.ASGITransport) -> None:
    cmms, broken = faulty(
        transport,
        Fault(path="/assets", how="refused", method="GET"),
        Fault(path="/work-orders", how="refused", times=9),
    )
    assert await report(cmms, "a") == "done"
    with pytest.raises(errors.Unreachable):
        await cmms.asset(TOKEN, "FM1-PU01")
    assert await cmms.asset(TOKEN, "FM1-PU01")
    assert broken.happened == ["refused GET /assets"]


@pytest.mark.parametrize("wrong", [{"how": "broken"}, {"call": 0}, {"times": 0}, {"nth": 1}, {"method": "PUT"}])
def test_a_fault_that_does_not_exist_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Faulty(httpx.MockTransport(lambda _: httpx.Response(200)), [{"path": "/", "how": "lost", **wrong}])
