"""kill -9 and SIGTERM before and after every commit and effect; the next process ends the case as if nothing had been.

`make test` draws some of the points with a seed, `make chaos` takes all of them.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.crash.forks import forkers
from tests.crash.killable import SUBJECT, WORKFLOWS
from tests.crash.lives import Left, diary, lives

pytestmark = pytest.mark.timeout(540)
AT_ONCE = 2
LIVES, HUNTS, MANY_HUNTS = 5, 3, 40
SAMPLE = 8
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

    def hunt(self, deaths: list[list[int]], sign: int = signal.SIGKILL) -> dict[str, list[str]]:
        """Cases whose processes end at these points, each list in a home of its own; those that did not end right."""
        homes = [Path(mkdtemp(dir=self.homes)) / "home" for _ in deaths]
        running = [
            self.pool.submit(lives, home, self.workflow, *moments, sign=sign)
            for home, moments in zip(homes, deaths, strict=True)
        ]
        found = [(moments, wrong(one.result(), self.left, sign)) for moments, one in zip(deaths, running, strict=True)]
        return {", ".join(f"{at} {self.points[at - 1]}" for at in moments): what for moments, what in found if what}

    def some(self, seed: int) -> list[list[int]]:
        """Some of the points, drawn with a seed."""
        return [[at] for at in sorted(random.Random(seed).sample(range(1, len(self.points) + 1), SAMPLE))]

    def every(self) -> list[list[int]]:
        return [[at] for at in range(1, len(self.points) + 1)]


def wrong(left: Left, calm: Left, sign: int) -> list[str]:
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
    if sign == signal.SIGTERM and left.open_calls:
        found.append(f"effects in flight were cut off: {left.open_calls}")
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


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_some_points_it_ends_the_same(calm: Calm, sign: int) -> None:
    assert calm.hunt(calm.some(seed=sign), sign) == {}


def test_killed_again_and_again_it_ends_the_same(calm: Calm) -> None:
    """The second and later deaths fall into what the life before had left: replays, probes, questions."""
    assert calm.hunt(again_and_again(calm, HUNTS)) == {}


@pytest.mark.chaos
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_any_point_it_ends_the_same(calm: Calm, sign: int) -> None:
    assert calm.hunt(calm.every(), sign) == {}


@pytest.mark.chaos
def test_killed_again_and_again_in_many_ways_it_ends_the_same(calm: Calm) -> None:
    assert calm.hunt(again_and_again(calm, MANY_HUNTS)) == {}


def again_and_again(calm: Calm, hunts: int) -> list[list[int]]:
    draw = random.Random(calm.workflow)
    return [[draw.randrange(1, len(calm.points) // 2) for _ in range(LIVES)] for _ in range(hunts)]
