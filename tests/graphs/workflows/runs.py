"""Runs of the maintenance workflow on a folder of alerts, and what they left behind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock.cli.batch import run_batch
from interlock.cli.inputs import Input, read_inputs
from interlock.examples.enterprise.plant import REQUESTER, setup
from interlock.graphs.cases import Case
from interlock.oversight.items import Item
from interlock.plane import ControlPlane
from interlock.settings import Settings
from interlock.tools.systems.cmms import Cmms
from tests.graphs.workflows.oracle import Oracle, Row, key_of, rows

Key = tuple[str, str, Any]


@asynccontextmanager
async def plant(url: str = ":memory:", *, concurrency: int = 8, policies: Any = None, **options: Any) -> AsyncIterator[Any]:
    """A plane with the plant."""
    settings = Settings(concurrency=concurrency)
    async with ControlPlane.open(url, settings=settings, policies=policies) as plane, setup(plane, **options):
        yield plane


@dataclass(frozen=True)
class Ran:
    """One run: figures, cases by asset, rule and start, open items, the CMMS's work orders and counters."""

    figures: dict[str, Any]
    cases: dict[Key, Case]
    items: list[Item]
    orders: dict[str, dict[str, Any]]
    stats: dict[str, int]

    def outcomes(self) -> dict[Key, tuple[Any, ...]]:
        """Everything of every case that may not depend on how it was run."""
        return {key: (case.id, case.status, case.values, case.error) for key, case in self.cases.items()}

    def waiting_at(self, task: str) -> list[Item]:
        return [item for item in self.items if item.task == task]


async def run(plane: ControlPlane, alerts: Sequence[Row], requester: str = REQUESTER) -> Ran:
    """Run alerts as `interlock run` does, and look at everything."""
    inputs = [Input(f"line {number}", dict(alert)) for number, alert in enumerate(alerts, 2)]
    outcome = await run_batch(plane, "maintenance", inputs, requester=requester)
    by_key = {case.key: case for case in outcome.cases}
    known = {f"{asset}/{rule}/{start:%Y-%m-%dT%H:%M:%S.%fZ}": (asset, rule, start) for asset, rule, start in map(key_of, alerts)}
    items = (await plane.inbox.list(limit=1000)).items
    orders, stats = await look(plane)
    return Ran(outcome.figures, {known[str(key)]: case for key, case in by_key.items()}, items, orders, stats)
