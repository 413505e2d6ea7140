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


@pytest.mark.parametrize("field", ["roles", "skills", "scopes"])
def test_one_text_is_no_set_of_names(field: str) -> None:
    with pytest.raises(errors.InputError, match="one name"):
        Person("bo", **{field: "lead"})  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1000, None, "1000 EUR", 5.0])
def test_a_limit_is_money(limit: object) -> None:
    with pytest.raises(errors.InputError, match="no Money"):
        Person("bo", authorities={"purchasing": limit})  # type: ignore[dict-item]


@pytest.mark.parametrize("deputy", ["agent:x", "bo", "", "person:"])
def test_a_deputy_is_a_person(deputy: str) -> None:
    with pytest.raises(errors.InputError):
        Person("bo", deputy=deputy)


def test_what_is_given_is_copied() -> None:
    roles, authorities = {"lead"}, {"purchasing": Money(1, "EUR")}
    bo = Person("bo", roles=roles, authorities=authorities)
    roles.add("chief")
    authorities.clear()
    assert bo.all_roles == {"lead", "purchasing"}


def test_actors_are_listed_in_order_of_registration() -> None:
    bot = Bot("x", roles={"buyer"})
    actors = Actors([Person("bo"), bot])
    assert [actor.id for actor in actors] == ["person:bo", "agent:x"]
    assert bot.all_roles == {"buyer"}
    assert 5 not in actors and "person:al" not in actors
    with pytest.raises(errors.InputError):
        actors.register(Actor("neither"))
