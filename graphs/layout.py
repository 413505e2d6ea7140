"""Where the boxes of a map stand and how its lines run: a layered layout, from top to bottom, the same every time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Box", "Layout", "Line", "Point", "arrange"]

Point = tuple[float, float]
_ROW_GAP, _BOX_GAP, _LANE = 46.0, 28.0, 22.0
_SWEEPS = 12
_BEND = "\n"  # stands in no name of a step


@dataclass(frozen=True)
class Box:
    """The place of a step: its centre line and its upper edge."""

    x: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height


@dataclass(frozen=True)
class Line:
    """A way: its corners from the source to the target. `back` ways run up beside the boxes."""

    points: list[Point]
    back: bool = False


@dataclass(frozen=True)
class Layout:
    """All boxes by step, and one line per edge, in the order of the edges."""

    boxes: dict[str, Box]
    lines: list[Line]
    width: float
    height: float


@dataclass
class _Grid:
    """Steps, and the bends of long edges, in rows. A bend is named after its edge and its row."""

    rows: list[list[str]] = field(default_factory=list)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[int, list[str]] = field(default_factory=dict)

    def join(self, upper: str, lower: str) -> None:
        self.below.setdefault(upper, []).append(lower)
        self.above.setdefault(lower, []).append(upper)


def arrange(sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]]) -> Layout:
    """Place boxes of given (width, height); edges that close a loop run back at the right."""
    back = _loops(list(sizes), edges)
    grid = _grid(sizes, edges, back)
    _order(grid)
    xs = _spread(grid)
    boxes = _boxes(grid, xs)
    right = max((b.x + b.width / 2 for b in boxes.values()), default=0.0)
    lines, lanes = [], 0
    for number, (source, target) in enumerate(edges):
        lanes += number in back
        lane = right + lanes * _LANE
        lines.append(_back(boxes, source, target, lane) if number in back else _down(grid, boxes, number))
    real = {name: box for name, box in boxes.items() if name in sizes}
    height = max((b.bottom for b in real.values()), default=0.0)
    return Layout(real, lines, right + lanes * _LANE, height)


def _loops(names: list[str], edges: Sequence[tuple[str, str]]) -> set[int]:
    """The numbers of the edges that lead back to a step still being walked."""
    out: dict[str, list[int]] = {}
    for number, (source, _) in enumerate(edges):
        out.setdefault(source, []).append(number)
    state: dict[str, str] = {}
    back: set[int] = set()
    for name in names:
        _walk(name, edges, out, state, back)
    return back


def _walk(
    root: str, edges: Sequence[tuple[str, str]], out: Mapping[str, list[int]], state: dict[str, str], back: set[int]
) -> None:
    stack = [] if root in state else [(root, iter(out.get(root, ())))]
    state.setdefault(root, "open")
    while stack:
        here, ahead = stack[-1]
        number = next(ahead, None)
        if number is None:
            state[here] = "done"
            stack.pop()
            continue
        target = edges[number][1]
        if state.get(target) == "open":
            back.add(number)
        elif target not in state:
            state[target] = "open"
            stack.append((target, iter(out.get(target, ()))))


def _grid(sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]], back: set[int]) -> _Grid:
    rank = _ranks(list(sizes), [edge for number, edge in enumerate(edges) if number not in back])
    grid = _Grid([[] for _ in range(max(rank.values(), default=-1) + 1)], dict(sizes))
    for name in sizes:
        grid.rows[rank[name]].append(name)
    for number, (source, target) in enumerate(edges):
        if number in back:
            continue
        chain = [source]
        for row in range(rank[source] + 1, rank[target]):
            bend = f"{number}{_BEND}{row}"
            grid.sizes[bend] = (16.0, 0.0)
            grid.rows[row].append(bend)
            chain.append(bend)
        grid.chains[number] = [*chain, target]
        for upper, lower in zip(grid.chains[number], grid.chains[number][1:], strict=False):
            grid.join(upper, lower)
    return grid


def _ranks(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Rows: as far from the top as the longest way there. The edges have no loop."""
    rank = dict.fromkeys(names, 0)
    for _ in names:
        moved = [(s, t) for s, t in edges if rank[t] <= rank[s]]
        for source, target in moved:
            rank[target] = max(rank[target], rank[source] + 1)
        if not moved:
            break
    return rank


