"""`interlock actors delegate | delegations | revoke`: who decides in whose place, by command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BO = ("--by", "person:bo")
GIVE = ("actors", "delegate", "person:bo", "person:loo", "--until", "2999-01-01", *BO)


def test_who_stands_in_decides_until_it_is_revoked(waiting: Path, cli: Any) -> None:
    home = ("--home", waiting)
    (approval,) = (one["id"] for one in cli("approvals", "list", *home, "--json").json["items"])
    decide = ("approvals", "decide", approval, "--approve", "--by", "person:loo", *home)
    assert "missing" in cli(*decide, code=4).err
    made = cli(*GIVE, "--comment", "leave", *home, "--json").json
    listed = cli("actors", "delegations", *home, "--json").json["items"]
    assert [(one["id"], one["until_at"][:4], one["revoked_at"]) for one in listed] == [(made["id"], "2999", None)]
    revoked = cli("actors", "revoke", made["id"], *BO, *home, "--json").json
    assert revoked["revoked_at"]
    assert "missing" in cli(*decide, code=4).err
    cli(*GIVE, *home)
    decided = cli(*decide, "--json").json
    assert (decided["decided_by"], decided["decision"]["acting_for"]) == ("person:loo", "person:bo")


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (("--until", "tomorrow"), 2, "is no time"),
        (("--until", "2001-01-01"), 2, "2001"),
        (("--from", "9" * 30), 2, "is no time"),
        (("--authority", "nothing"), 2, "nothing"),
        (("--by", "person:loo"), 4, "may not delegate"),
        (("--by", "person:ghost"), 1, "ghost"),
    ],
)
def test_what_cannot_be_delegated_is_said(
    waiting: Path, cli: Any, wrong: tuple[str, ...], code: int, said: str
) -> None:
    assert said in cli(*GIVE, *wrong, "--home", waiting, code=code).err
    assert cli("actors", "delegations", "--home", waiting, "--json").json["items"] == []


def test_nothing_else_is_revoked(waiting: Path, cli: Any) -> None:
    assert "no delegation" in cli("actors", "revoke", "nothing", *BO, "--home", waiting, code=1).err
