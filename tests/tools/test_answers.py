"""Every dialect of answer is understood, everything else refused, and an edit never becomes another call."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from interlock import errors
from interlock.ids import Reason, canonical
from interlock.oversight.inbox import Decision, Item
from interlock.tools.answers import fits, parse_answer, payload
from interlock.tools.arguments import from_schema
from tests.naming import named

ARGS = {"amount": 5, "to": "acme", "urgent": True, "lines": [1, 2], "note": None}
ITEM = Item(
    id="i1",
    tenant="default",
    kind="approval",
    case_id="c1",
    task="order",
    action={"tool": "bank.pay", "args": ARGS, "money": {"amount": 5, "currency": "EUR"}, "digest": "d"},
    authority="treasury",
    need={"treasury": 1},
    reasons=[Reason("PAY-2", "above the limit")],
    due="2026-01-01T00:00:00.000000Z",
    stage=1,
)


class Pay(BaseModel):
    """Optional arguments, whose type shows only in the schema."""

    amount: int
    to: str
    urgent: bool = False
    lines: list[int] = []
    note: str | None = None
    days: int | None = None
    limit: dict[str, int] | None = None


SCHEMA = from_schema(Pay).schema

APPROVALS = [
    True, "approve", "Approved", " accept ", "YES", "true", ["approve"], [True], [[["yes"]]],
    {"type": "approve"}, {"type": "accept", "args": None}, [{"type": "accept", "args": {"amount": 9}}],
    {"decisions": [{"type": "approve"}]}, [{"decisions": [{"type": "APPROVE"}]}], {"decision": "approve"},
    ({"type": "accept"},), {"decisions": {"type": "approve"}},
]  # fmt: skip
REJECTIONS = [
    (False, "rejected"), ("reject", "rejected"), ("ignore", "rejected"), ("No", "rejected"), ("deny", "rejected"),
    ([{"type": "ignore", "args": None}], "rejected"), ({"type": "reject", "message": "too dear"}, "too dear"),
    ({"decisions": [{"type": "reject", "message": "too dear"}]}, "too dear"),
    ({"type": "reject", "args": "too dear"}, "too dear"), ({"type": "reject", "comment": "too dear"}, "too dear"),
    ({"type": "reject", "message": "  ", "comment": "too dear"}, "too dear"),
    ({"type": "reject", "message": "  "}, "rejected"),
    ({"type": "reject", "decisions": [{"type": "approve"}]}, "rejected"),
    ({"type": "reject", "message": {"not": "text"}}, "rejected"),
]  # fmt: skip
RESPONSES = [
    ({"type": "respond", "message": "paid by cheque"}, "paid by cheque"),
    ([{"type": "response", "args": "paid by cheque"}], "paid by cheque"),
    ({"type": "respond", "message": None, "args": "paid by cheque"}, "paid by cheque"),
    ({"type": "respond", "value": {"order": 7}}, {"order": 7}),
    ({"type": "respond", "value": 0}, 0),
    ({"type": "respond"}, ""),
]
NONE: list[Any] = [
    None, 0, 1, 1.5, "", "maybe", "edit", "respond", [], {}, [True, True], {"decisions": []}, {"type": None},
    {"decisions": [{"type": "approve"}, {"type": "approve"}]}, {"type": "approve it all"}, {"type": ["approve"]},
    {"type": "edit"}, {"type": "edit", "args": "amount=5"}, {"type": "edit", "args": [1]}, {"type": "complete"},
    {"edited_action": {"args": {}}}, [[]], {"approve": True},
    {"type": "nothing", "decisions": [{"type": "approve"}]},
]  # fmt: skip


@pytest.mark.parametrize("answer", APPROVALS, ids=named)
def test_approvals(answer: Any) -> None:
    assert parse_answer(answer) == parse_answer(answer, ITEM) == Decision.approve()


@pytest.mark.parametrize(("answer", "why"), REJECTIONS)
def test_rejections_have_a_reason(answer: Any, why: str) -> None:
    assert parse_answer(answer, ITEM) == Decision.reject(why)


@pytest.mark.parametrize(("answer", "value"), RESPONSES)
def test_responses(answer: Any, value: Any) -> None:
    assert parse_answer(answer, ITEM) == Decision.respond(value)


@pytest.mark.parametrize("answer", NONE, ids=named)
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    with pytest.raises(errors.InputError):
        parse_answer(answer, ITEM, SCHEMA)


NEW = {**ARGS, "amount": 4}
STRINGS = {"amount": "4", "to": "acme", "urgent": "true", "lines": "[1, 2]", "note": ""}


@pytest.mark.parametrize(
    "edit",
    [
        {"type": "edit", "args": NEW},
        [{"type": "edit", "args": {"action": "bank.pay", "args": NEW}}],
        [{"type": "edit", "args": {"action": "bank__pay", "args": NEW}}],
        {"decisions": [{"type": "edit", "edited_action": {"name": "bank.pay", "args": NEW}}]},
        {"type": "edit", "edited_action": {"name": "bank.pay", "arguments": NEW}},
        {"type": "edit", "edited_action": {"args": NEW}},
        {"type": "edit", "args": {"action": "bank.pay", "args": STRINGS}},
        {"type": "edit", "args": STRINGS},
    ],
)
def test_edits_of_every_dialect_come_back_with_their_types(edit: Any) -> None:
    assert parse_answer(edit, ITEM, SCHEMA) == Decision.edit({**NEW, "note": edit_note(edit)})


def edit_note(edit: Any) -> Any:
    return "" if '"note": ""' in json.dumps(edit) else None


def test_without_an_item_the_values_stay_as_they_came() -> None:
    assert parse_answer({"type": "edit", "args": STRINGS}).args == STRINGS


@pytest.mark.parametrize(
    ("name", "said", "meant"),
    [
        ("days", "3", 3), ("days", "null", None), ("days", "", None), ("days", "three", "three"), ("note", "3", "3"),
        ("limit", '{"a": 1}', {"a": 1}), ("unknown", "3", "3"), ("to", "3", "3"), ("to", "null", "null"),
        ("amount", "", ""), ("amount", "4.0", 4.0), ("amount", "0x10", "0x10"), ("amount", "[" * 50_000, "[" * 50_000),
        ("amount", "9" * 10_000, "9" * 10_000), ("days", 3, 3), ("lines", "1,2", "1,2"),
    ],
)  # fmt: skip
def test_text_becomes_what_the_schema_wants_and_else_stays_text(name: str, said: Any, meant: Any) -> None:
    args = parse_answer({"type": "edit", "args": {**ARGS, name: said}}, ITEM, SCHEMA).args
    assert args is not None
    assert args[name] == meant
    assert type(args[name]) is type(meant)


@pytest.mark.parametrize("name", ["bank.refund", "bank__refund", "BANK.PAY", "bank.pay ", "", None, 7])
def test_an_edit_cannot_name_another_tool(name: Any) -> None:
    for edit in ({"args": {"action": name, "args": NEW}}, {"edited_action": {"name": name, "args": NEW}}):
        with pytest.raises(errors.InputError, match=r"bank\.pay"):
            parse_answer({"type": "edit", **edit}, ITEM, SCHEMA)


def test_an_argument_that_is_itself_called_args_is_kept() -> None:
    own = {"args": {"x": 1}, "name": "job"}
    item = replace(ITEM, action={"tool": "run", "args": own})
    wrapped = {"type": "edit", "edited_action": {"name": "run", "args": {"args": {"x": 2}}}}
    assert parse_answer(wrapped, item).args == {"args": {"x": 2}}
    assert parse_answer({"type": "edit", "args": {"args": {"x": 2}}}, item).args == {"args": {"x": 2}}


DEEP_LIST: Any = True
DEEP_DECISIONS: Any = {"type": "approve"}
DEEP_ARGS: Any = {"x": 1}
for _ in range(50_000):
    DEEP_LIST, DEEP_DECISIONS, DEEP_ARGS = [DEEP_LIST], {"decisions": [DEEP_DECISIONS]}, {"args": DEEP_ARGS}


@pytest.mark.parametrize("answer", [DEEP_LIST, DEEP_DECISIONS], ids=["lists", "decisions"])
def test_an_answer_far_down_is_none(answer: Any) -> None:
    with pytest.raises(errors.InputError):
        parse_answer(answer, ITEM)


def test_arguments_nested_without_end_do_not_overflow() -> None:
    assert parse_answer({"type": "edit", "args": DEEP_ARGS}, ITEM, SCHEMA).kind == "edit"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "args", "decisions", "decision", "edited_action", "message", "value", "name", "action"]
            )
            | st.text(max_size=3),
            inner | st.sampled_from(["edit", "approve", "reject", "respond"]),
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_nothing_but_input_errors_leaves_the_reading(value: Any) -> None:
    for item, schema in ((None, None), (ITEM, None), (ITEM, SCHEMA), (replace(ITEM, action={}), None)):
        try:
            decision = parse_answer(value, item, schema)
        except errors.InputError:
            continue
        assert decision.kind in ("approve", "edit", "reject", "respond")
        assert decision.kind != "reject" or decision.why.strip()
        assert (decision.args is not None) == (decision.kind == "edit")


@given(st.dictionaries(st.sampled_from(sorted(Pay.model_fields)), JSON | st.text()))
def test_an_edit_is_never_read_as_an_approval(args: dict[str, Any]) -> None:
    decision = parse_answer({"type": "edit", "args": args}, ITEM, SCHEMA)
    assert decision.kind == "edit"
    assert decision.args is not None
    assert decision.args.keys() == args.keys()


def test_the_payload_speaks_all_dialects_and_is_json() -> None:
    shown = payload(ITEM, problem="no such thing")
    assert canonical(shown)
    assert shown["action_request"] == {"action": "bank.pay", "args": ARGS}
    assert shown["config"] == dict.fromkeys(["allow_accept", "allow_edit", "allow_respond", "allow_ignore"], True)
    (request,) = shown["action_requests"]
    assert (request["name"], request["args"], request["arguments"]) == ("bank.pay", ARGS, ARGS)
    (review,) = shown["review_configs"]
    assert review == {"action_name": "bank.pay", "allowed_decisions": ["approve", "edit", "reject", "respond"]}
    assert shown["description"] == shown["message"] == request["description"]
    assert "above the limit" in shown["message"]
    assert "no such thing" in shown["message"]
    assert shown["expires_at"] == ITEM.due
    ours = shown["interlock"]
    assert (ours["approval_id"], ours["digest"], ours["authority"], ours["level"], ours["case"]) == (
        "i1", "d", "treasury", 1, "c1",
    )  # fmt: skip


def test_an_exception_is_not_offered_for_editing() -> None:
    shown = payload(replace(ITEM, kind="exception", authority="", action={}, need={}, reasons=[]))
    assert shown["config"]["allow_edit"] is False
    assert shown["review_configs"][0]["allowed_decisions"] == ["approve", "reject", "respond"]
    assert shown["action_request"] == {"action": "order", "args": {}}


def test_an_approval_that_nobody_could_give_is() -> None:
    assert payload(replace(ITEM, kind="exception"))["config"]["allow_edit"] is True


@pytest.mark.parametrize(
    ("answer", "decision", "fitting"),
    [
        (True, Decision.approve(), True),
        (True, Decision.reject("no"), False),
        ("nonsense", Decision.approve(), False),
        ({"type": "edit", "args": {}}, Decision.edit({"a": 1}), True),
        (None, None, True),
    ],
)
def test_whether_a_raw_answer_may_have_become_the_decision(answer: Any, decision: Any, fitting: bool) -> None:
    assert fits(answer, replace(ITEM, decision=decision)) is fitting
