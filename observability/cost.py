"""What model calls cost, from the price table of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from interlock import errors
from interlock.money import Money
from interlock.settings import Price

__all__ = ["charge", "price"]

_MILLION = 1_000_000


def price(prices: Mapping[str, Price], model: str, input_tokens: int, output_tokens: int) -> Money | None:
    """The charge of one call in whole minor units, rounded up so that a budget never overspends.

    None when the table has no price for the model. Raises InputError on negative token counts.
    """
    exact = _exact(prices, model, input_tokens, output_tokens)
    return None if exact is None else Money(int(exact[0].to_integral_value(ROUND_CEILING)), exact[1])


def charge(prices: Mapping[str, Price], model: str, input_tokens: int, output_tokens: int) -> dict[str, Any] | None:
    """The `cost` of a `model.called` event: {amount, currency, micros}; micros are millionths of a minor unit.

    Metrics sum `micros`, so that a thousand calls of a tenth of a cent are one euro and not ten.
    """
    exact = _exact(prices, model, input_tokens, output_tokens)
    if exact is None:
        return None
    micros = int((exact[0] * _MILLION).to_integral_value(ROUND_CEILING))
    amount = int(exact[0].to_integral_value(ROUND_CEILING))
    return {"amount": amount, "currency": exact[1], "micros": micros}


def _exact(
    prices: Mapping[str, Price], model: str, input_tokens: int, output_tokens: int
) -> tuple[Decimal, str] | None:
    if input_tokens < 0 or output_tokens < 0:
        raise errors.InputError("token counts cannot be negative", "give what the model reported, or 0")
    found = _entry(prices, model)
    if found is None:
        return None
    total = Decimal(str(found.input)) * input_tokens + Decimal(str(found.output)) * output_tokens
    return total / _MILLION, found.currency


def _entry(prices: Mapping[str, Price], model: str) -> Price | None:
    """The model by its full name, else without its provider: `openai:gpt-5-mini` or `gpt-5-mini`."""
    return prices.get(model) or prices.get(model.partition(":")[2])
