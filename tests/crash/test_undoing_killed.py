"""kill -9 while a case that failed is being undone: nothing is undone twice, nothing is left, and it ends once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.forks import forkers
from tests.crash.undoing import Left, lives, points

AT_ONCE, LIVES, HUNTS = 2, 4, 4
EFFECTS = sorted((kind, "pumps") for kind in ("ordered", "posted", "payed", "order", "unpost", "unpay"))
# Where nobody knows whether it happened and nothing can find out, a person is asked once for each such death.
ASKED = ("order", "pay", "pay.compensate", "post")


class Calm(NamedTuple):
    """What a life that nobody disturbs leaves, its points, and where others may live."""

    left: Left
    points: list[str]
    homes: Path
    pool: ProcessPoolExecutor

    def hunt(self, deaths: list[list[int]]) -> dict[str, list[str]]:
        """Cases whose processes die at these points; those that did not end as if nothing had been."""
        homes = [self.homes / "-".join(map(str, moments)) for moments in deaths]
        running = [self.pool.submit(lives, home, *moments) for home, moments in zip(homes, deaths, strict=True)]
        found = [(moments, wrong(one.result(), self.left)) for moments, one in zip(deaths, running, strict=True)]
        return {", ".join(f"{at} {self.points[at - 1]}" for at in moments): what for moments, what in found if what}


def wrong(left: Left, calm: Left) -> list[str]:
    """In what a disturbed case differs from one that was not, beside the questions about calls without outcome."""
    found = [
        f"{name} is {value}, not {calm.end[name]}"
        for name, value in left.end.items()
        if name != "asked" and value != calm.end[name]
    ]
    if left.end["asked"] != sorted(tool for tool in left.lost.elements() if tool in ASKED):
        found.append(f"people were asked about {left.end['asked']}, calls without outcome: {left.lost}")
    return found if left.effects == EFFECTS else [*found, f"outside happened {left.effects}"]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    homes = tmp_path_factory.mktemp("homes")
    with forkers(AT_ONCE) as pool:
        left = pool.submit(lives, homes / "calm").result()
        yield Calm(left, points(homes / "calm"), homes, pool)


def _from_the_failure_on(calm: Calm) -> int:
    """The point before the commit that says that the case is to end."""
    return next(at for at, what in enumerate(calm.points, 1) if what == "after effect payed") + 2


def test_an_undisturbed_life_undoes_everything_once_and_in_reverse(calm: Calm) -> None:
    undone = ["pay.compensate", "post.compensate", "order.compensate"]
    assert calm.left.effects == EFFECTS
    assert calm.left.end == {
        "status": "failed", "why": "the press is on fire", "done": ["order", "pay", "post"], "undone": undone,
        "told": ["pay", "post", "order"], "asked": [], "open": 0, "sums": [[0, 0]], "leases": 0, "verified": True,
    }  # fmt: skip
    assert {f"before effect {kind}" for kind in ("unpay", "unpost", "unorder")} < set(calm.points)


def test_killed_at_any_point_while_it_is_undone_it_ends_the_same(calm: Calm) -> None:
    assert calm.hunt([[at] for at in range(_from_the_failure_on(calm), len(calm.points) + 1)]) == {}


def test_killed_again_and_again_it_ends_the_same(calm: Calm) -> None:
    draw, first = random.Random(4), _from_the_failure_on(calm)
    deaths = [
        [draw.randrange(first, len(calm.points)), *(draw.randrange(1, 12) for _ in range(LIVES))] for _ in range(HUNTS)
    ]
    assert calm.hunt(deaths) == {}
