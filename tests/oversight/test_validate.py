"""What `check()` finds: every problem, with file, line, column and a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.oversight.policy import ActionSpec, Policies
from interlock.oversight.statements import Problem, read_statements
from interlock.oversight.suggest import closest
from tests.oversight.department import ACTIONS, GET, PO, ask, bound

PERMIT = 'permit (principal, action == Interlock::Action::"erp.create_po", resource)'
APPROVE = 'permit (principal, action == Interlock::Action::"approve:erp.create_po", resource);'


def problems(text: str) -> list[Problem]:
    return bound(text).check()


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def test_a_misspelled_attribute_has_file_line_column_and_suggestion() -> None:
    found = only(f"// a comment that names context.amout\n{PERMIT}\nwhen {{\n  context.amout < 5\n}};")
    assert (found.file, found.line, found.column) == ("t.cedar", 4, 11)
    assert found.suggestion == "did you mean amount?"
    assert str(found) == "t.cedar:4:11: context has no amout (did you mean amount?)"


@pytest.mark.parametrize(
    ("condition", "suggestion"),
    [
        ("context.totals.dy < 5", "did you mean day?"),
        ("context.totals.by_actr.day < 5", "did you mean by_actor?"),
        ("context.args.totl < 5", "did you mean total?"),
        ("context.approvals.purchsing >= 1", "did you mean purchasing?"),
        ("context.args.rate < 5", "fractions, unions and free-form objects are not visible to policies"),
        ("context has amonut && context.amount > 4", "did you mean amount?"),
        ("context.args has totl", "did you mean total?"),
        ("context.zzz", ""),
    ],
)
def test_unknown_names_get_the_nearest_known_one(condition: str, suggestion: str) -> None:
    found = only(f"{PERMIT} when {{ {condition} }};")
    assert (found.line, found.suggestion) == (1, suggestion)


def test_an_optional_argument_must_be_tested() -> None:
    found = only(f'{PERMIT} when {{ context.args.note == "x" }};')
    assert "may be absent" in found.message
    assert found.suggestion == "test it: context.args has note && ..."
    policies = bound(f'{PERMIT} when {{ context.args has note && context.args.note == "x" }};')
    assert policies.check() == []
    assert not policies.decide(ask(policies)).allowed
    assert policies.decide(ask(policies, args={"total": 0, "vendor": "v", "note": "x"})).allowed


@pytest.mark.parametrize("path", ["args.total", "args.note", "origins.vendor"])
def test_an_unscoped_rule_that_names_an_argument_is_refused(path: str) -> None:
    text = f"forbid (principal, action, resource) when {{ context has {path} && context.{path} == context.{path} }};"
    found = problems(text.replace(f"context has {path} && ", ""))
    assert any("argument of some actions only" in one.message for one in found), found
    assert any("name the one action in the scope" in one.suggestion for one in found)


def test_a_list_with_an_unknown_action_is_refused() -> None:
    names = 'Interlock::Action::"erp.create_po", Interlock::Action::"erp.creat_po"'
    text = f"permit (principal, action in [{names}], resource);"
    found = only(text)
    assert (found.message, found.suggestion) == ("no action 'erp.creat_po'", "did you mean erp.create_po?")
    assert text[found.column - 1 :].startswith('"erp.creat_po"')


@pytest.mark.parametrize("name", ["effect:wite", "system:epr", "approve:erp.creat_po", "scope:po:wite"])
def test_unknown_groups_are_refused(name: str) -> None:
    found = only(f'forbid (principal, action in Interlock::Action::"{name}", resource);')
    assert found.suggestion.startswith("did you mean")


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        (f"{PERMIT} when {{ context.amount < 5.5 }};", "Cedar has no fractions: write money in minor units"),
        (f"{PERMIT} when {{ context.amount = 5 }};", "compare with =="),
        (f"{PERMIT} when {{ context.amount > 5 and context.amount < 9 }};", "write &&"),
        (f"{PERMIT} when {{ context.amount > 5 or context.amount < 9 }};", "write ||"),
        (PERMIT.replace("permit", "allow") + ";", "write permit"),
        (PERMIT.replace("permit", "deny") + ";", "write forbid"),
        (f"{PERMIT} when {{ context.amount > 5 }}", "a policy ends with ';'"),
        (f'{PERMIT} when {{ context.args.tags.contain("x") }};', "did you mean contains?"),
    ],
)
def test_what_does_not_parse_gets_advice(text: str, suggestion: str) -> None:
    found = only(text)
    assert found.message.startswith("this does not parse")
    assert found.suggestion == suggestion
    assert found.line == 1


BROKEN = [
    "garbage", "permit", "permit(principal, action, resource", ";", "permit principal;", '"', "@id(", "\x00;", "😀;",
    'permit(principal == ?principal, action, resource);', "permit(principal, action, resource) when { ",
    'permit(principal, action, resource) when { "unterminated };', "permit(principal, action, resource) when { 1 + };",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_denies_everything_and_says_where(text: str) -> None:
    policies = bound(f'@id("ok") {PERMIT};\n{text}')
    assert policies.check(), "a broken set is not valid"
    assert all(one.file == "t.cedar" and one.line >= 1 and one.column >= 1 for one in policies.check())
    assert not policies.decide(ask(policies, 1)).allowed


def test_templates_are_refused() -> None:
    assert "never linked" in only("permit(principal == ?principal, action, resource);").message


def test_all_problems_of_all_files_are_listed_in_order() -> None:
    policies = Policies(
        {
            "b.cedar": f"{PERMIT} when {{ context.amout > 1 && context.amonut > 2 }};\nnonsense;",
            "a.cedar": f'@id("twice") {PERMIT};\n\n@id("twice") {PERMIT} when {{ context.curency == "EUR" }};',
        }
    )
    policies.bind(ACTIONS, (), ())
    places = [(one.file, one.line) for one in policies.check()]
    assert places == sorted(places)
    texts = [one.message for one in policies.check()]
    assert len([text for text in texts if "'twice' is used twice" in text]) == 2
    for expected in ("amout", "curency", "does not parse"):
        assert any(expected in text for text in texts), (expected, texts)
    assert {one.file for one in policies.check()} == {"a.cedar", "b.cedar"}


def test_a_double_id_across_files_is_refused() -> None:
    policies = Policies({"a.cedar": f'@id("x") {PERMIT};', "b.cedar": f'@id("x") {PERMIT};'})
    policies.bind(ACTIONS, (), ())
    assert [one.file for one in policies.check()] == ["a.cedar", "b.cedar"]


def test_wrong_types_are_found() -> None:
    assert "expected Long but saw String" in only(f'{PERMIT} when {{ context.amount > "5" }};').message
    assert problems(f"{PERMIT} when {{ context.amount }};")
    assert problems(f"{PERMIT} when {{ context.currency > 5 }};")


def test_a_limit_is_a_persons_and_only_persons_approve() -> None:
    found = only(f"{PERMIT} when {{ principal.limit > 5 }};")
    assert found.suggestion == "only persons have it: write principal is Interlock::Person"
    found = only(
        'permit (principal is Interlock::Agent, action == Interlock::Action::"approve:erp.create_po", resource);'
    )
    assert found.suggestion == "only persons approve"


@pytest.mark.parametrize(
    ("name", "suggestion"), [("Rol", "did you mean Role?"), ("Perso", "did you mean Person?"), ("Zebra", "")]
)
def test_unknown_entity_types_are_refused(name: str, suggestion: str) -> None:
    found = only(
        f'permit (principal in Interlock::{name}::"buyer", action == Interlock::Action::"erp.create_po", resource);'
    )
    assert (found.message, found.suggestion) == (f"no entity type Interlock::{name}", suggestion)


def test_a_permit_for_one_tool_may_name_its_arguments_also_in_a_group_of_its_own() -> None:
    text = (
        'forbid (principal, action in Interlock::Action::"scope:po:write", resource) when { context.args.total > 5 };'
    )
    assert problems(text) == []


def test_an_authority_that_nobody_holds_is_no_error_but_a_near_miss_is() -> None:
    assert problems(f"{PERMIT} when {{ context.approvals.treasury >= 1 }};") == []
    assert only(f"{PERMIT} when {{ context.approvals.purchasin >= 1 }};").suggestion == "did you mean purchasing?"


def test_the_id_of_a_policy_without_one_is_its_place() -> None:
    statements, wrong = read_statements("folder/t.cedar", f"\n\n{PERMIT};")
    assert wrong == [] and statements[0].id == "t:3"
    assert (statements[0].line, statements[0].column) == (3, 1)


def test_semicolons_in_texts_and_comments_cut_nothing() -> None:
    text = f'// one; two\n@id("a;b") {PERMIT} // three;\nwhen {{ context.workflow == "x;\\"; // y" }};\n{PERMIT};'
    statements, wrong = read_statements("t.cedar", text)
    assert wrong == []
    assert [s.id for s in statements] == ["a;b", "t:4"]
    assert bound(text).check() == []


def test_an_empty_set_and_a_set_of_comments_are_valid() -> None:
    for text in ("", " \n", "// nothing here", "\ufeff"):
        statements, _ = read_statements("t.cedar", text.lstrip("\ufeff"))
        assert statements == []
        assert bound(text.lstrip("\ufeff")).check() == []


def test_a_long_broken_policy_is_answered_soon() -> None:
    text = f"{PERMIT} when {{ " + " && ".join("context.amount > 5" for _ in range(500)) + " and true };"
    assert only(text).suggestion == "write &&"


def test_many_policies_are_cut_by_action() -> None:
    tools = [ActionSpec(f"t.n{n}", "write", "s") for n in range(40)]
    text = "".join(
        f'@id("p{n}") permit (principal, action == Interlock::Action::"t.n{n}", resource);\n' for n in range(40)
    )
    policies = bound(text, tools)
    assert policies.check() == []
    assert policies.decide(ask(policies, action="t.n7")).policy_ids == ["p7"]
    part = policies.edition.slice("t.n7")
    assert part is not None and len(part.statements) <= 3


def test_closest_offers_nothing_that_is_far_or_the_same() -> None:
    assert closest("amount", ["amount"]) is None
    assert closest("x", ["amount"]) is None
    assert closest("", []) is None


def test_the_whole_context_may_be_used() -> None:
    policies = bound(f"{PERMIT} when {{ context == context }};", [PO, GET])
    assert policies.check() == []
    assert policies.decide(ask(policies, 5)).allowed


@pytest.mark.parametrize(
    "deep",
    [
        "(" * 800 + "true" + ")" * 800,
        "[" * 800 + "1" + "]" * 800 + ".isEmpty()",
        "{a:" * 800 + "1" + "}" * 800 + " == 1",
        "if true then " * 20_000 + "true" + " else false" * 20_000,
        " && ".join(["true"] * 20_000),
        " || ".join(["true"] * 20_000),
        "context" + ".a" * 20_000,
        "context" + '["a"]' * 20_000,
        "1" + " + 1" * 20_000 + " < 5",
        ")" * 20_000,
    ],
    ids=["paren", "set", "record", "if", "and", "or", "dot", "index", "plus", "closing"],
)
def test_what_nests_too_deep_for_the_parser_is_a_problem_with_its_place(deep: str) -> None:
    found = only(f"{PERMIT}\nwhen {{\n  {deep} }};")
    assert (found.file, found.line) == ("t.cedar", 3), found
    assert "this does not parse" in found.message


def test_what_is_wide_is_not_deep() -> None:
    names = ", ".join(f'"v{number}"' for number in range(3_000))
    assert problems(f"{PERMIT} when {{ [{names}].contains(context.args.vendor) }};") == []


async def test_a_set_that_nests_too_deep_leaves_the_one_that_decides(tmp_path: Path) -> None:
    (file := tmp_path / "p.cedar").write_text(f"{PERMIT};")
    policies = Policies(file)
    policies.bind(ACTIONS, ["buyer"], ["purchasing"])
    file.write_text(f"{PERMIT} when {{ {'(' * 800}true{')' * 800} }};")
    (problem,) = await policies.reload()
    assert problem.message == "this does not parse: it nests more than 100 brackets deep"
    assert policies.decide(ask(policies)).allowed
