"""`interlock demo`: the maintenance workflow on the sample plant, without key, network or question."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies, Shadow
from interlock.cli.output import emit, say, table
from interlock.cli.problems import FAILED

DEMO_HOME = DEFAULT_HOME / "demo"
_WORKFLOW, _REQUESTER = "maintenance", "person:requester"


def demo(home: Home = DEMO_HOME, policies: Policies = None, shadow: Shadow = None, as_json: Json = False) -> None:
    """Show the maintenance workflow on sample data.

    Runs the sample alerts of the reference enterprise, and shows what came of them and where to look next.
    """
    from interlock.cli.batch import run_batch
    from interlock.cli.inputs import read_inputs
    from interlock.cli.session import drive, working

    sample = Path(str(files("interlock.examples.enterprise"))) / "sample"
    inputs = read_inputs(str(sample / "alerts.csv"))

    async def work() -> Any:
        async with working(home, policies=policies, shadow=shadow, reference=sample) as plane:
            outcome = await run_batch(plane, _WORKFLOW, inputs, requester=_REQUESTER)
            waiting = await plane.inbox.list(limit=5)
            return outcome, await plane.metrics.summary(_WORKFLOW), waiting.items

    outcome, metrics, items = drive(work())
    if as_json:
        emit({**outcome.figures, "metrics": metrics})
    else:
        _print(outcome, metrics, items, home)
    if outcome.failed or not outcome.figures["ledger_verified"]:
        raise typer.Exit(FAILED)


def _print(outcome: Any, metrics: Mapping[str, Any], items: list[Any], home: Path) -> None:
    from interlock.cli.inbox import row

    figures = outcome.figures
    print(f"\n{figures['cases']} alerts of a small plant went through the maintenance workflow.\n")
    table(("outcome", "cases"), _outcomes(figures))
    table(("figure", "value"), _facts(figures, metrics))
    print(f"{figures['waiting']} cases wait for people, the oldest first:\n")
    table(("item", "kind", "task", "asks for", "money"), [row(item)[:5] for item in items])
    print("Where to look next:\n")
    print("\n".join(f"  {command}" for command in next_steps(items, home)))
    say("")


def _outcomes(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("work order in a technician's hands", figures["work_orders"]),
        ("merged into an open work order", figures["duplicates_merged"]),
        ("waits for an approval", figures["approvals_waiting"]),
        ("waits for a person, as an exception", figures["exceptions"]),
        ("failed", figures["failed"]),
    ]


def _facts(figures: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    cycle = metrics["cycle_s"]
    return [
        ("throughput", f"{figures['cases_per_s']:,.1f} cases/s on this machine"),
        ("cycle time", f"{_seconds(cycle['p50'])} median, {_seconds(cycle['p90'])} at the 90th percentile"),
        ("cost of running", _cost(metrics["cost"])),
        ("money approved and spent", _money(metrics["money"])),
        ("ledger", f"{figures['ledger_events']:,} events, {'verified' if figures['ledger_verified'] else 'BROKEN'}"),
    ]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} s"


def _cost(cost: Mapping[str, Any]) -> str:
    total = cost.get("total") or {}
    return ", ".join(_amount(amount, currency) for currency, amount in total.items()) or "0.00 (no model was called)"


def _money(money: Mapping[str, Any]) -> str:
    return ", ".join(_amount(sums["executed"], currency) for currency, sums in money.items()) or "-"


def _amount(minor: float, currency: str) -> str:
    from interlock.money import Money

    return str(Money(round(minor), currency))


def next_steps(items: list[Any], home: Path) -> list[str]:
    """Commands that work with this home, as it is now."""
    approvals = [i for i in items if i.kind == "approval" and i.eligible and sum(i.need.values()) == 1]
    decide = [f"interlock approvals decide {i.id} --approve --by {i.eligible[0]} --home {home}" for i in approvals[:1]]
    case = [f"interlock cases show {item.case_id} --home {home}" for item in items[:1]]
    return [
        f"interlock inbox --home {home}",
        *decide,
        *case,
        f"interlock cases --status completed --home {home}",
        f"interlock metrics --home {home}",
        f"interlock audit verify --home {home}",
        f"interlock map {_WORKFLOW} --format svg --output {home / 'maintenance.svg'}",
    ]