def _order(grid: _Grid) -> None:
    """Few crossings: each row is sorted by where its neighbours stand, downwards and upwards in turn."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in grid.rows if down else reversed(grid.rows):
            place = {name: number for other in grid.rows for number, name in enumerate(other)}
            neighbours = grid.above if down else grid.below
            row.sort(key=lambda name: _mean([place[n] for n in neighbours.get(name, ())], place[name]))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(grid: _Grid) -> dict[str, float]:
    """Horizontal centres: each row drawn to the middle of its neighbours, boxes kept apart."""
    xs: dict[str, float] = {}
    for row in grid.rows:
        at = 0.0
        for name in row:
            width = grid.sizes[name][0]
            xs[name] = at + width / 2
            at += width + _BOX_GAP
    for sweep in range(2 * _SWEEPS + 1):  # the last one goes down, which keeps flows straight
        for row in grid.rows if sweep % 2 == 0 else reversed(grid.rows):
            _settle(grid, row, xs, grid.above if sweep % 2 == 0 else grid.below)
    left = min((xs[name] - grid.sizes[name][0] / 2 for row in grid.rows for name in row), default=0.0)
    return {name: x - left for name, x in xs.items()}


def _settle(grid: _Grid, row: list[str], xs: dict[str, float], neighbours: Mapping[str, list[str]]) -> None:
    """Boxes where they are pulled to, with the distances kept; passing lines make way for the only box of a row."""
    wish = [_pull(name, xs, neighbours.get(name, ())) for name in row]
    gaps = [_apart(grid, left, right) for left, right in itertools.pairwise(row)]
    boxes = [number for number, name in enumerate(row) if _BEND not in name]
    placed = _around(wish, gaps, boxes[0]) if len(boxes) == 1 else _between(wish, gaps)
    xs.update(zip(row, placed, strict=True))


def _around(wish: list[float], gaps: list[float], fixed: int) -> list[float]:
    """One place holds, the others are pushed away from it."""
    left = _push([-x for x in reversed(wish[: fixed + 1])], gaps[:fixed][::-1])
    return [*(-x for x in reversed(left[1:])), *_push(wish[fixed:], gaps[fixed:])]


def _between(wish: list[float], gaps: list[float]) -> list[float]:
    """Pushed apart from the left and from the right: the middle of both favours no side."""
    from_right = [-x for x in reversed(_push([-x for x in reversed(wish)], gaps[::-1]))]
    return [(one + other) / 2 for one, other in zip(_push(wish, gaps), from_right, strict=True)]


def _pull(name: str, xs: Mapping[str, float], neighbours: Sequence[str]) -> float:
    """Where a box would stand if it were alone; its line to another box pulls more than a passing long line."""
    if not neighbours:
        return xs[name]
    weights = [1.0 if _BEND in name + other else 4.0 for other in neighbours]
    return sum(xs[n] * w for n, w in zip(neighbours, weights, strict=True)) / sum(weights)


def _push(wish: list[float], gaps: list[float]) -> list[float]:
    placed = wish[:1]
    for x, gap in zip(wish[1:], gaps, strict=True):
        placed.append(max(x, placed[-1] + gap))
    return placed


def _apart(grid: _Grid, left: str, right: str) -> float:
    return (grid.sizes[left][0] + grid.sizes[right][0]) / 2 + _BOX_GAP


def _boxes(grid: _Grid, xs: Mapping[str, float]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    top = 0.0
    for row in grid.rows:
        tallest = max((grid.sizes[name][1] for name in row), default=0.0)
        for name in row:
            width, height = grid.sizes[name]
            bend = _BEND in name
            boxes[name] = Box(
                xs[name], top if bend else top + (tallest - height) / 2, width, tallest if bend else height
            )
        top += tallest + _ROW_GAP
    return boxes


def _down(grid: _Grid, boxes: Mapping[str, Box], number: int) -> Line:
    chain = [boxes[name] for name in grid.chains[number]]
    points: list[Point] = [(chain[0].x, chain[0].bottom)]
    for bend in chain[1:-1]:
        points += [(bend.x, bend.top), (bend.x, bend.bottom)]
    return Line([*points, (chain[-1].x, chain[-1].top)])


def _back(boxes: Mapping[str, Box], source: str, target: str, lane: float) -> Line:
    here, there = boxes[source], boxes[target]
    ends = [(box.x + box.width / 2, box.top + box.height / 2) for box in (here, there)]
    return Line([ends[0], (lane, ends[0][1]), (lane, ends[1][1]), ends[1]], back=True)
