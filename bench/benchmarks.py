"""The benchmarks by name: which peers run which load, and which counts must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench import durable_record, governed_call, policy_decision, step_tax, verify_chain
from bench.trial import Peer

__all__ = ["BENCHMARKS", "Benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """`loads`: how many runs are made at which concurrency. The first peer is what the other ones are compared with.

    `most_commits`: commits per run that a peer may need at a concurrency. Counts repeat, so they are a gate.
    """

    title: str
    unit: str
    peers: Mapping[str, Peer]
    loads: Mapping[int, int]
    most_commits: Mapping[tuple[str, int], float] = field(default_factory=dict)


BENCHMARKS = {
    "B1": Benchmark("A tool call through the gateway, in memory", "call", governed_call.PEERS, {1: 2000}),
    "B2": Benchmark(
        "A ledger record, durable before its caller goes on",
        "record",
        durable_record.PEERS,
        {1: 400, 16: 1600, 64: 6400},
        {("committer", 16): 0.1, ("committer", 64): 0.05},
    ),
    "B3": Benchmark(
        "A case of six steps, every step durable",
        "case",
        step_tax.PEERS,
        {1: 60, 16: 320},
        {("saver", 1): 8, ("saver", 16): 1.5, ("graph", 16): 1.5, ("tasks", 16): 3},
    ),
    "B7": Benchmark("A policy decision among so many policies", "decision", policy_decision.PEERS, {1: 2000}),
    "B9": Benchmark("The chain of a database, read and checked", "event", verify_chain.PEERS, {1: 40_000}),
}
