"""`interlock eval`: a sound suite passes, a regression ends with 1, and a broken suite is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

SUITE = """
workflow: orders
requester: person:requester
cases:
  - name: a small order is placed
    input: {supplier: acme, total: 100}
    expect: {values: {po: PO-acme-100}, called: [erp.create_po]}
    bounds: {calls: 1, approvals: 0}
  - name: a dear one waits
    input: {supplier: acme, total: 250000}
    expect: {status: waiting, waiting_for: approval}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yaml"
    path.write_text(SUITE)
    return path


def test_a_sound_suite_passes(shop: Path, cli: Any, suite: Path, tmp_path: Path) -> None:
    answer = cli("eval", suite, "--home", shop, "--json", "--junit", tmp_path / "junit.xml")
    assert (answer.json["passed"], answer.json["cases"], answer.json["failed"]) == (True, 2, 0)
    assert "passed  a dear one waits" in answer.err
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("tests") == "2"
    assert "2 of 2 cases passed" in cli("eval", suite, "--home", shop).out


def test_a_looser_policy_is_a_regression(shop: Path, cli: Any, suite: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose.cedar"
    loose.write_text('@id("ALL") permit(principal, action == Interlock::Action::"erp.create_po", resource);')
    answer = cli("eval", suite, "--home", shop, "--policies", loose, code=1)
    assert "1 of 2 cases passed" in answer.out and "a dear one waits" in answer.out


def test_a_suite_that_is_not_there_or_broken_is_named(shop: Path, cli: Any, suite: Path) -> None:
    assert "nowhere" in cli("eval", "nowhere", "--home", shop, code=1).err
    suite.write_text("workflow: orders\ncases: []\n")
    assert "requester: Field required" in cli("eval", suite, "--home", shop, code=2).err


def test_a_report_that_cannot_be_written_is_named(shop: Path, cli: Any, suite: Path) -> None:
    assert "cannot be written" in cli("eval", suite, "--home", shop, "--junit", shop / "no" / "x", code=2).err
