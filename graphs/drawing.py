"""The picture of a map: one self-contained SVG, light and dark by CSS, without scripts and outside fonts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from interlock.graphs.layout import Box, Layout, Line, Point, arrange
from interlock.graphs.map import Map, Node

__all__ = ["svg"]

_MARGIN, _HEAD, _FOOT = 28.0, 62.0, 40.0
_WIDTH, _LINE, _PAD = 268.0, 17.0, 12.0
_CHARS = 38
_STYLE = """
.map{--paper:#fff;--ink:#16202c;--soft:#5b6878;--line:#8793a3;--box:#f6f8fb;--rim:#c9d2dd}
.map{--task:#2f6fde;--gate:#c27803;--no:#c0392b}
@media (prefers-color-scheme:dark){
.map{--paper:#12171e;--ink:#e8edf3;--soft:#9aa8b8;--line:#6d7b8c;--box:#1b232d;--rim:#334050}
.map{--task:#6ea4ff;--gate:#e8a33d;--no:#ff7b6b}
}
.map text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--soft)}
.map .tools{font:11px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.map .title{font-size:18px;font-weight:650;fill:var(--ink)}
.map .name{font-size:14px;font-weight:600;fill:var(--ink)}
.map .endname{font-weight:600;fill:var(--paper);text-anchor:middle}
.map .sla{text-anchor:end}
.map .paper{fill:var(--paper)}
.map .box{fill:var(--box);stroke:var(--rim)}
.map .end{fill:var(--ink)}
.map .task{fill:var(--task)}
.map .approval{fill:var(--gate)}
.map .node{fill:var(--line)}
.map .way{fill:none;stroke:var(--line);stroke-width:1.5}
.map .branch{stroke-dasharray:5 4}
.map .reject{stroke:var(--no);stroke-dasharray:2 3}
.map .tip{fill:var(--line)}
.map .notip{fill:var(--no)}
"""


def svg(chart: Map) -> str:
    """The map as an SVG document. Long names are cut in the boxes and whole in their tool-tips."""
    sizes = {node.id: _size(node) for node in chart.nodes}
    layout = arrange(sizes, [(edge.source, edge.target) for edge in chart.edges])
    width = max(layout.width, _WIDTH * 1.6) + 2 * _MARGIN
    height = layout.height + _HEAD + _FOOT + _MARGIN
    shift = _MARGIN + max(0.0, (_WIDTH * 1.6 - layout.width) / 2)
    body = [*_ways(chart, layout), *_boxes(chart, layout)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="map" viewBox="0 0 {width:.0f} {height:.0f}"'
            f' width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{_safe(chart.workflow)}">',
            f"<style>{_STYLE}</style>",
            _TIPS,
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            *_heading(chart),
            f'<g transform="translate({shift:.1f} {_HEAD + 12:.1f})">',
            *body,
            "</g>",
            *_legend(height),
            "</svg>\n",
        ]
    )


_TIPS = (
    '<defs><marker id="map-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
    ' orient="auto-start-reverse"><path class="tip" d="M0 0L10 5L0 10z"/></marker>'
    '<marker id="map-notip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
    ' orient="auto-start-reverse"><path class="notip" d="M0 0L10 5L0 10z"/></marker></defs>'
)


def _heading(chart: Map) -> Iterator[str]:
    about = [f"version {chart.version}"]
    about += [f"owner {chart.owner}"] if chart.owner else []
    about += [f"to be done within {chart.sla}"] if chart.sla else []
    yield f'<text class="title" x="{_MARGIN}" y="34">{_safe(chart.workflow)}</text>'
    yield f'<text x="{_MARGIN}" y="53">{_safe(" · ".join(about))}</text>'


def _legend(height: float) -> Iterator[str]:
    y = height - 18
    marks = (("task", "task"), ("approval", "approval"))
    for number, (kind, text) in enumerate(marks):
        x = _MARGIN + number * 76
        yield f'<rect class="{kind}" x="{x:.0f}" y="{y - 10:.0f}" width="4" height="12"/>'
        yield f'<text x="{x + 10:.0f}" y="{y:.0f}">{text}</text>'
    for number, (kind, text) in enumerate((("branch", "by choice"), ("reject", "after a no"))):
        x = _MARGIN + 180 + number * 116
        yield f'<path class="way {kind}" d="M{x:.0f} {y - 4:.0f}h30"/><text x="{x + 36:.0f}" y="{y:.0f}">{text}</text>'


def _size(node: Node) -> tuple[float, float]:
    if node.kind in ("start", "end"):
        return 76.0, 28.0
    return _WIDTH, 2 * _PAD + 16 + _LINE * len(_lines(node))


def _lines(node: Node) -> list[tuple[str, str]]:
    """Class and text of the lines below the name."""
    lines = [("", f"skill {node.skill}")] if node.skill and node.skill != node.id else []
    lines += [("", f"needs {node.authority}")] if node.authority else []
    lines += [("", "by " + ", ".join(_plain(p) for p in node.performers))] if node.performers else []
    lines += [("tools", tool) for tool in node.tools[:4]]
    lines += [("tools", f"and {len(node.tools) - 4} more tools")] if len(node.tools) > 4 else []
    return lines + ([("", "may lead anywhere")] if node.free else [])


def _plain(actor: str) -> str:
    return actor.partition(":")[2] or actor


def _boxes(chart: Map, layout: Layout) -> Iterator[str]:
    for node in chart.nodes:
        box = layout.boxes[node.id]
        yield f'<g data-step="{_safe(node.id)}" data-kind="{node.kind}">'
        yield from _terminal(node, box) if node.kind in ("start", "end") else _card(node, box)
        yield "</g>"


def _terminal(node: Node, box: Box) -> Iterator[str]:
    left = box.x - box.width / 2
    yield f'<rect class="end" x="{left:.1f}" y="{box.top:.1f}" width="{box.width}" height="{box.height}" rx="14"/>'
    yield f'<text class="endname" x="{box.x:.1f}" y="{box.top + 18.5:.1f}">{node.label}</text>'


def _card(node: Node, box: Box) -> Iterator[str]:
    left = box.x - box.width / 2
    yield f"<title>{_safe(_whole(node))}</title>"
    yield (
        f'<rect class="box" x="{left:.1f}" y="{box.top:.1f}" width="{box.width}" height="{box.height}" rx="7"/>'
        f'<path class="{node.kind}" d="{_bar(left, box)}"/>'
    )
    text, y = left + _PAD + 6, box.top + _PAD + 12
    yield f'<text class="name" x="{text:.1f}" y="{y:.1f}">{_safe(_cut(node.label, 24))}</text>'
    if node.sla:
        yield f'<text class="sla" x="{left + box.width - _PAD:.1f}" y="{y:.1f}">within {_safe(node.sla)}</text>'
    for number, (kind, line) in enumerate(_lines(node), 1):
        yield f'<text class="{kind}" x="{text:.1f}" y="{y + 2 + number * _LINE:.1f}">{_safe(_cut(line, _CHARS))}</text>'


def _bar(left: float, box: Box) -> str:
    """The coloured edge at the left, rounded like the box."""
    return f"M{left + 7:.1f} {box.top:.1f}h-1a6 6 0 0 0-6 6v{box.height - 12:.1f}a6 6 0 0 0 6 6h1z"


def _whole(node: Node) -> str:
    return "\n".join([node.label, *(text for _, text in _lines(node)), *node.tools[4:]])


def _ways(chart: Map, layout: Layout) -> Iterator[str]:
    for edge, line in zip(chart.edges, layout.lines, strict=True):
        tip = "notip" if edge.kind == "reject" else "tip"
        yield f'<path class="way {edge.kind}" marker-end="url(#map-{tip})" d="{_path(line)}"/>'


def _path(line: Line) -> str:
    """Curves between rows and straight pieces past the boxes of a row; ways back turn round corners."""
    if line.back:
        return _round(line.points)
    (x, y), *rest = line.points
    parts = [f"M{x:.1f} {y:.1f}"]
    for number, (to_x, to_y) in enumerate(rest):
        half = (to_y - y) / 2
        parts.append(
            f"L{to_x:.1f} {to_y:.1f}"
            if number % 2
            else f"C{x:.1f} {y + half:.1f} {to_x:.1f} {to_y - half:.1f} {to_x:.1f} {to_y:.1f}"
        )
        x, y = to_x, to_y
    return "".join(parts)


def _round(points: list[Point]) -> str:
    (x0, y0), (lane, _), (_, y3), (x3, _) = points
    up = -10 if y3 < y0 else 10
    return (
        f"M{x0:.1f} {y0:.1f}H{lane - 10:.1f}Q{lane:.1f} {y0:.1f} {lane:.1f} {y0 + up:.1f}"
        f"V{y3 - up:.1f}Q{lane:.1f} {y3:.1f} {lane - 10:.1f} {y3:.1f}H{x3:.1f}"
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    """Text for SVG: escaped, and without the control characters that XML cannot hold."""
    return escape("".join(c for c in text if c.isprintable() or c in "\n "))
