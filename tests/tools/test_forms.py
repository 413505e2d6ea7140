"""Forms of accounts, addresses and hosts: honest ways of writing one target are one, look-alikes never are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.tools.forms import FORMS, email, host, iban
from tests.tools.plant import Plant, plant
from tests.tools.test_provenance import ANYTHING, traced

IBAN = "DE89370400440532013000"
HONEST = {
    IBAN: [
        "DE89 3704 0044 0532 0130 00", "de89 3704 0044 0532 0130 00", " DE89-3704-0044-0532-0130-00", IBAN.lower(),
        "DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "IBAN DE89 3704 0044 0532 0130 00", f"IBAN: {IBAN}",
    ],
    "ana.b+x@acme.com": ["Ana.B+x@ACME.com", " ana.b+x@acme.com ", "ana.b+x@acme.com."],
    "www.acme.com": ["WWW.Acme.com", "www.acme.com.", " www.acme.com"],
}  # fmt: skip
KINDS = {IBAN: iban, "ana.b+x@acme.com": email, "www.acme.com": host}
FALSE = {
    IBAN: [
        "DE8937040044053201300O", "DE89370400440532O13000", IBAN[:-1], IBAN + "0", "DE88370400440532013000",
        "DE89370400440532010300", IBAN[::-1], f"{IBAN};{IBAN}", f"{IBAN} {IBAN}", f'"{IBAN}"', IBAN + ",", "", "IBAN",
        "DE89\u0663" + IBAN[5:], "\uff24" + IBAN[1:], "D\u0415" + IBAN[2:], IBAN + "\u200b", "\u2060" + IBAN,
        IBAN[:4] + "\u00ad" + IBAN[4:], IBAN + "\x00", IBAN + "\u0301", "\u202e" + IBAN[::-1], "DE%38" + IBAN[3:],
    ],
    "ana.b+x@acme.com": [
        "ana.b@acme.com", "anab+x@acme.com", "ana.b+x@acme.co", "ana.b+x@acme.com.evil.net",
        "ana.b+x@evil.net@acme.com",
        "<ana.b+x@acme.com>", "ana.b+x@acme.com, e@evil.net", "\u0430na.b+x@acme.com", "ana.b+x@\u0430cme.com",
        "ana.b+x@acme\u3002com", "ana.b+x@acme.com\u200b", "ana.b+x@\uff41cme.com",
        "ana.b+x@acme.com\n\nbcc: e@evil.net",
        "ana..b+x@acme.com", "@acme.com", "ana.b+x@", "\u212bna.b+x@acme.com", "ana.b+x@acme.com\r",
    ],
    "www.acme.com": [
        "acme.com", "www.acme.com.evil.net", "www-acme.com", "www.acme.com/evil", "www.acme.com:80", "a@www.acme.com",
        "www.acme.com..", "www..acme.com", "www.\u0430cme.com", "www.acme\uff0ecom", "www.acme.\u212aom",
        "WWW.ACME.C\u039fM",
        "https://www.acme.com", "www.acme.com#", "www.acme.com\\", "xn--cme-7cd.com",
    ],
}  # fmt: skip


@pytest.mark.parametrize("wanted", HONEST)
def test_honest_ways_of_writing_are_one(wanted: str) -> None:
    assert {KINDS[wanted](way) for way in [wanted, *HONEST[wanted]]} == {wanted}


@pytest.mark.parametrize("wanted", FALSE)
def test_what_only_looks_the_same_is_another_or_none(wanted: str) -> None:
    for twin in FALSE[wanted]:
        try:
            assert KINDS[wanted](twin) != wanted, ascii(twin)
        except ValueError:
            continue


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=60))
def test_a_form_is_its_own_form_and_ascii(name: str, text: str) -> None:
    try:
        form = FORMS[name](text)
    except ValueError:
        return
    assert FORMS[name](form) == form and form.isascii() and len(form) <= len(text)


@given(st.integers(0, 21), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
def test_a_mistyped_account_is_none(place: int, letter: str) -> None:
    typed = IBAN[:place] + letter + IBAN[place + 1 :]
    if typed != IBAN and letter.isdigit() == IBAN[place].isdigit():
        with pytest.raises(ValueError, match="check digits"):
            iban(typed)


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant(policies=ANYTHING) as made:

        async def pay(to: Any) -> str:
            return await made.world.act("pay")

        made.tools.register(pay, name="bank.pay", system="bank", effect="write", targets={"to": "account"})
        made.tools.register_registry(
            "account", lambda value, ctx: {} if value == IBAN else None, source="erp", canonical="iban"
        )
        made.bind()
        await made.case()
        yield made


async def test_a_registry_with_a_form_knows_every_honest_way_and_no_other(one: Plant) -> None:
    for slot, way in enumerate(HONEST[IBAN]):
        assert (await traced(one, "bank.pay", {"to": way}, slot))["to"] == {"registry"}, way
    before = one.world.done.total()
    for slot, twin in enumerate(FALSE[IBAN]):
        result = await one.gateway.call("bank.pay", {"to": twin}, one.site(), slot=f"twin {slot}")
        assert result.status in ("denied", "asked"), ascii(twin)
    assert one.world.done.total() == before == len(HONEST[IBAN])


@pytest.mark.parametrize("wrong", ["ibann", "", 7, ["iban"]])
def test_an_unknown_form_is_said(one: Plant, wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="registry 'other'"):
        one.tools.register_registry("other", lambda value, ctx: None, source="erp", canonical=wrong)
