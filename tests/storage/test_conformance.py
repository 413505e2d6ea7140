"""The checkpointer passes the suite that LangGraph publishes for savers, in every capability."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer

from interlock.storage.checkpoints import Checkpoints
from interlock.storage.database import Database


@pytest.fixture(params=[":memory:", "file"])
def registered(request: pytest.FixtureRequest, path: object) -> RegisteredCheckpointer:
    url = ":memory:" if request.param == ":memory:" else f"sqlite:///{path}"

    async def opened() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        db = await Database.open(url)
        yield Checkpoints(db)
        await db.close()

    return checkpointer_test(name=f"interlock {request.param}")(opened)


async def test_every_capability_is_there_and_passes(registered: RegisteredCheckpointer) -> None:
    report = await validate(registered)
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert {name for name, result in report.results.items() if result.passed} == {one.value for one in Capability}
    assert report.conformance_level() == "FULL"
    assert sum(result.tests_passed for result in report.results.values()) > 80
