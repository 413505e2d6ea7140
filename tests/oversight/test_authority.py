"""The authority matrix: read exactly, refused when a row is wrong, and what its policies let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.oversight.authority import Authority, Row, review
from interlock.oversight.policy import Policies
from tests.oversight.department import ACTIONS, GATE, PO, ask

ROW = "role: purchasing, action: erp.create_po, currency: EUR"


def load(tmp_path: Path, text: str) -> Authority:
    file = tmp_path / "authority.yaml"
    file.write_text(text, "utf-8")
    return Authority.load(file)


def one(tmp_path: Path, rest: str) -> Row:
    return load(tmp_path, f"- {{{ROW}, {rest}}}").rows[0]


def matrix(*rows: Row) -> Policies:
    policies = Policies({"doa": Authority(rows, "doa")})
    policies.bind(ACTIONS, (), {row.role for row in rows})
    assert policies.check() == []
    return policies


def row(**more: Any) -> Row:
    return Row(**{"role": "purchasing", "action": PO.name, "currency": "EUR", "per_act": 10000, **more})


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("98.70", 9870), ("98.7", 9870), ("0.07", 7), ("1.10", 110), ("1", 100), ("'98.70'", 9870), ("1e3", 100000),
        ("90071992547409.93", 9007199254740993), ("0100", 10000), ("1_000", 100000), ("0", 0), ("4.35", 435),
    ],
)  # fmt: skip
def test_amounts_are_what_stands_in_the_file(tmp_path: Path, written: str, minor: int) -> None:
    assert one(tmp_path, f"per_act: {written}").per_act == minor


def test_all_columns_and_currencies(tmp_path: Path) -> None:
    found = one(tmp_path, "per_act: 100.00, per_day: 250.5, per_counterparty: 120, second_above: 50")
    assert found == Row("purchasing", "erp.create_po", "EUR", 10000, 25050, 12000, 5000)
    yen = load(tmp_path, "rows:\n- {role: a, action: b, currency: JPY, per_act: 500, per_day: }").rows[0]
    assert (yen.per_act, yen.per_day) == (500, None)
    two = load(tmp_path, f"- {{{ROW}, per_act: 1}}\n- {{role: cfo, action: x, currency: EUR, per_act: 2}}")
    assert two.authorities == {"purchasing", "cfo"}


BAD = [
    "per_act: 98.705", "per_act: -1", "per_act: .inf", "per_act: .nan", "per_act: true", "per_act: ''", "per_act: [1]",
    "per_act: 1:30", "per_act: 0x10", "per_act: 1e30", "per_day: 5", "per_act: 1, per_wek: 5", "per_act: 1, 5: 6",
    "per_act: 1, second_above: -5", "per_act: 1, per_day: much", "per_act: 2026-01-01", "per_act: {}",
]  # fmt: skip


@pytest.mark.parametrize("rest", BAD)
def test_a_bad_row_is_named(tmp_path: Path, rest: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="row 2") as caught:
        load(tmp_path, f"- {{{ROW}, per_act: 1}}\n- {{{ROW}, {rest}}}")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "rows: []", "rows: 5", "5", "text", "- 5", "- [1, 2]", "{a: b",
        "- {role: 'a b', action: x, currency: EUR, per_act: 1}",
        "- {role: a, action: UPPER, currency: EUR, per_act: 1}", "- {role: a, action: x, currency: euro, per_act: 1}",
        "- {role: a, action: x, currency: NO, per_act: 1}", "- {role: [a], action: x, currency: EUR, per_act: 1}",
        "- !!python/object/apply:os.getcwd []", "- {action: x, currency: EUR, per_act: 1}", "- null",
    ],
)  # fmt: skip
def test_a_file_that_is_no_matrix_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        load(tmp_path, text)
    assert caught.value.hint


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("none.yaml", "bin.yaml"):
        with pytest.raises(errors.ConfigurationError):
            Authority.load(tmp_path / name)


def test_per_act_needs_one_approval_up_to_the_bound() -> None:
    policies = matrix(row())
    assert policies.need(ask(policies, 10000)) == {"purchasing": 1}
    assert policies.need(ask(policies, 10001)) is None
    assert policies.need(ask(policies, -10000)) == {"purchasing": 1}
    assert policies.need(ask(policies, -10001)) is None
    assert policies.need(ask(policies, 1, currency="USD")) is None
    assert policies.need(ask(policies, 1, action="erp.get_po")) is None


def test_per_day_and_per_counterparty_bound_the_sums_with_this_act() -> None:
    policies = matrix(row(per_day=15000, per_counterparty=12000))
    assert policies.need(ask(policies, 5000, totals={"day": 10000})) == {"purchasing": 1}
    assert policies.need(ask(policies, 5001, totals={"day": 10000})) is None
    with_vendor = {"by_counterparty": {"day": 7000}}
    assert policies.need(ask(policies, 5000, totals=with_vendor)) == {"purchasing": 1}
    assert policies.need(ask(policies, 5001, totals=with_vendor)) is None


@pytest.mark.parametrize(
    ("column", "sums"),
    [("tenant_per_day", {"day": 7000}), ("tenant_per_counterparty", {"by_counterparty": {"day": 7000}})],
)
def test_bounds_of_the_tenant_hold_for_the_sums_of_all_requesters(
    tmp_path: Path, column: str, sums: dict[str, Any]
) -> None:
    assert getattr(one(tmp_path, f"per_act: 100.00, {column}: 120"), column) == 12000
    policies = matrix(row(**{column: 12000}))
    assert policies.need(ask(policies, 5000, totals={"tenant": sums})) == {"purchasing": 1}
    assert policies.need(ask(policies, 5001, totals={"tenant": sums})) is None
    assert policies.need(ask(policies, 5001, totals=sums)) == {"purchasing": 1}


def test_above_second_above_two_persons_approve_a_credit_as_well() -> None:
    policies = matrix(row(second_above=5000))
    for amount, count in ((5000, 1), (5001, 2), (-5000, 1), (-5001, 2)):
        assert policies.need(ask(policies, amount)) == {"purchasing": count}


def test_approvers_are_in_the_role_within_the_bound_whatever_their_own_limit() -> None:
    policies = matrix(row(), row(role="cfo", per_act=1000000))
    bo, cy = Person("bo", authorities={"purchasing": Money(1, "EUR")}), Person("cy", roles={"cfo"})
    assert policies.who(ask(policies, 10000), "purchasing", [bo, cy]) == ["person:bo"]
    assert policies.who(ask(policies, 10001), "purchasing", [bo, cy]) == []
    assert policies.who(ask(policies, 10001), "cfo", [bo, cy]) == ["person:cy"]
    assert policies.who(ask(policies, 1, currency="USD"), "cfo", [bo, cy]) == []


def test_a_gate_that_the_matrix_names_is_passed_by_its_rows_only() -> None:
    policies = matrix(row(action=GATE.name, second_above=5000))
    gate = {"action": GATE.name, "authority": "purchasing"}
    bo = Person("bo", authorities={"purchasing": Money(10**9, "EUR"), "cfo": Money(10**9, "EUR")})
    assert policies.need(ask(policies, 5000, **gate)) == {"purchasing": 1}
    assert policies.need(ask(policies, 5001, **gate)) == {"purchasing": 2}
    assert policies.need(ask(policies, 10001, **gate)) is None
    assert policies.who(ask(policies, 10000, **gate), "purchasing", [bo]) == ["person:bo"]
    assert policies.who(ask(policies, 10001, **gate), "purchasing", [bo]) == []
    assert policies.who(ask(policies, 10, action=GATE.name, authority="cfo"), "cfo", [bo]) == []


def test_a_tool_that_the_matrix_names_may_be_permitted_by_others_too() -> None:
    scope = '(principal, action == Interlock::Action::"erp.create_po", resource)'
    small = f'@id("small") permit {scope} when {{ context.amount < 9 }};'
    policies = Policies({"doa": Authority((row(),)), "own.cedar": small})
    policies.bind(ACTIONS, (), ("purchasing",))
    assert policies.check() == []
    assert policies.decide(ask(policies, 8)).allowed
    assert policies.need(ask(policies, 9)) == {"purchasing": 1}


@pytest.mark.parametrize("name", ['a"b', "a\\", "ü x", 'x"); permit(principal, action, resource); //'])
def test_the_name_of_a_matrix_is_no_syntax(name: str) -> None:
    policies = Policies({"doa": Authority((row(),), name)})
    policies.bind(ACTIONS, (), ("purchasing",))
    assert policies.check() == []
    assert policies.decide(ask(policies, 5)).policy_ids == [f"{name}.1.act"]


@settings(max_examples=60, deadline=None)
@given(st.integers(-20000, 20000), st.integers(-3000, 30000), st.integers(0, 3))
def test_decisions_follow_the_row(amount: int, day: int, approvals: int) -> None:
    request = ask(DOA, amount, totals={"day": day}, approvals={"purchasing": approvals})
    expected = abs(amount) <= 10000 and day + amount <= 15000 and approvals >= (2 if abs(amount) > 5000 else 1)
    assert DOA.decide(request).allowed is expected


DOA = matrix(row(per_day=15000, second_above=5000))


def test_problems_name_row_and_line_of_the_file(tmp_path: Path) -> None:
    wrong = "- role: purchsing\n  action: erp.creat_po\n  currency: EUR\n  per_act: 5\n"
    text = f"# ours\nrows:\n- {{{ROW}, per_act: 1}}\n\n{wrong}"
    (tmp_path / "authority.yaml").write_text(text, "utf-8")
    policies = Policies(tmp_path)
    policies.bind(ACTIONS, ("purchasing",), ("purchasing",))
    told = {str(problem) for problem in policies.check()}
    assert "authority.yaml:5:1: row 2: no action 'erp.creat_po' (did you mean erp.create_po?)" in told
    assert len(told) == len(policies.check())
    assert all(problem.line == 5 and problem.message.startswith("row 2: ") for problem in policies.check())


def test_a_matrix_in_a_folder_decides_and_is_explained_by_its_lines(tmp_path: Path) -> None:
    load(tmp_path, f"\n\n- {{{ROW}, per_act: 100, second_above: 50}}")
    policies = Policies(tmp_path)
    policies.bind(ACTIONS, (), ("purchasing",))
    assert policies.check() == []
    assert policies.need(ask(policies, 5001)) == {"purchasing": 2}
    told = policies.explain(ask(policies, 5001))["policies"]
    assert ("authority.1.act", "authority.yaml", 3) in [(p["id"], p["file"], p["line"]) for p in told]


def test_the_review_lists_who_may_approve_what_up_to_how_much(tmp_path: Path) -> None:
    matrix = load(
        tmp_path, f"- {{{ROW}, per_act: 100, second_above: 50}}\n- {{role: cfo, action: x, currency: EUR, per_act: 2}}"
    )
    people = [
        Person("cy", roles={"purchasing"}),
        Person("bo", authorities={"purchasing": Money(1, "EUR")}),
        Person("x"),
    ]
    found = review(matrix, people)
    assert [(one["row"], one["person"], one["per_act"]) for one in found] == [
        (1, "person:bo", 10000), (1, "person:cy", 10000), (2, None, 200),
    ]  # fmt: skip
    assert found[0] == {
        "row": 1, "role": "purchasing", "action": "erp.create_po", "currency": "EUR", "per_act": 10000, "per_day": None,
        "per_counterparty": None, "second_above": 5000, "tenant_per_day": None, "tenant_per_counterparty": None,
        "person": "person:bo",
    }  # fmt: skip
