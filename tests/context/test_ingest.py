"""Ingest: what is new is embedded, what is bad is named, and nothing stops the rest."""

from __future__ import annotations

from typing import Any

import pytest

from interlock import errors
from interlock.context.context import Context
from interlock.context.document import MAX_TEXT, Unreadable
from interlock.settings import Settings

from .conftest import HandClock, WordModel


def page(id_: str, text: str = "A pump hums in the cellar.", **more: Any) -> dict[str, Any]:
    return {"id": id_, "text": text, **more}


async def test_unchanged_documents_are_not_embedded_again(context: Context, model: WordModel) -> None:
    first = await context.ingest("manuals", [page(f"d{n}", f"Pump {n} hums.") for n in range(5)])
    model.seen.clear()

    second = await context.ingest(
        "manuals", [page(f"d{n}", f"Pump {n} {'roars' if n == 3 else 'hums'}.") for n in range(5)]
    )

    assert (first.ingested, first.unchanged, first.snapshot) == (5, 0, 1)
    assert (second.ingested, second.unchanged, second.snapshot) == (1, 4, 2)
    assert model.seen == ["Pump 3 roars."]


async def test_a_later_as_of_alone_is_no_change(context: Context) -> None:
    await context.ingest("manuals", [page("a", as_of="2026-01-01")])
    assert (await context.ingest("manuals", [page("a", as_of="2026-02-01")])).unchanged == 1


async def test_new_labels_are_a_new_version_with_the_old_vectors(context: Context, model: WordModel) -> None:
    await context.ingest("manuals", [page("a")])
    model.seen.clear()

    report = await context.ingest("manuals", [page("a", labels=["role:plant"])])

    assert report.ingested == 1
    assert model.seen == []
    assert await context.query("pump") == []


async def test_one_changed_sentence_of_a_long_document_embeds_its_chunks_only(
    context: Context, model: WordModel
) -> None:
    lines = [f"Step {n}: turn valve {n} slowly and wait until the gauge of line {n} is still." for n in range(200)]
    await context.ingest("manuals", [page("a", "\n".join(lines))])
    total = len(model.seen)
    model.seen.clear()

    lines[100] = "Step 100: turn valve 7 slowly and wait until the gauge of line 9 is still."
    await context.ingest("manuals", [page("a", "\n".join(lines))])

    assert total > 10
    assert 1 <= len(model.seen) <= 3


BAD: list[tuple[Any, str]] = [
    ({"text": "no id"}, "id is missing"),
    ({"id": 7, "text": "x"}, "id is int"),
    ({"id": "a\nb", "text": "x"}, "control character"),
    ({"id": "x" * 600, "text": "x"}, "600 characters"),
    (page("empty", "  \n "), "text is missing or empty"),
    (page("none", None), "text is missing or empty"),  # type: ignore[arg-type]  # wrong on purpose
    (page("list", ["x"]), "text is list"),  # type: ignore[arg-type]  # wrong on purpose
    (page("nul", "a\0b"), "NUL"),
    (page("surrogate", "a\ud800b"), "no valid Unicode"),
    (page("large", "x" * (MAX_TEXT + 1)), f"{MAX_TEXT + 1} characters"),
    (page("labels", labels="role:x"), "labels is no list"),
    (page("label", labels=["role:x", 3]), "label is int"),
    (page("many", labels=[f"role:{n}" for n in range(65)]), "65 labels"),
    (page("time", as_of="yesterday"), "no time"),
    (page("meta", metadata=["x"]), "metadata is no dict"),
    (page("metas", metadata={"x": object()}), "not representable as JSON"),
    (page("metal", metadata={"x": "y" * 20_000}), "metadata is too large"),
    (page("typo", label=["role:x"]), "unknown field 'label'"),
    ("text", "a document is a dict"),
    (Unreadable("file.md", "cannot be read: not UTF-8"), "cannot be read"),
]


