"""Credentials: where they come from, who may read the file, and that no spelling of one gets written down."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.tools.credentials import HIDDEN, Credential, Credentials

SECRET = 'p"ä/+ss w\\ord&=%?~42'


def file(folder: Path, content: bytes | str, mode: int = 0o600) -> Path:
    path = folder / "credentials.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_the_environment_wins_over_the_file_and_that_over_what_is_offered(tmp_path: Path) -> None:
    path = file(tmp_path, "erp: from-file\ncrm: from-file\n")
    environ = {"INTERLOCK_CREDENTIAL_ERP": "from-environment"}
    credentials = Credentials(path, environ)
    for system in ("erp", "crm", "cmms"):
        credentials.offer(system, "offered")
    assert [credentials.of(system) for system in ("erp", "crm", "cmms")] == ["from-environment", "from-file", "offered"]
    assert credentials.of("bank") is None
    environ["INTERLOCK_CREDENTIAL_ERP"] = ""
    assert credentials.of("erp") == "from-file", "an empty variable is none"


@pytest.mark.parametrize("system", ["my-erp.v2", "MY_ERP_V2", "my erp/v2"])
def test_variables_are_named_after_the_system(system: str) -> None:
    assert Credentials(None, {"INTERLOCK_CREDENTIAL_MY_ERP_V2": "s"}).of(system) == "s"


def test_the_process_environment_is_read_when_a_credential_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials()
    assert credentials.of("erp") is None
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_ERP", "late")
    assert credentials.of("erp") == "late"


@pytest.mark.parametrize("secret", ["", None, 5, b"bytes"])
def test_only_text_is_offered(secret: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        Credentials(None, {}).offer("cmms", secret)


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o660, 0o777, 0o601])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(errors.ConfigurationError, match="chmod 600"):
        Credentials(file(tmp_path, "erp: s3cret", mode))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    assert Credentials(file(tmp_path, "erp: s3cret", mode), {}).of("erp") == "s3cret"


BROKEN = [
    "erp: [s3cret]", "- s3cret", "s3cret", "erp: 12345", "5: s3cret", "erp: {s3cret", b"\xff\xfes3cret",
    "a: !!python/object:s3cret {}",
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_refused_and_its_content_not_quoted(tmp_path: Path, content: bytes | str) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        Credentials(file(tmp_path, content))
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_missing_file_is_an_error_and_an_empty_one_has_no_credentials(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="cannot be read"):
        Credentials(tmp_path / "none.yaml")
    assert Credentials(file(tmp_path, ""), {}).of("erp") is None


def spellings(secret: str) -> dict[str, str]:
    """How programs write a secret."""
    raw = secret.encode()
    basic = httpx.Request("GET", "http://a", headers={"Authorization": "Basic x"})
    basic.headers["Authorization"] = "Basic " + base64.b64encode(b"user:" + raw).decode()
    return {
        "plain": f"Bearer {secret}",
        "address": f"https://erp/x?token={quote(secret)}&a=1",
        "path": f"https://erp/{quote(secret, safe='')}/x",
        "form": f"token={quote_plus(secret)}&a=1",
        "httpx": str(httpx.URL("https://erp/x", params={"token": secret})),
        "base64": base64.b64encode(raw).decode(),
        "urlsafe": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "basic": basic.headers["Authorization"],
        "middle 0": base64.b64encode(b"abc" + raw + b"xyz").decode(),
        "middle 1": base64.b64encode(b"a" + raw + b"xy").decode(),
        "middle 2": base64.b64encode(b"ab" + raw + b"x").decode(),
        "json": json.dumps({"token": secret}),
        "unicode json": json.dumps({"token": secret}, ensure_ascii=False),
        "repr": f"ValueError({secret!r})",
        "hex": raw.hex(),
    }


def traces(secret: str) -> set[str]:
    """Pieces that must not survive: half of the secret, in any encoding that the test above uses."""
    raw, half = secret.encode(), len(secret) // 2
    letters = base64.b64encode(raw).decode().rstrip("=")
    return {secret[2:][:half], quote(secret, safe="")[3:12], letters[2:-2], raw.hex()[2:-2]}


@pytest.mark.parametrize("how", spellings(SECRET))
def test_no_spelling_of_a_secret_is_left(how: str) -> None:
    credentials = Credentials(None, {})
    credentials.offer("erp", SECRET)
    text = spellings(SECRET)[how]
    clean = credentials.redact(text)
    assert HIDDEN in clean
    assert not [trace for trace in traces(SECRET) if trace in clean]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60), st.binary(max_size=7))
def test_a_secret_is_found_anywhere_inside_base64(secret: str, before: bytes) -> None:
    credentials = Credentials(None, {})
    credentials.offer("erp", secret)
    text = base64.b64encode(before + secret.encode() + b"!").decode()
    assert HIDDEN in credentials.redact(text)


def test_keys_lists_and_nested_values_are_cleaned_and_the_rest_is_kept() -> None:
    credentials = Credentials(None, {"INTERLOCK_CREDENTIAL_ERP": "from-environment"})
    credentials.offer("cmms", "offered-secret")
    dirty = {"offered-secret": [("x from-environment y", 5, None, True, 1.5)], "ok": {"deep": ["offered-secret"]}}
    assert credentials.redact(dirty) == {HIDDEN: [[f"x {HIDDEN} y", 5, None, True, 1.5]], "ok": {"deep": [HIDDEN]}}


def test_the_longer_of_two_secrets_goes_as_a_whole() -> None:
    credentials = Credentials(None, {})
    credentials.offer("a", "abcdef")
    credentials.offer("b", "abcdef-ghijkl")
    assert credentials.redact("abcdef-ghijkl abcdef") == f"{HIDDEN} {HIDDEN}"


def test_a_replaced_secret_stays_one() -> None:
    environ = {"INTERLOCK_CREDENTIAL_ERP": "the-first-one"}
    credentials = Credentials(None, environ)
    assert credentials.redact("the-first-one") == HIDDEN
    environ["INTERLOCK_CREDENTIAL_ERP"] = "the-second-one"
    assert credentials.redact("the-first-one the-second-one") == f"{HIDDEN} {HIDDEN}"


def test_without_secrets_values_come_back_as_they_are() -> None:
    value = {"a": [1, ("x",)]}
    assert Credentials(None, {}).redact(value) is value
    short = Credentials(None, {"INTERLOCK_CREDENTIAL_ERP": "abc"})
    assert short.redact("abcabc") == "abcabc", "three letters are in every text"


def test_neither_repr_shows_a_secret() -> None:
    credentials = Credentials(None, {})
    credentials.offer("erp", "offered-secret")
    assert repr(credentials) == "Credentials(1 known)"
    secret = credentials.of("erp")
    assert isinstance(secret, Credential)
    assert secret == "offered-secret"
    assert "offered" not in repr({"credential": secret})
    assert "offered" not in f"{[secret]}"
