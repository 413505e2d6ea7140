"""Policy files cut into single statements, so that every problem gets its file, line and column."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cedarpy
from cedarpy import pst

from interlock.oversight.suggest import METHODS, SYNTAX, TYPES, did_you_mean

__all__ = ["Problem", "Statement", "path_of", "read_statements", "walk"]

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)|(?P<text>"(?:\\.|[^"\\])*"|"[^\n]*)|(?P<word>\w+)|(?P<sign>::|&&|\|\||[=!<>]=|.)""", re.S
)
_UNEXPECTED = "unexpected end of input"
# Far beyond what Cedar takes, and far below what overflows the stack of its parser, which would end the process.
_DEEPEST, _LONGEST = 100, 1_200
_TOO_DEEP = "it nests"
_CHAINED = frozenset({".", "&&", "||", "+", "-", "*", "!", "if"})
_NAMED = re.compile(r"""[`']([^`']+)[`']|effect: (\w+)$""")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a policy file. `line` and `column` count from 1; `suggestion` may be empty."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


@dataclass(frozen=True)
class Statement:
    """One policy: its text, where that begins, and its parsed form."""

    file: str
    line: int
    column: int
    text: str
    node: pst.Template = field(repr=False)

    @property
    def id(self) -> str:
        """The `@id`, or the place in the file where there is none."""
        return self.node.annotations.get("id") or f"{Path(self.file).stem}:{self.line}"

    @property
    def reason(self) -> str:
        return self.node.annotations.get("reason", "")

    def problem(self, message: str, suggestion: str = "", *, near: str = "") -> Problem:
        """A problem of this statement, at the first place where the word `near` stands."""
        if (row := self.node.annotations.get("row")) is not None:  # compiled from a matrix, which is what people see
            return Problem(self.file, self.line, 1, f"row {row}: {message}", suggestion)
        line, column = _place(self.text, _find(self.text, near))
        return Problem(self.file, self.line + line, column + (self.column if not line else 1), message, suggestion)


def read_statements(file: str, text: str) -> tuple[list[Statement], list[Problem]]:
    """The statements of a file and the problems of those that do not parse."""
    statements: list[Statement] = []
    problems: list[Problem] = []
    for offset, part in _cut(text):
        line, column = _place(text, offset)
        try:
            node = _parse(part)
            at = int(node.annotations.get("line", line + 1)) if "row" in node.annotations else line + 1
            statements.append(Statement(file, at, column + 1, part, node))
        except ValueError as exc:
            problems.append(_syntax(file, text, offset, part, str(exc)))
    return statements, problems


def walk(node: Any) -> Iterator[Any]:
    """Every node of a parsed policy, in the order of its text, from an explicit stack."""
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, (list, tuple)):
            stack.extend(reversed(value))
        elif hasattr(value, "__dataclass_fields__"):
            yield value
            stack.extend(getattr(value, name) for name in reversed(value.__dataclass_fields__))
        elif isinstance(value, dict):
            stack.extend(reversed(list(value.values())))


def path_of(node: object) -> list[str] | None:
    """`["context", "totals", "day"]` of `context.totals.day`; None of anything else."""
    parts: list[str] = []
    while isinstance(node, pst.GetAttr):
        parts.append(node.attr)
        node = node.base
    return [node.name, *reversed(parts)] if isinstance(node, pst.Var) else None


def _parse(text: str) -> pst.Template:
    parsed = _cedar(text)
    if parsed.templates:
        raise ValueError("templates with ?principal or ?resource are never linked here")
    return next(iter(parsed.static_policies.values()))


def _cedar(text: str) -> pst.PolicySet:
    """What Cedar reads in a text. Raises ValueError, also before its parser would overflow the stack."""
    _check_depth(text)
    return cedarpy.policies_to_pst(text)


def _check_depth(text: str) -> None:
    """Raises ValueError on too many brackets in brackets, or operators in a row, with those of the brackets around."""
    open_ = [0]  # for each bracket that is open how many operators came in it since the last comma
    for sign in (token.group() for token in _tokens(text)):
        if sign in "([{":
            open_[-1] += 1
            open_.append(0)
        elif sign in ")]}":
            del open_[max(1, len(open_) - 1) :]
        elif sign == ",":
            open_[-1] = 0
        else:
            open_[-1] += sign in _CHAINED
        if len(open_) > _DEEPEST:
            raise ValueError(f"{_TOO_DEEP} more than {_DEEPEST} brackets deep")
        if sum(open_) > _LONGEST:
            raise ValueError(f"{_TOO_DEEP} with more than {_LONGEST} operators in a row")


def _tokens(text: str) -> list[re.Match[str]]:
    return [token for token in _TOKEN.finditer(text) if token.lastgroup != "skip"]


def _cut(text: str) -> list[tuple[int, str]]:
    """The parts of a text up to each semicolon outside of strings and comments, with their offsets."""
    parts: list[tuple[int, str]] = []
    start: int | None = None
    end = 0
    for token in _tokens(text):
        start = token.start() if start is None else start
        end = token.end()
        if token.group() == ";":
            parts.append((start, text[start:end]))
            start = None
    return parts if start is None else [*parts, (start, text[start:end])]


def _syntax(file: str, text: str, offset: int, part: str, message: str) -> Problem:
    at = _culprit(part, message)
    line, column = _place(text, offset + at)
    return Problem(file, line + 1, column + 1, f"this does not parse: {message}", _advice(part, at, message))


def _culprit(part: str, message: str) -> int:
    """Where the parser stumbles: the first token after which the text could not go on."""
    tokens = _tokens(part)
    first = bisect_left(tokens, True, key=lambda token: _stumbles(part[: token.end()]))
    if first == len(tokens):
        return len(part)
    return tokens[first].start() if message.startswith(("unexpected", _TOO_DEEP)) else _find(part, _word(message))


def _word(message: str) -> str:
    """What a message is about: its last quoted name; of an entity, the type."""
    names = [quoted or effect for quoted, effect in _NAMED.findall(message)]
    return names[-1].split('::"')[0].split("::")[-1] if names else ""


def _stumbles(text: str) -> bool:
    """Whether the beginning of a policy is wrong already, not merely unfinished."""
    try:
        _cedar(text)
    except ValueError as exc:
        return not str(exc).startswith(_UNEXPECTED)
    return True


def _advice(part: str, at: int, message: str) -> str:
    if re.search(r"\d\.$", part[:at].rstrip()):
        return "Cedar has no fractions: write money in minor units"
    if message.startswith(_UNEXPECTED):
        return "a policy ends with ';'"
    word = _word(message)
    return SYNTAX.get(word) or did_you_mean(word, [*METHODS, *TYPES])


def _find(text: str, word: str) -> int:
    """The offset of a word outside of comments, or of the first token."""
    tokens = _tokens(text)
    for token in tokens:
        if word and token.group().strip('"') == word:
            return token.start()
    return tokens[0].start() if tokens else 0


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, counted from 0."""
    line = text.count("\n", 0, offset)
    return line, offset - (text.rfind("\n", 0, offset) + 1)
