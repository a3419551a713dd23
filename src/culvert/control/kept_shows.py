"""`list` of what is kept of a vendor's file and has no effect: found by the words that its header begins with."""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.control import derived, errors, shows
from culvert.model import foreign, names
from culvert.model.kind import Object, Path
from culvert.model.names import COMMON
from culvert.model.order import component
from culvert.model.registry import KINDS, stranger

Json = Any
ALL = "all"


@dataclass(frozen=True, slots=True)
class Kept:
    """The stanzas that were asked for, and the names that are still to be found among other objects (None: any)."""

    records: list[shows.Record]
    names: list[str] | None


def kept(snapshot: Snapshot, words: Path, args: Mapping[str, Json]) -> Kept:
    """`words`: a module or component, and behind a component of which Culvert has nothing else, names.

    Raises NotFound for a name that none has, and SyntaxProblem for words that lead nowhere.
    """
    every = list(_unreplaced(snapshot, words))
    known = any(path[: len(words)] == words for path in KINDS)
    size = len(words) if known else max((_shared(path, words) for _, path, _ in every), default=0)
    asked, wanted = words[:size], [*words[size:], *(args.get("names") or ())]
    named = size < len(words) or args.get("names") is not None
    chosen = [(own, name) for own, path, name in every if (path if named else path[:size]) == asked]
    if not known and not chosen:
        _refuse(words, args)
        return Kept([], None)
    found = [(own, name) for own, name in chosen if _is_meant(name, wanted if named else [ALL], args)]
    lost = [each for each in wanted if not _is_glob(each) and not any(_fits(name, each, args) for _, name in found)]
    if lost and not known:
        raise errors.NotFound(" ".join(asked), names.full(lost[0], _folder(args)))
    make = shows.named if args.get("names_only") else shows.record
    left = [each for each in wanted if each in lost or _is_glob(each)]
    return Kept([make(own) for own, _ in found], left if named else None)


def _unreplaced(snapshot: Snapshot, words: Path) -> Iterator[tuple[Object, Path, str]]:
    """The stanzas but those in whose place there is something to list: what follows from other objects, or a user's."""
    every = [(own, *component(own.name)) for own in snapshot.all(foreign.FOREIGN)]
    paths = derived.DERIVED.keys() & {path for _, path, _ in every}
    replaced = {path: derived.records(snapshot, KINDS[path]) for path in paths}
    for own, path, name in every:
        if name not in replaced.get(path, ()) and not (path == words and path in KINDS and KINDS[path].personal):
            yield own, path, name


def _refuse(words: Path, args: Mapping[str, Json]) -> None:
    """For a component of the vendor's of which nothing is kept, or for none at all."""
    path, name = component(" ".join(words))
    if not foreign.is_known_component(list(path)):
        raise errors.SyntaxProblem(f'unexpected argument "{stranger(words)}"')
    if name and name != ALL and not _is_glob(name):
        raise errors.NotFound(" ".join(path), names.full(name, _folder(args)))


def _shared(one: Path, other: Path) -> int:
    """How many words both begin with."""
    same = [first == second for first, second in zip(one, other, strict=False)]
    return same.index(False) if False in same else len(same)


def _is_meant(name: str, wanted: list[str], args: Mapping[str, Json]) -> bool:
    return any(_fits(name, each, args) for each in wanted)


def _fits(name: str, wanted: str, args: Mapping[str, Json]) -> bool:
    """Whether a stanza's name is what `wanted` means; names outside folders are everywhere."""
    recursive = bool(args.get("recursive"))
    if wanted == ALL:
        everywhere = args.get("folder") is None or not name.startswith("/")
        return everywhere or names.is_in(name, _folder(args), loose=True, recursive=recursive)
    if not name.startswith("/"):
        return fnmatch.fnmatchcase(name, wanted)
    return names.fits(name, wanted, _folder(args), loose=True, recursive=recursive)


def _folder(args: Mapping[str, Json]) -> str:
    return str(args.get("folder") or COMMON)


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")
