"""Runs of the maintenance workflow on a folder of alerts, and what they left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from interlock.cli.batch import run_batch
from interlock.cli.inputs import Input
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.plant import REQUESTER, setup
from interlock.graphs.cases import Case
from interlock.oversight.items import Item
from interlock.plane import ControlPlane
from interlock.settings import Settings
from tests.graphs.workflows.oracle import Expected, Key, Row, key_of

__all__ = ["Ran", "agrees", "orders_of", "plant", "run"]


@asynccontextmanager
async def plant(
    home: Path, *, concurrency: int = 8, policies: Any = None, **options: Any
) -> AsyncIterator[ControlPlane]:
    """A plane with the plant; `options` are those of `setup`."""
    settings = Settings.load().model_copy(update={"concurrency": concurrency})
    url = f"sqlite:///{home / 'interlock.db'}"
    async with ControlPlane.open(url, settings=settings, policies=policies) as plane, setup(plane, **options):
        yield plane


def orders_of(home: Path) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Work orders by maintenance request, and the counters of the CMMS."""
    store = CmmsStore(home / "cmms.db")
    try:
        return {order["request"]: order for order in store.work_orders()}, store.stats()
    finally:
        store.close()


@dataclass(frozen=True)
class Ran:
    """One run: figures, cases by asset, rule and start, open items, work orders by request, counters of the CMMS."""

    figures: dict[str, Any]
    cases: dict[Key, Case]
    items: list[Item]
    orders: dict[str, dict[str, Any]]
    stats: dict[str, int]

    @property
    def outcomes(self) -> dict[Key, tuple[Any, ...]]:
        """Everything of every case that may not depend on how it was run."""
        return {key: (case.id, case.status, case.values, case.error) for key, case in self.cases.items()}

    @property
    def counts(self) -> dict[str, int]:
        """The figures without what is measured."""
        measured = {"seconds", "cases_per_s", "peak_mb", "ledger_events"}
        return {name: value for name, value in self.figures.items() if name not in measured}


async def run(plane: ControlPlane, alerts: Sequence[Row]) -> Ran:
    """Run alerts as `interlock run` does, and look at everything."""
    assert plane.home is not None
    inputs = [Input(f"line {number}", dict(alert)) for number, alert in enumerate(alerts, 2)]
    outcome = await run_batch(plane, "maintenance", inputs, requester=REQUESTER)
    keys = {
        f"{asset}/{rule}/{start:%Y-%m-%dT%H:%M:%S.%fZ}": (asset, rule, start)
        for asset, rule, start in map(key_of, alerts)
    }
    cases = {keys[str(case.key)]: case for case in outcome.cases}
    items = (await plane.inbox.list(limit=1000)).items
    return Ran(outcome.figures, cases, list(items), *orders_of(plane.home))


def agrees(ran: Ran, key: Key, expected: Expected) -> bool:
    """Whether a case that was diagnosed is what the oracle expects: its code, and what it joined."""
    first = expected.merged_with or expected.start
    request = f"MR-{expected.asset}-{expected.code}-{first:%Y%m%d%H%M}"
    found = _found(ran, ran.cases[key])
    joined = request if expected.merged_with else None
    return (found["code"], found["request"], found.get("merged_into")) == (expected.code, request, joined)


def _found(ran: Ran, case: Case) -> Mapping[str, Any]:
    """What a completed case says in its result, and a waiting one in the question that it asks."""
    if case.values is not None:
        return cast("Mapping[str, Any]", case.values)
    (item,) = (item for item in ran.items if item.case_id == case.id)
    return item.action["args"] if item.kind == "approval" else item.evidence["state"]  # type: ignore[no-any-return]  # JSON
