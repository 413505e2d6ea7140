"""kill -9 before and after every commit and every effect; the next process ends the case as if nothing had been."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.forks import forkers
from tests.crash.killable import SUBJECT, WORKFLOWS
from tests.crash.lives import Left, diary, lives

pytestmark = pytest.mark.timeout(540)
AT_ONCE = 2
LIVES, HUNTS = 5, 8
EFFECTS = [("order", SUBJECT), ("pay", SUBJECT), ("post", SUBJECT)]
# What commits hold, each with a kill before and a kill after it.
_ALWAYS = ["case.started", "tool.intent", "tool.outcome", "task.routed", "task.finished", "checkpoint", "inbox.opened"]
COMMITS = {
    "sequence": [*_ALWAYS, "inbox.decided", "inbox.completed", "case.completed"],
    "at once": [*_ALWAYS, "inbox.decided", "case.completed"],
}


@dataclass(frozen=True)
class Calm:
    """A workflow, what a life that nobody disturbs leaves, its points, and where others may live."""

    workflow: str
    left: Left
    points: list[str]
    homes: Path
    pool: ProcessPoolExecutor

    def hunt(self, deaths: list[list[int]]) -> dict[str, list[str]]:
        """Cases whose processes die at these points, each list in a home of its own; those that did not end right."""
        running = [
            self.pool.submit(lives, self.homes / "-".join(map(str, moments)), self.workflow, *moments)
            for moments in deaths
        ]
        found = [(moments, wrong(one.result(), self.left)) for moments, one in zip(deaths, running, strict=True)]
        return {", ".join(f"{at} {self.points[at - 1]}" for at in moments): what for moments, what in found if what}


def wrong(left: Left, calm: Left) -> list[str]:
    """In what a disturbed case differs from one that was not, beside the questions about calls without outcome."""
    found = [
        f"{name} is {value}, not {calm.end[name]}"
        for name, value in left.end.items()
        if name != "answered" and value != calm.end[name]
    ]
    lost = Counter(tool for tool, _ in left.open_calls)
    asked = Counter(map(tuple, left.end["answered"])) - Counter(map(tuple, calm.end["answered"]))
    if asked != +Counter({("exception", "pay"): lost["pay"]}):
        found.append(f"people were asked {asked}, calls without outcome: {left.open_calls}")
    if left.effects != EFFECTS:
        found.append(f"outside happened {left.effects}")
    if left.refused > lost["order"]:
        found.append(f"a finished order was made {left.refused} times again")
    return found


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with forkers(AT_ONCE) as processes:
        yield processes


@pytest.fixture(scope="module", params=WORKFLOWS)
def calm(request: pytest.FixtureRequest, pool: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    workflow, homes = str(request.param), tmp_path_factory.mktemp("homes")
    left = pool.submit(lives, homes / "calm", workflow).result()
    return Calm(workflow, left, diary(homes / "calm"), homes, pool)


def test_an_undisturbed_life_does_everything_once(calm: Calm) -> None:
    left, points = calm.left, " ".join(calm.points)
    assert (left.effects, left.refused, left.open_calls) == (EFFECTS, 0, set())
    assert left.end["outcomes"] == [["order", "done"], ["pay", "done"], ["post", "done"]]
    assert (left.end["status"], left.end["open"], left.end["ends"], left.end["verified"]) == ("completed", 0, 1, True)
    for what in [*COMMITS[calm.workflow], *(f"effect {kind}" for kind, _ in EFFECTS)]:
        assert what in points


def test_killed_at_any_point_it_ends_the_same(calm: Calm) -> None:
    assert calm.hunt([[at] for at in range(1, len(calm.points) + 1)]) == {}


def test_killed_again_and_again_it_ends_the_same(calm: Calm) -> None:
    """The second and later deaths fall into what the life before had left: replays, probes, questions."""
    draw = random.Random(calm.workflow)
    assert calm.hunt([[draw.randrange(1, len(calm.points) // 2) for _ in range(LIVES)] for _ in range(HUNTS)]) == {}
