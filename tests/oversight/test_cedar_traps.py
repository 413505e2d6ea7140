"""Traps of Cedar that would let a call through, or deny an honest one. Here each is closed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interlock import errors
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.limits import Limits
from interlock.oversight.policy import Edition, Policies
from interlock.storage.database import Database
from tests.oversight.department import ACTIONS, START, ask, bound

SCOPE = '(principal, action == Interlock::Action::"erp.create_po", resource)'
ANYONE = f'@id("any") permit {SCOPE};'


@pytest.mark.parametrize(
    "condition",
    [
        "context.amount * 4000000000 > 5",
        "context.amount + 9223372036854775000 > 5",
        "-context.amount - 9223372036854775000 < -5",
    ],
)
def test_a_a_forbid_that_fails_is_a_no(condition: str) -> None:
    """Cedar skips a policy that cannot be evaluated; skipping a forbid would be a yes."""
    policies = bound(f'{ANYONE} @id("cap") forbid {SCOPE} when {{ {condition} }};')
    verdict = policies.decide(ask(policies, 2**61))
    assert (verdict.allowed, verdict.policy_ids) == (False, ["cap"])


@pytest.mark.parametrize(
    "wrong",
    [{"amount": "5"}, {"amount": 5.0000001}, {"amount": None}, {"currency": 5}, {"totals": {"day": 1}}, {"counts": {}}],
    ids=str,
)
def test_a_requests_are_checked_as_policies_are(wrong: dict[str, Any]) -> None:
    named = 'context.amount > 1000000 || context.currency == "X" || context.totals.day > 9 || context.counts.day > 9'
    policies = bound(f'{ANYONE} @id("f") forbid {SCOPE} when {{ {named} }};')
    request = ask(policies, 5)
    assert policies.decide(request).allowed
    verdict = policies.decide(replace(request, context={**request.context, **wrong}))
    assert (verdict.allowed, verdict.policy_ids) == (False, ["interlock.request"])


def test_b_reasons_bear_the_ids_of_the_annotations_wherever_a_policy_stands() -> None:
    """Cedar names policies by their place in the set: policy0, policy1 ..."""
    filler = "\n".join(f'@id("x{n}") permit {SCOPE} when {{ context.amount == {n + 100} }};' for n in range(12))
    policies = bound(f'{filler}\n@id("policy0") forbid {SCOPE} when {{ context.amount == 7 }};\n{ANYONE}')
    assert policies.decide(ask(policies, 5)).policy_ids == ["any"]
    assert policies.decide(ask(policies, 105)).policy_ids == ["x5", "any"]
    assert policies.decide(ask(policies, 7)).policy_ids == ["policy0"]


def test_b_a_policy_without_an_id_is_named_by_its_place() -> None:
    assert bound(f"\n\npermit {SCOPE};").decide(ask(bound(f"permit {SCOPE};"))).policy_ids == ["t:3"]


def test_c_money_is_whole_minor_units() -> None:
    policies = bound(f"{ANYONE[:-1]} when {{ context.amount <= 10.5 }};")
    assert any("minor units" in problem.suggestion for problem in policies.check())
    exact = bound(f"{ANYONE[:-1]} when {{ context.amount <= 9007199254740993 }};")
    # 2**53 + 1 is no float: one more minor unit would be the same number.
    assert exact.decide(ask(exact, 9007199254740993)).allowed
    assert not exact.decide(ask(exact, 9007199254740994)).allowed


async def test_d_sums_are_read_in_the_transaction_that_adds_to_them(db: Database, ledger: Ledger) -> None:
    """Cedar remembers nothing: the sum that is asked about is the one of the commit, also of many at once."""
    limits, policies = (
        Limits(ledger),
        bound(f"{ANYONE[:-1]} when {{ context.totals.day + context.amount <= 1000 }};"),
    )
    where = {"requester": "person:ana", "actor": "agent:buyer", "counterparty": ""}

    def spend(number: int) -> Any:
        def unit(tx: Any) -> bool:
            totals = limits.totals(tx, tenant="default", currency="EUR", at=START, **where)
            allowed = policies.decide(ask(policies, 70, totals=totals)).allowed
            if allowed:
                limits.reserve(
                    tx,
                    tenant="default",
                    effect_key=f"e{number}",
                    case_id="c",
                    money=Money(70, "EUR"),
                    at=START,
                    **where,
                )
            return allowed

        return unit

    said = await asyncio.gather(*(db.commit(spend(number)) for number in range(64)))
    assert sum(said) == 14


# Taking another set


def files(folder: Path, limit: int, extra: str = "") -> Policies:
    (folder / "t.cedar").write_text(f"{ANYONE[:-1]} when {{ context.amount <= {limit} }};{extra}")
    policies = Policies(folder)
    policies.bind(ACTIONS, ("buyer",), ("purchasing",))
    return policies


async def test_a_valid_set_is_taken_and_the_old_edition_stays_as_it_was(tmp_path: Path) -> None:
    policies = files(tmp_path, 100)
    old = policies.edition
    told: list[tuple[str, str]] = []

    async def tell(edition: Edition, by: str) -> None:
        assert policies.edition is old, "recorded before it decides"
        told.append((edition.version, by))

    policies.tell = tell
    files(tmp_path, 50)
    assert await policies.reload("person:ana") == []
    assert not policies.decide(ask(policies, 75)).allowed
    assert old.decide(ask(policies, 75)).allowed, "a decision in flight keeps its edition"
    assert told == [(policies.version, "person:ana")] and policies.version != old.version
    await policies.reload()
    assert len(told) == 1, "the same set again is no news"


@pytest.mark.parametrize("extra", [" permit (", ' permit (principal, action == Interlock::Action::"erp.x", resource);'])
async def test_a_set_that_is_not_valid_is_told_and_not_taken(tmp_path: Path, extra: str, caplog: Any) -> None:
    policies = files(tmp_path, 100)
    version = policies.version
    files(tmp_path, 50, extra)
    problems = await policies.reload()
    assert problems and policies.check() == problems
    assert policies.version == version and policies.decide(ask(policies, 75)).version == version
    assert policies.decide(ask(policies, 75)).allowed
    assert "were not taken" in caplog.text
    files(tmp_path, 50)
    assert await policies.reload() == policies.check() == []


async def test_a_folder_that_is_gone_leaves_the_old_set(tmp_path: Path) -> None:
    policies = files(tmp_path, 100)
    (tmp_path / "t.cedar").unlink()
    (problem,) = await policies.reload()
    assert "no *.cedar file" in problem.message
    assert policies.decide(ask(policies, 75)).allowed


async def test_a_set_that_cannot_be_recorded_is_not_taken(tmp_path: Path) -> None:
    policies = files(tmp_path, 100)

    async def tell(edition: Edition, by: str) -> None:
        raise errors.StorageError("the disk is full", "free some")

    policies.tell = tell
    files(tmp_path, 50)
    with pytest.raises(errors.StorageError):
        await policies.reload()
    assert policies.decide(ask(policies, 75)).allowed


async def test_what_is_registered_meanwhile_is_part_of_the_new_edition(tmp_path: Path) -> None:
    policies = files(tmp_path, 100)

    async def tell(edition: Edition, by: str) -> None:
        policies.bind([], (), ())

    policies.tell = tell
    files(tmp_path, 50)
    await policies.reload()
    assert policies.check(), "the tool that the policy names is gone"
    assert not policies.decide(ask(policies, 1)).allowed
