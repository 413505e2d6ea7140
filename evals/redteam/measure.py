"""Replays all of it, and counts: what honest work costs, what an attacker gets, and why."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from interlock.evals.redteam.dojo import SUITES, Dojo, Pair
from interlock.evals.redteam.governed import Range, governed
from interlock.evals.redteam.ground import Ground, Part, load
from interlock.evals.redteam.replay import Attack, attacked, honest
from interlock.evals.redteam.report import Report, Tally
from interlock.evals.redteam.variants import variants, wrong_targets

__all__ = ["measure"]

Progress = Callable[[str], None]


async def measure(
    suites: Sequence[str] = SUITES,
    *,
    pairs: int | None = None,
    seed: int = 0,
    without: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Replay every pair of the suites, or a seeded choice of `pairs` of them, and the tasks of their users alone.

    `without` takes one defence away, to see what it is good for.
    """
    report = Report(whole=pairs is None and tuple(suites) == SUITES)
    dojos = {name: Dojo(name) for name in suites}
    chosen = _chosen(dojos, pairs, seed)
    for name, dojo in dojos.items():
        ground = load(name) if without is None else load(name).without(without)
        tally = Tally(name, pairs=len(dojo.candidates))
        report.tallies.append(tally)
        for user in dojo.users:
            mine = [pair for pair in chosen if (pair.suite, pair.user) == (name, user)]
            if mine or pairs is None:
                await _measure_user(dojo, ground, user, mine, tally)
        if progress is not None:
            progress(f"{name}: {tally.tasks} tasks alone, {tally.replayable} pairs in {tally.replays} replays")
    return report


def _chosen(dojos: Mapping[str, Dojo], pairs: int | None, seed: int) -> list[Pair]:
    """All pairs that can be replayed, or so many of them."""
    every = [(dojo, *candidate) for dojo in dojos.values() for candidate in dojo.candidates]
    if pairs is not None:
        random.Random(seed).shuffle(every)  # noqa: S311  # no secret
    replayable = (dojo.replayable(user, attack) for dojo, user, attack in every)
    return list(islice((pair for pair in replayable if pair is not None), pairs))


async def _measure_user(dojo: Dojo, ground: Ground, user: str, pairs: list[Pair], tally: Tally) -> None:
    """A task alone, then with every attacker; in one plane."""
    async with governed(dojo, ground) as where:
        tally.add_honest(user, *await honest(where, user))
        for pair in pairs:
            attacks = [await attacked(where, pair, point) for point in dojo.splices(user)]
            tally.add_attack(pair, attacks)
            if not any(attack.won for attack in attacks):
                await _measure_variants(where, pair, attacks[-1], tally)


async def _measure_variants(where: Range, pair: Pair, attack: Attack, tally: Tally) -> None:
    """In the case of the last replay, where everything honest is done and known."""
    session = attack.session
    targets = session.targets
    approvals = [one.approval for one in session.sent if one.approval is not None and one.status == "done"]
    for call in attack.calls:
        for variant in variants(call, targets, approvals):
            tally.add_variant(pair, variant, await session.send(variant.call, variant.approval))
    for call in attack.calls:
        wrong = wrong_targets(call, targets)
        if wrong is not None and wrong.tool in session.tools:
            tally.wrong_targets["let through" if (await session.send(wrong)).status == "done" else "stopped"] += 1
