"""Reading a plant's reference data: every defect is said with file, line, column and hint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.examples.enterprise import reference as files
from interlock.examples.enterprise.guides import read_guides
from interlock.examples.enterprise.reference import SAMPLE, read_reference, site_of

Change = Callable[[str, str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "plant"))


@pytest.fixture
def append(folder: Path) -> Change:
    """Adds a line to a file of a copy of the sample."""

    def change(name: str, line: str) -> Path:
        path = folder / name
        path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
        return folder

    return change


def fault(folder: Path) -> errors.InputError:
    with pytest.raises(errors.InputError) as failed:
        read_reference(folder)
    assert failed.value.hint
    return failed.value


def test_the_sample_is_read_in_the_order_of_its_mapping() -> None:
    reference = read_reference(SAMPLE)
    assert [row[1:3] for row in reference.rule_codes if row[0] == "FR01"] == [(0, "M101"), (1, "M102")]
    assert reference.assets["FM2-DR01"] == ("FM2-DR01", "Dock door", "FM2")
    assert reference.rules["FR10"] == ("FR10", "Filter pressure drop high"), "a rule without codes is known"
    assert reference.rules["kpi:cooling power:low"][1] == "Cooling power low"
    assert len(reference.history) == 28, "an order that is not finished says nothing about the past"


def test_byte_order_marks_blank_lines_and_windows_lines_do_not_matter(folder: Path) -> None:
    for path in folder.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert read_reference(folder).history == read_reference(SAMPLE).history
    assert read_reference(folder).assets == read_reference(SAMPLE).assets


def test_columns_may_stand_in_any_order_among_others(folder: Path) -> None:
    path = folder / "assets.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(f"{site}, {name} ,note,{asset}" for asset, name, site in rows).replace("note", "x", 1))
    assert read_reference(folder).assets == read_reference(SAMPLE).assets


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        (files.HISTORY, "FW1,x,M101,x,FM1-PU01,Feed pump 1,MAYBE,1,2025-01-01 10:00,1:00", "column preventive"),
        (files.HISTORY, "FW1,x,M101,x,FM1-PU01,Feed pump 1,TRUE,1,32/13/25,1:00", "column actual_finish"),
        (files.HISTORY, "FW1,x,M101,x,FM1-PU01,Feed pump 1,TRUE,1,2025-01-01 10:00,1h", "column duration"),
        (files.HISTORY, "FW1,x,M101,x,FM1-PU01,Feed pump 1,TRUE,high,2025-01-01 10:00,1:00", "column work_priority"),
        (files.HISTORY, "FW1,x,,x,FM1-PU01,Feed pump 1,TRUE,1,2025-01-01 10:00,1:00", "column primary_code is empty"),
        (files.HISTORY, ",x,M101,x,FM1-PU01,Feed pump 1,TRUE,1,2025-01-01 10:00,1:00", "column wo_id is empty"),
        (files.HISTORY, "FW1,too,few", "3 fields instead of 10"),
        (files.RULE_CODES, "FR01,x,,y", "column primary_code is empty"),
        (files.RULE_CODES, "FR01,a, b, c, d", "5 fields instead of 4"),
        (files.RULE_CODES, 'FR01,"not closed,x,y', "unexpected end"),
        (files.ASSETS, ",Pump,FM1", "column equipment_id is empty"),
        (files.TECHNICIANS, "T1,A,controls,6,25,FM1,", "column shift_end"),
        (files.TECHNICIANS, "T1,A,controls,six,14,FM1,", "column shift_start"),
        (files.TECHNICIANS, "T1,A,,6,14,FM1,", "column skills is empty"),
        (files.JOBS, "M1,0,1.00,USD", "column labour_minutes"),
        (files.JOBS, "M1,60,1.001,USD", "column parts"),
        (files.JOBS, "M1,60,-1.00,USD", "column parts"),
        (files.JOBS, "M1,60,NaN,USD", "column parts"),
        (files.JOBS, "M1,60,1.00,dollars", "column parts"),
        (files.JOBS, "M1,60,1.00,", "column currency is empty"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_column(append: Change, name: str, line: str, said: str) -> None:
    folder = append(name, line)
    number = len((SAMPLE / name).read_text("utf-8").splitlines()) + 1
    message = fault(folder).message
    assert f"{folder / name}, line {number}" in message
    assert said in message


@pytest.mark.parametrize(
    "name", [files.RULE_CODES, files.HISTORY, files.ASSETS, files.TECHNICIANS, files.JOBS, files.RULES]
)
def test_a_missing_column_is_named(folder: Path, name: str) -> None:
    lines = (folder / name).read_text("utf-8").splitlines()
    column, *others = lines[0].split(",")
    (folder / name).write_text("\n".join([",".join(["renamed", *others]), *lines[1:]]), "utf-8")
    assert fault(folder).message == f"{folder / name}, line 1: no column {column}"


@pytest.mark.parametrize("name", [files.RULE_CODES, files.HISTORY])
def test_a_file_that_is_needed_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in fault(folder).message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b"rule_id\x00"])
def test_what_is_no_table_is_said_to_be_none(folder: Path, content: bytes) -> None:
    (folder / files.RULE_CODES).write_bytes(content)
    assert files.RULE_CODES in fault(folder).message


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in fault(tmp_path / "none").message
    assert "no folder" in fault(SAMPLE / "assets.csv").message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore")))
)
def test_no_bytes_make_anything_but_an_input_error(folder: Path, content: bytes) -> None:
    path = folder / files.JOBS
    path.write_bytes(b"code,labour_minutes,parts,currency\n" + content)
    try:
        read_reference(folder)
    except errors.InputError as exc:
        assert str(path) in exc.message


def test_without_assets_technicians_and_jobs_the_rest_is_made_of_what_is_there(folder: Path) -> None:
    for name in (files.ASSETS, files.TECHNICIANS, files.JOBS, files.RULES, files.ANOMALY_CODES):
        (folder / name).unlink()
    reference = read_reference(folder)
    assert reference.assets["FM1-PU01"] == ("FM1-PU01", "Feed pump 1", "FM1-PU")
    assert {row[2] for row in reference.technicians} == {asset[2] for asset in reference.assets.values()}
    assert {row[0] for row in reference.jobs} >= {"M", "CS", "E", "L"}
    assert "FR01" in reference.rules


def test_the_digest_tells_whether_anything_changed(append: Change, folder: Path) -> None:
    same = read_reference(folder).digest
    assert same == read_reference(SAMPLE).digest
    assert read_reference(append(files.ASSETS, "FM3-X,Mixer,FM3")).digest != same


@pytest.mark.parametrize(("asset", "site"), [("CWC04006", "CWC040"), ("AB", "AB"), ("", "")])
def test_the_site_is_in_the_number_of_an_asset(asset: str, site: str) -> None:
    assert site_of(asset) == site


# -- guides


def by_code(documents: Any) -> dict[str, Any]:
    return {document["metadata"]["code"]: document for document in documents}


def test_every_code_of_the_sample_that_has_a_job_has_a_guide() -> None:
    guides = by_code(read_guides(SAMPLE))
    codes = {row[2] for row in read_reference(SAMPLE).rule_codes}
    assert set(guides) == codes - {"SV101"}
    assert all(document["title"].startswith(code) and len(document["text"]) > 200 for code, document in guides.items())


def test_a_code_table_makes_one_guide_per_primary_code(tmp_path: Path) -> None:
    (tmp_path / "failure_codes.csv").write_text(
        "\ufeffcategory,primary_code,primary_code_description,secondary_code,secondary_code_description\n"
        "Leaks,L1,Leak,L1a,At the flange\nLeaks,L1,Leak,L1b,At the pump\nWear,W1,Wear,W1a,Of the belt\n",
        "utf-8",
    )
    guides = by_code(read_guides(tmp_path))
    assert list(guides) == ["L1", "W1"]
    assert "- L1b: At the pump" in guides["L1"]["text"]


def test_no_guides_are_no_error_and_bad_ones_are_one(tmp_path: Path) -> None:
    assert read_guides(tmp_path) == []
    (tmp_path / "failure_codes.csv").write_text("category,primary_code\nx,y\n")
    with pytest.raises(errors.InputError, match="no column primary_code_description"):
        read_guides(tmp_path)
