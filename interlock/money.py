"""Money: integer minor units and a currency. No floats anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from interlock import errors

# ISO 4217 currencies whose minor unit is not 1/100.
_PLACES = {
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0,
    "PYG": 0, "RWF": 0, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
}  # fmt: skip
LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` in minor units (cents for EUR), `currency` an ISO 4217 code. Credits are negative."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if isinstance(self.amount, bool) or not isinstance(self.amount, int):
            raise errors.InputError(f"money amount {self.amount!r} is no integer", "give minor units, or use Money.of")
        if abs(self.amount) > LARGEST:
            raise errors.InputError("money amount is out of range", "at most 2**63 - 1 minor units")
        code = self.currency
        if not (isinstance(code, str) and len(code) == 3 and code.isascii() and code.isupper()):
            raise errors.InputError(f"{code!r} is no currency code", "use three capitals, as EUR")

    @classmethod
    def of(cls, value: str | int | Decimal, currency: str) -> Money:
        """Convert a decimal amount in major units. Raises InputError on bool, float, NaN, excess places."""
        if isinstance(value, (bool, float)) or not isinstance(value, (str, int, Decimal)):
            raise errors.InputError(f"{value!r} is no exact amount", "give a string, int or Decimal")
        try:
            minor = Decimal(value).scaleb(places(currency))
            exact = minor.is_finite() and minor == minor.to_integral_value()
        except InvalidOperation as exc:
            raise errors.InputError(f"{value!r} is no amount", "write digits, as 98.70") from exc
        if not exact:
            raise errors.InputError(
                f"{value!r} has more places than {currency} has", f"at most {places(currency)} places"
            )
        return cls(int(minor), currency)

    def __str__(self) -> str:
        return f"{Decimal(self.amount).scaleb(-places(self.currency)):,f} {self.currency}"


def places(currency: str) -> int:
    """How many decimal places the minor unit of a currency has."""
    return _PLACES.get(currency, 2)
