"""The benchmarks' own arithmetic, and the counts that must hold on any machine. No times are judged here."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import governed_call, policy_decision, traced
from bench.__main__ import main
from bench.alone import run_alone
from bench.benchmarks import BENCHMARKS, Benchmark
from bench.report import broken, markdown
from bench.rounds import rows, run_rounds
from bench.trial import MARK, Trial, measure
from interlock.oversight.policy import Policies

GATES = [
    pytest.param(name, peer, concurrency, most, id=f"{name}-{peer}-{concurrency}")
    for name, benchmark in BENCHMARKS.items()
    for (peer, concurrency), most in benchmark.most_commits.items()
]


@pytest.mark.parametrize(("name", "peer", "concurrency", "most"), GATES)
async def test_no_peer_needs_more_commits_than_allowed(
    name: str, peer: str, concurrency: int, most: float, tmp_path: Path
) -> None:
    """How units meet in batches depends on what else the machine does, so one of ten trials has to do it."""
    needed, runs = [], 8 * concurrency if concurrency > 1 else 2
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        trial = await BENCHMARKS[name].peers[peer](folder, runs, concurrency)
        needed.append(trial.commits_per_run)
        if 0 < needed[-1] <= most:
            return
    pytest.fail(f"{needed} commits per {BENCHMARKS[name].unit}, at most {most} allowed")


@pytest.mark.parametrize(("name", "peer", "commits"), [("B2", "alone", 1.0), ("B3", "stock", 15.0)])
async def test_what_we_compare_with_commits_as_often_as_it_is_known_to(
    name: str, peer: str, commits: float, tmp_path: Path
) -> None:
    trial = await BENCHMARKS[name].peers[peer](tmp_path, 16, 4)
    assert trial.commits_per_run == commits


async def test_every_run_is_made_once_and_no_more_than_allowed_at_once() -> None:
    seen: list[int] = []
    flying = most = 0

    async def once(number: int) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        seen.append(number)
        flying -= 1

    trial = await measure(once, 20, 3, lambda: len(seen))
    assert sorted(seen) == [-1, *range(20)]
    assert (most, trial.runs, trial.commits) == (3, 20, 20)


async def test_a_failure_in_a_run_ends_the_trial() -> None:
    async def once(number: int) -> None:
        if number == 2:
            raise LookupError("broken")

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await measure(once, 8, 2, lambda: 0)


def test_syncs_are_counted_between_the_marks_only() -> None:
    log = f"""
    10 fdatasync(7)                      = 0
    10 fsync({MARK})                     = -1 EBADF (Bad file descriptor)
    11 fdatasync(7 <unfinished ...>
    12 fsync(8)                          = 0
    11 <... fdatasync resumed>)          = 0
    10 fsync({MARK})                     = -1 EBADF (Bad file descriptor)
    10 fdatasync(7)                      = 0
    """
    assert traced.between_marks(log) == 2


@pytest.mark.skipif(not traced.available(), reason="strace is not installed")
@pytest.mark.parametrize("sync_ms", [0, 2])
def test_one_commit_per_call_is_about_one_sync_per_call(sync_ms: float) -> None:
    found = traced.run_traced("B2", "alone", 40, 1, sync_ms)
    if found is None:
        pytest.skip("this machine does not allow tracing")
    assert found.trial.commits_per_run == 1.0
    assert 1.0 <= found.syncs_per_run <= 1.5
    assert found.trial.seconds >= 40 * sync_ms / 1000


def trials(*commits: int) -> list[Trial]:
    return [Trial(10, 2.0 * (n + 1), 1.0, c) for n, c in enumerate(commits)]


async def peer(folder: Path, runs: int, concurrency: int) -> Trial:
    return Trial(runs, 1.0, 0.5, len(list(folder.iterdir())))


async def small(name: str, runs: int, concurrency: int) -> Trial:
    return Trial(runs, 1.0, 0.5, concurrency)


SMALL = Benchmark("Small", "thing", {"first": peer, "second": peer}, {1: 20, 4: 400}, {("second", 4): 0.5})


async def test_a_trial_finds_an_empty_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "small", SMALL)
    assert (await run_alone("small", "first", 8, 1)).commits == 0


async def test_rounds_run_every_peer_in_turns() -> None:
    told: list[str] = []
    found = await run_rounds(SMALL, 2, 0.1, small, told.append)
    assert {key: [t.runs for t in of] for key, of in found.items()} == {
        (1, "first"): [8, 8], (1, "second"): [8, 8], (4, "first"): [40, 40], (4, "second"): [40, 40],
    }  # fmt: skip
    assert [text.split(": ")[1] for text in told[::2]] == ["first at 1", "first at 4", "second at 1", "second at 4"]


def test_medians_ratios_and_the_gate() -> None:
    found = {(c, name): trials(10, 30, 20) for c in SMALL.loads for name in SMALL.peers}
    found[4, "second"] = [Trial(10, 1.0, 0.5, 6)] * 3
    table = rows(SMALL, found, 1.0, lambda peer, runs, concurrency: None)
    assert [(row.concurrency, row.peer, row.commits) for row in table] == [
        (1, "first", 2.0), (1, "second", 2.0), (4, "first", 2.0), (4, "second", 0.6),
    ]  # fmt: skip
    assert (table[3].rate, table[3].cpu) == (4.0, 0.5)
    assert broken(SMALL, table) == ["second at 4: 0.600 commits per thing, at most 0.5 allowed"]
    lines = markdown("small", SMALL, table).splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert lines[-1] == "| 4 | second | 0.600 | not traced | 50.000 ms | 0.50x | 10 | 4.00x |"


@pytest.mark.parametrize("named", [5, governed_call.POLICIES])
def test_there_are_a_hundred_policies_and_they_parse(named: int) -> None:
    (text,) = governed_call.policies(named).values()
    assert text.count("permit (") == governed_call.POLICIES
    assert text.count(governed_call.TOOL) == named
    assert Policies(governed_call.policies(named)).files["bench.cedar"] == text


@pytest.mark.parametrize("size", policy_decision.SIZES)
async def test_a_decision_asks_as_many_policies_whatever_the_size_of_the_set(size: int, tmp_path: Path) -> None:
    part = policy_decision.bound(size).edition.slice(policy_decision.TOOL)
    assert part is not None and len(part.statements) == policy_decision.EACH
    assert policy_decision.policies(size).count("permit (") == size
    for name in ("ours", "cedarpy"):
        assert (await policy_decision.PEERS[f"{name}, {size:,}"](tmp_path, 4, 1)).runs == 4


@pytest.mark.parametrize("arguments", [["B99"], ["--rounds", "0"], ["--rounds", "x"]])
def test_the_command_says_what_it_does_not_know(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_command_prints_a_table_and_fails_on_a_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traced, "available", lambda: False)
    monkeypatch.setitem(BENCHMARKS, "B2", replace(BENCHMARKS["B2"], loads={1: 80}, most_commits={("committer", 1): 1}))
    monkeypatch.setattr(sys, "argv", ["bench", "B2", "--rounds", "1", "--short"])
    assert main() == 0
    assert "| 1 | alone | 1.000 | not traced |" in capsys.readouterr().out
    monkeypatch.setitem(BENCHMARKS, "B2", replace(BENCHMARKS["B2"], most_commits={("committer", 1): 0.5}))
    assert main() == 1
    assert "B2: committer at 1: 1.000 commits per record, at most 0.5 allowed" in capsys.readouterr().err