async def test_bad_documents_are_named_and_the_good_ones_go_in(context: Context) -> None:
    given = [part for position, (bad, _) in enumerate(BAD) for part in (bad, page(f"good{position}"))]

    report = await context.ingest("manuals", given)

    assert report.ingested == len(BAD)
    assert len(report.skipped) == len(BAD)
    for found, (_, wanted) in zip(report.skipped, BAD, strict=True):
        assert wanted in found["reason"]
    assert report.skipped[0]["id"] == "#0"
    assert report.skipped[-1] == {"id": "file.md", "reason": "cannot be read: not UTF-8"}


async def test_the_second_of_two_equal_ids_is_reported(context: Context) -> None:
    report = await context.ingest("manuals", [page("a", "First pump."), page("a", "Second pump.")])

    assert (report.ingested, report.skipped[0]["id"]) == (1, "a")
    assert [fact.text for fact in await context.query("pump")] == ["First pump."]


async def test_one_document_for_a_list_is_refused(context: Context) -> None:
    with pytest.raises(errors.InputError, match="no list of documents"):
        await context.ingest("manuals", page("a"))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(errors.InputError, match="no list of documents"):
        await context.ingest("manuals", None)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(errors.InputError, match="source is missing"):
        await context.ingest(" ", [page("a")])


async def test_nothing_to_do_makes_no_snapshot(context: Context) -> None:
    assert (await context.ingest("manuals", [])).to_json() == {
        "ingested": 0, "unchanged": 0, "skipped": [], "snapshot": 0,
    }  # fmt: skip
    assert await context.query("pump") == []


async def test_facts_say_where_they_come_from(context: Context, clock: HandClock) -> None:
    text = "  Äpfel und Birnen 🍐 kühlen.  "
    await context.ingest(
        "manuals",
        [page("a", text, title="Obst", labels=[], version=3, as_of="2025-12-31T10:00:00+02:00", trust="vendor")],
    )

    (fact,) = await context.query("Birnen")

    assert (fact.document_id, fact.title, fact.source, fact.version, fact.trust) == (
        "a",
        "Obst",
        "manuals",
        "3",
        "vendor",
    )
    assert fact.as_of == "2025-12-31T08:00:00.000000Z"
    assert text[slice(*fact.span)] == fact.text == "Äpfel und Birnen 🍐 kühlen."
    assert 0 < fact.score <= 1
    assert fact.to_json()["labels"] == []


async def test_huge_text_comes_in_chunks_whose_spans_fit(context: Context) -> None:
    text = "\n\n".join(f"Chapter {n}. " + "The rotor needs oil every week. " * 60 for n in range(12)) + "zebra " * 3
    await context.ingest("manuals", [page("book", text), page("wall", "x" * 5_000), page("kanji", "漢字" * 2_000)])

    one = await context.query("zebra", k=10)
    many = await context.query("rotor oil", k=10, where={"source": "manuals"}, chunks=True)

    assert one[0].document_id == "book"
    assert len({fact.document_id for fact in one}) == len(one) == 3
    assert sum(fact.document_id == "book" for fact in many) > 5
    assert all(text[slice(*fact.span)] == fact.text for fact in many if fact.document_id == "book")


async def test_k_documents_come_even_when_one_has_all_the_best_chunks(context: Context) -> None:
    long = "\n".join(f"Pump number {n} hums; the pump is a pump of the pump kind, pump." for n in range(3_000))
    await context.ingest("manuals", [page("long", long), *(page(f"d{n}", f"A cat {n}.") for n in range(4))])

    facts = await context.query("pump", k=5)

    assert {fact.document_id for fact in facts} == {"long", "d0", "d1", "d2", "d3"}


async def test_best_sentences_count_when_asked_for(
    context: Context, model: WordModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_settings", Settings.load().model_copy(update={"sentence_vectors": True}))
    filler = " ".join(f"Other matter {n} is told here." for n in range(30))
    await context.ingest(
        "manuals", [page("long", f"{filler} The blue valve leaks oil."), page("short", "Oil and cats.")]
    )

    facts = await context.query("the blue valve leaks oil", k=2)

    assert "The blue valve leaks oil." in model.seen
    assert facts[0].document_id == "long"
    await context.erase("manuals", ["long"])
    assert [fact.document_id for fact in await context.query("valve", k=2)] == ["short"]
