"""Where policies come from: the shipped files, a folder, a file, or texts by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cedarpy import pst

from interlock import errors
from interlock.oversight.authority import Authority
from interlock.oversight.duties import Conflicts
from interlock.oversight.statements import Problem, Statement

__all__ = ["SHIPPED", "Source", "actions_named", "applicable", "read_source"]

Source = str | Path | Mapping[str, "str | Authority"] | None

SHIPPED = Path(__file__).parent / "policies"
_BUILTIN = "builtin.cedar"
_MATRICES = frozenset({".yaml", ".yml"})
_CONFLICTS = "conflicts"


def read_source(source: Source) -> tuple[dict[str, str], list[Problem]]:
    """Policy texts by file name, and the files of a folder that cannot be read.

    `builtin.cedar` is added unless the source brings its own. Raises ConfigurationError when there is nothing.
    """
    files, unread = _files(SHIPPED if source is None else source)
    named = {Path(name).name for name in (*files, *(problem.file for problem in unread))}
    if not named & {_BUILTIN, "builtin"}:
        files = {_BUILTIN: (SHIPPED / _BUILTIN).read_text("utf-8"), **files}
    return files, unread


def _files(source: str | Path | Mapping[str, str | Authority]) -> tuple[dict[str, str], list[Problem]]:
    if isinstance(source, Mapping):
        return {str(name): _text(name, text) for name, text in source.items()}, []
    if not isinstance(source, (str, Path)):
        raise errors.ConfigurationError(
            f"policies are {type(source).__name__}", "give a folder, a file, or {name: text}"
        )
    path = Path(source)
    suffixes = {".cedar", *_MATRICES}
    found = sorted(file for file in path.iterdir() if file.suffix in suffixes) if path.is_dir() else [path]
    if not found:
        raise errors.ConfigurationError(f"no *.cedar file in {path}", "name a folder with policies, or a file")
    return _each(found) if path.is_dir() else ({path.name: _read(path)}, [])


def _each(found: Iterable[Path]) -> tuple[dict[str, str], list[Problem]]:
    """One file that cannot be read must not hide what is wrong with the others."""
    files: dict[str, str] = {}
    unread: list[Problem] = []
    for file in found:
        try:
            files[file.name] = _read(file)
        except errors.ConfigurationError as exc:
            unread.append(Problem(file.name, 1, 1, exc.message, exc.hint))
    return files, unread


def _text(name: object, text: object) -> str:
    if isinstance(text, Authority):
        return text.cedar()
    if not isinstance(text, str):
        raise errors.ConfigurationError(f"policies {name!r} are {type(text).__name__}", "give text, or an Authority")
    return text


def _read(path: Path) -> str:
    if path.suffix in _MATRICES:
        return (Conflicts if path.stem == _CONFLICTS else Authority).load(path).cedar()
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.ConfigurationError(f"cannot read policies: {exc}", f"make {path} a readable UTF-8 file") from exc


def applicable(statements: Iterable[Statement], actions: Iterable[str]) -> list[Statement]:
    """Statements of the shipped set without those of tools and workflows that this plane does not have."""
    known = set(actions)
    return [s for s in statements if not (named := actions_named([s])) or named & known]


def actions_named(statements: Iterable[Statement]) -> set[str]:
    """The actions and groups in the scopes of some statements."""
    scopes = [statement.node.action for statement in statements]
    return {entity.id for scope in scopes for entity in pst.entity_uids(scope)}
