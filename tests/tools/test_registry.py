"""What registers as a tool, under which name, and which options are refused before they can do harm."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, Field

from interlock import errors
from interlock.money import Money
from interlock.tools.contract import ToolContext, ToolSpec, tool
from interlock.tools.registry import Tools
from tests.naming import named


async def pay(amount: int, to: str, ctx: ToolContext) -> str:
    """Pay somebody.

    More about it.
    """
    return to


async def other(amount: int, to: str) -> str:
    return to


def register(target: Any = pay, **options: Any) -> ToolSpec:
    return Tools().register(target, **{"name": "bank.pay", **options})


def test_a_function_with_everything_it_says_of_itself() -> None:
    spec = register(system="bank", scope="bank:pay", resource="to", money=lambda args: Money(args.amount, "EUR"))
    assert (spec.name, spec.shown, spec.effect, spec.writes) == ("bank.pay", "bank__pay", "write", True)
    assert spec.description.startswith("Pay somebody.")
    assert spec.arguments.names == {"amount", "to"}, "ctx is the plane's"
    assert spec.untrusted_output is True, "what an outside system says is untrusted"
    assert register().untrusted_output is False
    assert register(system="bank", registers="account").untrusted_output is False


def test_the_decorator_takes_the_same_options_and_leaves_the_function_alone() -> None:
    @tool(name="bank.pay", effect="read", timeout=5)
    async def marked(amount: int) -> int:
        return amount

    @tool
    def bare(amount: int) -> int:
        return amount

    spec = Tools().register(marked)
    assert (spec.name, spec.effect, spec.timeout) == ("bank.pay", "read", 5.0)
    assert Tools().register(marked, name="bank.other").name == "bank.other"
    assert Tools().register(bare).name == "bare"
    assert bare(3) == 3


def test_langchain_tools_and_endpoints_register() -> None:
    plain = StructuredTool.from_function(coroutine=other, name="pay", description="Pays.")
    spec = Tools().register(plain)
    assert (spec.name, spec.description) == ("pay", "Pays.")
    assert spec.arguments.names == {"amount", "to"}
    url = {"url": "https://erp.internal/orders/{id}", "method": "get"}
    order = Tools().register(url, name="erp.order", args_schema={"properties": {"id": {"type": "string"}}})
    assert order.description == "get https://erp.internal/orders/{id}"


@pytest.mark.parametrize(
    "name",
    ["Bank.pay", "bank pay", "bank/pay", "b" * 61, "", "bänk.pay", "bank.pay\n", "bank\u2024pay", "bank:pay", 7, ["a"]],
)
def test_names_are_plain(name: Any) -> None:
    with pytest.raises(errors.InputError):
        register(lambda: None, name=name)


def test_names_that_no_model_can_be_shown() -> None:
    assert len(register(name="a.b" + "c" * 57).shown) == 61
    with pytest.raises(errors.ConfigurationError, match="dot counts two"):
        register(name="a.b.c.d.e.f" + "g" * 49)


@pytest.mark.parametrize(
    "options",
    [
        {"effect": "Write"}, {"effect": ""}, {"effect": None}, {"system": 5}, {"system": "a b"}, {"scope": ["bank"]},
        {"sandbox": 1}, {"registers": True}, {"targets": ["to"]}, {"targets": {"to": 1}}, {"reconcile": "probe"},
        {"compensate": 5}, {"resource": 5}, {"money": 5}, {"money": True}, {"idempotent": None}, {"idempotent": 1},
        {"timeout": 0}, {"timeout": -1}, {"timeout": True}, {"timeout": "5"}, {"timeout": float("nan")},
        {"timeout": float("inf")}, {"timeout": timedelta(0)}, {"rate": 0}, {"rate": "0/s"}, {"rate": "fast"},
        {"rate": "-1/s"}, {"rate": "1.5/s"}, {"rate": True}, {"rate": (5, 0)}, {"rate": (5, "x")}, {"rate": (2.5, 1)},
        {"rate": (5,)}, {"rate": [5, 1]}, {"rate": (5, float("nan"))}, {"untrusted_output": "note"},
        {"untrusted_output": 5}, {"untrusted_output": [5]}, {"untrusted_output": [""]}, {"unknown": 1},
        {"call": other}, {"arguments": None}, {"args_schema": 5}, {"args_schema": {"type": "string"}},
    ],
    ids=named,
)  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError):
        register(**options)


@pytest.mark.parametrize("option", ["money", "resource", "idempotent", "targets"])
def test_an_option_that_names_an_argument_must_name_one(option: str) -> None:
    wrong: Any = {"recipient": "account"} if option == "targets" else "recipient"
    with pytest.raises(errors.ConfigurationError, match=r"no argument 'recipient'"):
        register(**{option: wrong})
    right: Any = {"to": "account"} if option == "targets" else "to"
    assert getattr(register(**{option: right}), option) == right
    opened = {"additionalProperties": True}
    assert getattr(register(lambda **args: None, args_schema=opened, **{option: wrong}), option) == wrong


def test_an_argument_may_be_named_as_on_the_wire_or_as_in_python() -> None:
    class Args(BaseModel):
        supplier_id: str = Field(alias="supplierId")

    for name in ("supplier_id", "supplierId"):
        assert register(lambda supplier_id: None, args_schema=Args, resource=name).resource == name


@pytest.mark.parametrize(
    ("rate", "read"),
    [
        (None, None), ("10/s", (10, 1.0)), ("10 / sec", (10, 1.0)),
        ("100/min", (100, 60.0)), ("100 per minute", (100, 60.0)),
        ("5/hour", (5, 3600.0)), ("5/h", (5, 3600.0)), (3, (3, 1.0)), ((3, 10), (3, 10.0)), ((3, 0.5), (3, 0.5)),
    ],
)  # fmt: skip
def test_rates(rate: Any, read: Any) -> None:
    assert register(rate=rate).rate == read


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_timeouts(given: Any, seconds: Any) -> None:
    assert register(timeout=given).timeout == seconds


@pytest.mark.parametrize(
    ("given", "kept"),
    [(True, True), (False, False), ("/note", ("/note",)), (["/a", "/b/0"], ("/a", "/b/0")), ([], ())],
)
def test_untrusted_output(given: Any, kept: Any) -> None:
    assert register(untrusted_output=given).untrusted_output == kept


def test_registering_twice_is_once_unless_it_differs() -> None:
    tools = Tools()
    first = tools.register(pay, name="bank.pay", system="bank")
    assert tools.register(pay, name="bank.pay", system="bank") is first
    for changed in ({"system": "erp"}, {"system": "bank", "sandbox": True}, {"system": "bank", "targets": {"to": "a"}}):
        with pytest.raises(errors.Conflict):
            tools.register(pay, name="bank.pay", **changed)
    with pytest.raises(errors.Conflict):
        tools.register(other, name="bank.pay", system="bank")
    assert tools.get("bank.pay") is first
    assert [spec.name for spec in tools] == ["bank.pay"]


def test_names_that_look_the_same_to_a_model_do_not_both_register() -> None:
    tools = Tools()
    tools.register(pay, name="bank.pay")
    for twin in ("bank__pay",):
        with pytest.raises(errors.Conflict, match="look the same"):
            tools.register(other, name=twin)
        assert twin not in tools
    assert tools.register(other, name="bank_pay").shown == "bank_pay"


@pytest.mark.parametrize("name", ["bank.Pay", "bank__pay", "bank.pay ", "bank", "", None, 7])
def test_names_are_compared_exactly(name: Any) -> None:
    tools = Tools()
    tools.register(pay, name="bank.pay")
    assert name not in tools
    with pytest.raises(errors.NotFound):
        tools.get(name)


def test_facts_and_registries_register_once_and_show_in_the_actions() -> None:
    tools = Tools()
    tools.register(pay, name="bank.pay", effect="write", system="bank", scope="pay")

    def facts(args: Any, ctx: Any) -> dict[str, Any]:
        return {"known": True}

    def lookup(value: str, ctx: Any) -> None:
        return None

    for _ in range(2):
        tools.register_facts("vendor", facts, actions=["bank.pay"], types={"known": "bool"})
        tools.register_registry("account", lookup, source="erp")
    (action,) = tools.actions()
    assert (action.name, action.effect, action.system, action.scope) == ("bank.pay", "write", "bank", "pay")
    assert action.facts == {"known": "bool"}
    assert set(action.args["properties"]) == {"amount", "to"}
    with pytest.raises(errors.Conflict):
        tools.register_facts("vendor", facts, actions=["bank.pay"], types={"known": "long"})
    with pytest.raises(errors.Conflict):
        tools.register_registry("account", lookup, source="crm")


@pytest.mark.parametrize("target", [None, 5, "erp.pay", {"url": "ftp://erp"}, {"url": ""}, {}, {"method": "GET"}])
def test_what_is_no_tool_does_not_register(target: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        register(target)
