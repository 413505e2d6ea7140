"""Actors and their registry."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from interlock import errors
from interlock.money import Money
from interlock.oversight.actors import Absence, Actor, Actors, Person


class Bot(Actor):
    prefix = "agent"


def test_a_person_is_in_the_role_of_each_authority() -> None:
    bo = Person("bo", roles={"lead"}, authorities={"purchasing": Money(100, "EUR")})
    assert bo.id == "person:bo"
    assert bo.all_roles == {"lead", "purchasing"}
    assert bo.limit("purchasing", "EUR") == 100
    assert bo.limit("purchasing", "USD") == 0
    assert bo.limit("hiring", "EUR") == 0


def test_registering_twice_needs_identical_actors() -> None:
    actors = Actors([Person("bo", roles={"lead"})])
    actors.register(Person("bo", roles={"lead"}))
    with pytest.raises(errors.Conflict):
        actors.register(Person("bo", roles={"chief"}))
    assert [p.id for p in actors.people()] == ["person:bo"]


def test_lookup_by_id_kind_and_skill() -> None:
    actors = Actors([Person("bo", skills={"law"}), Bot("x", skills={"law"})])
    assert [a.id for a in actors.find("law")] == ["person:bo", "agent:x"]
    assert [a.id for a in actors.agents()] == ["agent:x"]
    assert "agent:x" in actors
    with pytest.raises(errors.NotFound):
        actors.get("agent:y")
    with pytest.raises(errors.NotFound):
        actors.person("agent:x")


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 81])
def test_a_name_must_fit_an_id(name: str) -> None:
    with pytest.raises(errors.InputError):
        Person(name)


def test_capacity_and_leave() -> None:
    with pytest.raises(errors.InputError):
        Person("bo", capacity=0)
    leave = Absence(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC))
    bo = Person("bo", calendar=[leave], deputy="person:al")
    assert bo.away(datetime(2026, 1, 1, tzinfo=UTC))
    assert not bo.away(datetime(2026, 1, 8, tzinfo=UTC))
