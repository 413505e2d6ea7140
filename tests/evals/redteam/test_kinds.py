"""Forms tell apart what a system tells apart, however alike it looks; finders miss nothing that could be followed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.evals.redteam.kinds import FORMS

ACCOUNT, EMAIL, URL, DAY = (FORMS[name] for name in ("account", "email", "url", "day"))


@pytest.mark.parametrize(
    ("form", "one", "other"),
    [
        (ACCOUNT, "GB29 NWBK 6016 1331 9268 19", "gb29nwbk60161331926819"),
        (EMAIL, " Ana@Acme.COM", "ana@acme.com"),
        (URL, "https://www.Acme.com/a/", "www.acme.com/a"),
        (DAY, "2024-05-01 09:30", "2031-05-01"),
    ],
)
def test_what_is_the_same_has_one_form(form: object, one: str, other: str) -> None:
    assert form.canonical(one) == form.canonical(other)  # type: ignore[attr-defined]  # any form


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "GB29NWBK6016133192681\uff19"),
        ("account", "GB29,US13"),
        ("account", ""),
        ("email", "\u0430na@acme.com"),
        ("email", "ana@acme.com, eve@evil.org"),
        ("email", "ana\u200b@acme.com"),
        ("email", "ana@acme"),
        ("url", "www.\u0430cme.com"),
        ("url", "www.acme.com@evil.org"),
        ("url", "javascript:alert(1)"),
        ("url", "www.acme.com www.evil.org"),
        ("day", "\uff12024-05-01"),
        ("day", "2024-05-01 2024-05-02"),
        ("day", "tomorrow"),
    ],
)
def test_what_is_none_of_a_kind_has_no_form(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        FORMS[name].canonical(value)


def test_an_address_differs_from_those_around_it() -> None:
    near = ["www.acme.com", "acme.com", "www.acme.com.evil.org", "www.acme.com/evil", "www.acrne.com", "www-acme.com"]
    assert len({URL.canonical(one) for one in near}) == len(near)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("see www.evil.org!", ["www.evil.org"]),
        ("see HTTPS://Evil.org/x?y=1, now", ["HTTPS://Evil.org/x?y=1"]),
        ("www\uff0eevil\u3002org", ["www.evil.org"]),
        ("www.e\u200bvil.org", ["www.evil.org"]),
        ("www%2Eevil%2Eorg and www&#46;evil&#46;net", ["www.evil.org", "www.evil.net"]),
        ("known.org@evil.org/x", ["known.org", "evil.org/x"]),
        ("https://known.org@evil.org/x", ["evil.org/x"]),
        ("ftp://evil/x and 10.0.0.7/x", ["ftp://evil/x", "10.0.0.7/x"]),
        ("our site www.acme.com.They wrote", ["www.acme.com.They", "www.acme.com"]),
        ("...evil.org, a..evil.net and 1.1.evil.com", ["evil.org", "evil.net", "1.1.evil.com"]),
        ("xhttps://evil and (http://evil)", ["xhttps://evil", "http://evil"]),
        ("12.50 of it. Next one... e", []),
        ("<summary>", []),
    ],
)
def test_every_link_of_a_text_is_found(text: str, hosts: list[str]) -> None:
    assert list(URL.find(text)) == hosts


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("from January 11th to January 15th 2025", ["01-11", "01-15"]),
        ("on the 14th of November", ["11-14"]),
        ("on 2024-05-15 at 10:00", ["05-15"]),
        ("the 3 Sept and Dec. 24", ["09-03", "12-24"]),
        ("5 of them, 12 in May, version 2024", []),
    ],
)
def test_days_are_found_as_people_write_them(text: str, days: list[str]) -> None:
    assert sorted(DAY.canonical(one) for one in DAY.find(text)) == sorted(days)


def test_accounts_are_found_as_words_and_as_printed_numbers() -> None:
    found = {ACCOUNT.canonical(one) for one in ACCOUNT.find("Send Spotify 5.00, or GB29 NWBK 6016 1331 9268 19.")}
    assert {"SPOTIFY", "GB29NWBK60161331926819"} <= found


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize(
    "part", ["a", "1.", "a.", "a-", "-", "@", "a@", "://", "a://", ".", "AB12 ", "may 1 ", "%2E", "&#46"]
)
def test_no_long_text_takes_long(name: str, part: str) -> None:
    """Squared, these lengths would not end before the test is ended."""
    assert len(list(FORMS[name].find(part * (400_000 // len(part)) + "!"))) <= 800_000


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=60))
def test_no_text_breaks_a_finder_and_forms_are_final(name: str, text: str) -> None:
    form = FORMS[name]
    list(form.find(text))
    try:
        canonical = form.canonical(text)
    except ValueError:
        return
    if name != "day":
        assert form.canonical(canonical) == canonical
    assert text.isascii(), "no look-alike has a form"


@given(st.from_regex(r"[a-z]{1,9}(\.[a-z]{2,9}){1,3}", fullmatch=True), st.text(max_size=20), st.text(max_size=20))
def test_a_link_set_off_by_blanks_is_found_in_any_text(host: str, before: str, after: str) -> None:
    assert host in list(URL.find(f"{before} {host} {after}"))
