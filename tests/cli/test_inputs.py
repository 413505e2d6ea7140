"""Reading what `interlock run` is given: every error names the place, and nothing is read in half."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.cli.inputs import read_inputs

FIELDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_table_gives_one_input_per_line_with_its_place(tmp_path: Path) -> None:
    source = write(tmp_path, "a.csv", "asset,start\nC1,now\n\nC2,later\n")
    assert [(i.place.rpartition(", ")[2], i.value) for i in read_inputs(source)] == [
        ("line 2", {"asset": "C1", "start": "now"}),
        ("line 4", {"asset": "C2", "start": "later"}),
    ]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(tmp_path: Path, mark: bytes, end: bytes) -> None:
    source = write(tmp_path, "a.CSV", mark + b"asset,start" + end + b'"C,1","n\xc3\xb6"' + end)
    assert read_inputs(source)[0].value == {"asset": "C,1", "start": "nö"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("asset,start\nC1\n", "line 2: 1 fields instead of 2"),
        ("asset,start\nC1,a\nC2,b,c\n", "line 3: 3 fields instead of 2"),
        ('asset,start\n"C1,a\n', "line 2: unexpected end of data"),
        ('asset,start\n"C1"x,a\n', "line 2: ',' expected after '\"'"),
        ("asset,asset\nC1,a\n", "line 1: column 'asset' stands twice"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("asset,start\n", "holds no inputs"),
        (b"asset\n\xff\xfe\n", "cannot be read"),
        (b"asset\nC\x001,\n", "line 2"),
    ],
)
def test_a_malformed_table_is_refused_as_a_whole(tmp_path: Path, content: str | bytes, said: str) -> None:
    source = write(tmp_path, "a.csv", content)
    with pytest.raises(errors.InputError) as caught:
        read_inputs(source)
    assert said in caught.value.message
    assert source in caught.value.message
    assert caught.value.hint


def test_commas_at_the_end_of_every_line_are_forgiven(tmp_path: Path) -> None:
    source = write(tmp_path, "a.csv", "asset,start,,\nC1,now,,\n")
    assert read_inputs(source)[0].value == {"asset": "C1", "start": "now"}


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=8))
def test_whatever_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    kept = [(a.strip(), b.strip()) for a, b in rows if a.strip() or b.strip()]
    text = io.StringIO()
    csv.writer(text).writerows([("one", "two"), *kept, ("last", "line")])
    source = write(tmp_path_factory.mktemp("csv"), "a.csv", text.getvalue())
    assert [tuple(one.value.values()) for one in read_inputs(source)] == [*kept, ("last", "line")]


def test_one_json_object_stands_for_itself() -> None:
    (one,) = read_inputs('  {"asset": "C1"}')
    assert (one.place, one.value) == ("the input", {"asset": "C1"})


@pytest.mark.parametrize("content", [[{"a": 1}, {"a": 2}], {"a": 1}])
def test_a_json_file_holds_one_object_or_a_list(tmp_path: Path, content: object) -> None:
    source = write(tmp_path, "a.json", orjson.dumps(content))
    assert [i.value for i in read_inputs(source)] == (content if isinstance(content, list) else [content])


def test_json_lines_know_their_line(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", '\ufeff{"a": 1}\n\n{"a": 2}\n')
    assert [(i.place, i.value["a"]) for i in read_inputs(source)] == [
        (f"{source}, line 1", 1),
        (f"{source}, line 3", 2),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "no JSON"),
        ("a.json", "[1]", "item 1: int instead of an object"),
        ("a.json", "[]", "holds no inputs"),
        ("a.json", '"text"', "str instead of an object"),
        ("a.jsonl", '{"a": 1}\n{"a": ', "line 2: no JSON"),
        ("a.jsonl", "", "holds no inputs"),
        ("a.txt", "{}", "unknown kind of file"),
        ("a.json", b"\xff", "cannot be read"),
    ],
)
def test_bad_json_is_named_with_its_place(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(errors.InputError, match=said):
        read_inputs(write(tmp_path, name, content))


@pytest.mark.parametrize("source", ["{", "{'a': 1}", "nowhere.csv", "nowhere.json", "", "."])
def test_what_is_not_there_is_an_error_with_a_hint(source: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        read_inputs(source)
    assert caught.value.hint
