"""The price of model calls."""

from __future__ import annotations

import pytest

from interlock import errors
from interlock.money import Money
from interlock.observability.cost import charge, price
from interlock.settings import Price

PRICES = {"gpt-5-mini": Price(input=25, output=200), "local": Price(input=0, output=0, currency="EUR")}


def test_a_million_tokens_cost_what_the_table_says() -> None:
    assert price(PRICES, "gpt-5-mini", 1_000_000, 2_000_000) == Money(425, "USD")


def test_the_provider_prefix_does_not_matter() -> None:
    assert price(PRICES, "openai:gpt-5-mini", 1_000_000, 0) == Money(25, "USD")


def test_small_calls_round_up_and_keep_their_exact_charge() -> None:
    assert price(PRICES, "gpt-5-mini", 1_000, 0) == Money(1, "USD")
    assert charge(PRICES, "gpt-5-mini", 1_000, 0) == {"amount": 1, "currency": "USD", "micros": 25_000}


def test_a_free_model_costs_nothing_and_an_unknown_one_has_no_price() -> None:
    assert price(PRICES, "local", 10_000, 10_000) == Money(0, "EUR")
    assert price(PRICES, "other", 1, 1) is None
    assert charge(PRICES, "other", 1, 1) is None


def test_decimal_prices_are_exact() -> None:
    table = {"m": Price(input=0.1, output=0.2)}
    assert charge(table, "m", 3_000_000, 0) == {"amount": 1, "currency": "USD", "micros": 300_000}


def test_negative_counts_are_refused() -> None:
    with pytest.raises(errors.InputError, match="negative"):
        price(PRICES, "gpt-5-mini", -1, 0)
