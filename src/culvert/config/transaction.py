"""A change of configuration: collected, checked as a whole, and only then a new snapshot.

Rules run for what was touched and for its neighbours (what it names, and who names it), so the cost of a
commit follows the size of the change and not of the configuration.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from culvert.config import edits
from culvert.config.refusals import Exists as Exists
from culvert.config.refusals import InUse as InUse
from culvert.config.refusals import Missing as Missing
from culvert.config.refusals import Refusal as Refusal
from culvert.config.shipped import SHIPPED as SHIPPED
from culvert.config.shipped import is_shipped as is_shipped
from culvert.config.snapshot import Builder, Key, Snapshot
from culvert.config.unread import Unread
from culvert.model import text
from culvert.model.auth import PARTITION
from culvert.model.fields import Edit, Field, Members, Raw, Reader, Value, Words
from culvert.model.foreign import FOREIGN, KEPT
from culvert.model.kind import Kind, Naming, Object, Path, defaults, fields_by_word, required_fields
from culvert.model.names import partition
from culvert.model.order import component, place
from culvert.model.passwords import MASK
from culvert.model.problems import BadItem, BadValue, Invalid, Presence, Problem
from culvert.model.registry import KINDS
from culvert.model.sys import FOLDER
from culvert.model.text import Draft

NAMES_TOLD = 10
"""How many objects of one component a warning names."""

_RANKS = {PARTITION: 0, FOLDER: 1}
_HASHED = re.compile(r'^([ \t]+encrypted-password )(?:"\$[^"\n]*"|\$\S+)', re.MULTILINE)


class Transaction:
    """Changes on top of `base`. `check()` gives the snapshot that they lead to."""

    def __init__(self, base: Snapshot, reader: Reader, known: Snapshot | None = None) -> None:
        """Where a mask stands for a password, it is the one that the object has, or has in `known`."""
        self._base = base
        self._known = known or base
        self._builder = Builder(base)
        self._now = self._builder.snapshot
        self._reader = reader
        self._touched: dict[Key, Mapping[str, tuple[int, int]]] = {}
        self._deleted: list[Object] = []

    @property
    def base(self) -> Snapshot:
        """What it was begun on."""
        return self._base

    @property
    def touched(self) -> Collection[Key]:
        """What was created, changed or deleted."""
        return self._touched.keys()

    def turn_to(self, folder: str) -> None:
        """Names that don't begin with / stand in `folder` from now on."""
        self._reader = replace(self._reader, folder=folder)

    @property
    def current(self) -> Snapshot:
        """The configuration so far, before cross-object rules."""
        return self._now

    def create(self, kind: Kind, name: str, raw: Mapping[str, Raw], draft: Draft | None = None) -> Object:
        """Add an object. Raises Exists, Missing (its folder) or Invalid."""
        full = kind.full_name(name, self._reader.folder)
        if self._now.get(kind.path, full) is not None or (draft is None and self._kept(kind, full)):
            raise Exists(kind.title, full)
        return self._create(kind, full, raw, draft)

    def _create(self, kind: Kind, full: str, raw: Mapping[str, Raw], draft: Draft | None) -> Object:
        if kind.fixed:
            raise Invalid(Problem("can't be created; the ones that exist are all there are", kind.title, full))
        return self._put(kind, full, raw, None, draft)

    def modify(self, kind: Kind, name: str, raw: Mapping[str, Raw], draft: Draft | None = None) -> Object:
        """Change given properties of an object. Raises Missing or Invalid."""
        full = kind.full_name(name, self._reader.folder)
        current = self._now.get(kind.path, full)
        if current is None and not kind.implicit:
            raise self._missing(kind, full)
        return self._put(kind, full, raw, current, draft)

    def replace(self, kind: Kind, name: str, raw: Mapping[str, Raw]) -> Object:
        """Give an object these properties, and every other one its default. Raises Missing or Invalid.

        An Edit is of what is there now.
        """
        full = kind.full_name(name, self._reader.folder)
        current = self._now.get(kind.path, full)
        if current is None and not kind.implicit:
            raise Missing(kind.title, full)
        start = SHIPPED.get(kind.path, full)
        if start is None and current is not None:
            start = Object(kind, full, edits.kept_values(current), current.kept)
        if start and current:
            edited = {word: current[word] for word, given in raw.items() if isinstance(given, Edit)}
            start = Object(kind, full, {**start.values, **edited}, start.kept, start.said)
        given = dict(raw)
        if kind.complete:
            kind.complete(full, given, self._now)
        return self._put(kind, full, given, start, None)

    def delete(self, kind: Kind, name: str) -> None:
        """Take an object out. Raises Missing or Invalid; being in use is found by check()."""
        full = kind.full_name(name, self._reader.folder)
        own = self._now.get(kind.path, full)
        if own is None and self._kept(kind, full):
            self._change((FOREIGN, f"{kind.word} {full}"), None)
            return
        if own is None:
            raise Missing(kind.title, full)
        if kind.fixed or full in SHIPPED.objects.get(kind.path, {}):
            raise Invalid(Problem("is part of the system and can't be deleted", kind.title, full))
        self._change((kind.path, full), None)
        self._deleted.append(own)

    def rename(self, kind: Kind, name: str, to: str) -> Object:
        """Give an object another name; everybody who names it follows. Raises Missing, Exists or Invalid."""
        old, new = (kind.full_name(each, self._reader.folder) for each in (name, to))
        own = self._now.get(kind.path, old)
        if own is None:
            raise self._missing(kind, old)
        if self._now.get(kind.path, new) is not None or self._kept(kind, new):
            raise Exists(kind.title, new)
        if kind.fixed or kind.implicit or SHIPPED.get(kind.path, old) is not None:
            raise Invalid(Problem("is part of the system and keeps its name", kind.title, old))
        self._check_folder(kind, new)
        users = list(self._users(kind.path, old))
        self._change((kind.path, old), None)
        self._deleted.append(own)
        made = Object(kind, new, own.values, own.kept, own.said)
        self._change((kind.path, new), made)
        for user in users:
            self._change((user.kind.path, user.name), edits.renamed(user, _stood_for(kind.path), old, new))
        return made

    def _kept(self, kind: Kind, name: str) -> bool:
        """Whether a stanza is kept that would be of this kind if Culvert carried out what it says."""
        foreign = self._now.objects.get(FOREIGN, {})
        return bool(foreign) and f"{kind.word} {name}" in foreign

    def _missing(self, kind: Kind, name: str) -> Missing | Invalid:
        return Invalid(Problem(KEPT, kind.title, name)) if self._kept(kind, name) else Missing(kind.title, name)

    def _displace(self, draft: Draft, full: str) -> None:
        """Of a name there is one thing, with effect or without: what a file says takes the place of what was there."""
        if draft.kind.path != FOREIGN:
            if self._kept(draft.kind, full):
                self._change((FOREIGN, f"{draft.kind.word} {full}"), None)
            return
        path, name = component(full)
        if (own := self._now.get(path, name)) is not None:
            self._change((path, name), None)
            self._deleted.append(own)

    def put(self, draft: Draft, full: str = "") -> Object:
        """Create the draft's object, or modify it where it exists (a file laid over a configuration).

        `full`: its full name, where that is known.
        """
        full = full or draft.kind.full_name(draft.name, self._reader.folder)
        self._displace(draft, full)
        current = self._now.get(draft.kind.path, full)
        if current is None and not draft.kind.implicit:
            return self._create(draft.kind, full, draft.raw, draft)
        return self._put(draft.kind, full, draft.raw, current, draft)

    def check(self) -> Snapshot:
        """The new snapshot. Raises InUse, Missing or Invalid with every problem found."""
        for own in self._deleted:
            if self._now.get(own.kind.path, own.name) is None:
                self._check_empty(own)
                for user in self._users(own.kind.path, own.name):
                    raise InUse(own.kind.title, own.name, user.kind.title, user.name)
        if problems := self.problems(Unread()):
            raise Invalid(*problems)
        return self._now

    def problems(self, unread: Unread) -> list[Problem]:
        """What rules find, but for what only follows from stanzas that are `unread`; no more than anybody reads."""
        found: dict[Problem, None] = {}
        for own in self._neighbourhood():
            # One by one: where many objects claim the same, each claim is looked at against all of them.
            found |= dict.fromkeys(itertools.islice(self._problems(own, unread), text.PROBLEMS_MAX))
            if len(found) >= text.PROBLEMS_MAX:
                break
        return list(found)[: text.PROBLEMS_MAX]

    def value_problems(self, draft: Draft, *, partly: bool) -> list[Problem]:
        """What is wrong with the values of an object that can't be made; `partly`: more may have been written of it."""
        full = draft.kind.full_name(draft.name, self._reader.folder)
        current = self._now.get(draft.kind.path, full)
        _, problems = self._values(draft.kind, draft.raw, current, self._known.get(draft.kind.path, full))
        return [_placed(p, draft, full) for p in problems if not partly or p.word in draft.raw]

    def _users(self, path: Path, name: str) -> Iterator[Object]:
        """Who names an object, also as one that stands in for another kind."""
        for stood_for in _stood_for(path):
            yield from self._now.referrers(stood_for, name)

    def _check_empty(self, own: Object) -> None:
        """A folder or partition that goes may hold nothing."""
        if own.kind.path not in (PARTITION, FOLDER):
            return
        folder = f"/{own.name.lstrip('/')}"
        for inside in inhabitants(self._now, folder):
            raise InUse(own.kind.title, own.name, inside.kind.title, inside.name)

    def advice(self) -> list[Problem]:
        """What is only unwise about the objects that were put; for after check()."""
        put = [own for path, name in self._touched if (own := self._now.get(path, name)) is not None]
        found = [problem for own in put for problem in self._advice(own)]
        strangers: dict[Path, list[str]] = {}
        for path, name in (component(own.name) for own in put if own.kind.path == FOREIGN):
            strangers.setdefault(path, []).append(name)
        found += [_kept_stanzas(path, sorted(names)) for path, names in sorted(strangers.items())]
        return list(dict.fromkeys(found))

    def _advice(self, own: Object) -> Iterator[Problem]:
        yield from self._shared(own, advice=True)
        if own.kept and own != self._base.get(own.kind.path, own.name):
            words = [line.split()[0] for line in own.kept if not line.startswith((" ", "}"))]
            yield own.problem(f"kept, without effect: {', '.join(words)}")
        for advise in own.kind.advice:
            yield from advise(own, self._now)

    def _shared(self, own: Object, *, advice: bool) -> Iterator[Problem]:
        for number, unique in enumerate(own.kind.unique):
            if unique.advice is not advice:
                continue
            for value in unique.keys(own):
                holders = self._now.holders(own.kind.path, number, value)
                if len(holders) > 1:
                    other = min(name for name in holders if name != own.name)
                    yield own.problem(unique.sentence.format(other=other))

    def _put(
        self, kind: Kind, name: str, raw: Mapping[str, Raw], current: Object | None, draft: Draft | None
    ) -> Object:
        self._check_folder(kind, name)
        if kind.path == FOREIGN and draft is None:
            # Only a reader of files knows which stanzas are foreign.
            raise Invalid(Problem("comes with a file that is loaded, and only so", kind.title, name))
        given = raw
        if current is None and kind.complete:
            kind.complete(name, given := dict(raw), self._now)
        values, problems = self._values(kind, given, current, self._known.get(kind.path, name))
        problems += kind.typed(name, raw)
        if problems:
            raise Invalid(*(_placed(p, draft, name) if draft else p.of(kind.title, name) for p in problems))
        kept = tuple(draft.kept) if draft and draft.kept else current.kept if current else ()
        said = frozenset(word for word in current.said if word.split(" ")[0] not in raw) if current else frozenset()
        if draft:
            said |= self._said(kind, name, draft.raw, values)
            draft.places[""] = draft.line, draft.column
        made = Object(kind, name, values, kept, said)
        if current is None and draft is None and kind.implicit and values == defaults(kind):
            return made  # It is so without being configured.
        self._change((kind.path, name), made, draft.places if draft else None)
        return made

    def _said(self, kind: Kind, name: str, raw: Mapping[str, Raw], values: Mapping[str, Value]) -> frozenset[str]:
        """The defaults that a file wrote out, as Object.said has them."""
        found = {""} if SHIPPED.get(kind.path, name) is not None else set()
        for word, given in raw.items():
            own = fields_by_word(kind)[word]
            if not (own.always or own.required) and values[word] == own.default:
                found.add(word)
            elif isinstance(own.type, Members) and isinstance(given, list):
                found |= {
                    f"{word} {mark}" for item in given for mark in self._said_of_member(own.type, item, values[word])
                }
        return frozenset(found)

    def _said_of_member(self, members: Members, item: Mapping[str, Raw], values: Mapping[str, Value]) -> Iterator[str]:
        name = members.name(item["name"], self._reader)
        for own in members.fields:
            if own.word in item and values[name][own.word] == own.default and not own.always:
                yield f"{name} {own.word}"

    def _values(
        self, kind: Kind, raw: Mapping[str, Raw], current: Object | None, standing: Object | None
    ) -> tuple[dict[str, Value], list[Problem]]:
        values = dict(current.values if current else defaults(kind))
        known = fields_by_word(kind)
        problems = [Problem("unknown property", word=word) for word in raw if word not in known]
        if current is None:
            problems += [
                Problem(f"is missing: {own.type.expects}", word=own.word)
                for own in required_fields(kind)
                if own.word not in raw
            ]
        for word, given in raw.items():
            if (own := known.get(word)) is None:
                continue
            start = values[word]
            try:
                if isinstance(given, Edit) and current is None:
                    # A new object's list begins empty: `profiles add { fastL4 }` names all that it shall have.
                    start = edits.empty(own)
                elif start is None and standing is not None and given == MASK:
                    start = standing[word]
                made = edits.apply(own, start, given, self._reader)
                # The same key again keeps its sealed text, so that nothing changes in what is saved.
                values[word] = start if start is not None and made == start else made
            except BadValue as error:
                presence = _presence(own, error, current) if isinstance(error, BadItem) else None
                problems.append(Problem(str(error), word=word, presence=presence))
        return values, problems

    def _change(self, key: Key, new: Object | None, places: Mapping[str, tuple[int, int]] | None = None) -> None:
        self._builder.put(key, new)
        self._touched[key] = places or {}

    def _check_folder(self, kind: Kind, name: str) -> None:
        """What the name stands in has to be there: its partition, and for plain names every folder on the way."""
        if kind.naming not in (Naming.FOLDER, Naming.LOOSE):
            return
        folder = f"/{partition(name)}" if kind.naming is Naming.LOOSE else name.rpartition("/")[0]
        if not folder_exists(self._now, folder):
            raise Missing("folder", folder)

    def _neighbourhood(self) -> Iterator[Object]:
        seen: set[Key] = set()
        for key in self._touched:
            for neighbour in (key, *self._neighbours(*key)):
                if neighbour not in seen:
                    seen.add(neighbour)
                    if (own := self._now.get(*neighbour)) is not None:
                        yield own

    def _neighbours(self, path: Path, name: str) -> Iterator[Key]:
        """Whom an object names or named, who names it, and whose rules look at it all the same."""
        now, before = self._now.get(path, name), self._base.get(path, name)
        subjects = [own for own in (now, before) if own is not None]
        for own in subjects:
            for _, other, who in own.references():
                yield other, who
        for stood_for in _stood_for(path):
            yield from self._now.referrer_keys(stood_for, name)
        for own in subjects:
            for each in self._concerned(own):
                yield each.kind.path, each.name

    def _concerned(self, own: Object) -> Iterable[Object]:
        return own.kind.concerns(own, self._now) if own.kind.concerns else ()

    def _problems(self, own: Object, unread: Unread) -> Iterator[Problem]:
        places = self._touched.get((own.kind.path, own.name), {})
        for problem in self._raw_problems(own):
            if not unread.explains(problem):
                place = places.get(problem.word, places.get(""))
                yield problem.at(*place) if place else problem

    def _raw_problems(self, own: Object) -> Iterator[Problem]:
        missing: set[str] = set()
        for word, path, name in own.references():
            stand_in = KINDS[path].stand_in
            if self._now.get(path, name) is None and not (stand_in and self._now.get(stand_in, name)):
                title = KINDS[path].title
                missing.add(word)
                problem = own.problem(f"the requested {title} ({name}) was not found", word)
                yield replace(problem, presence=Presence(False, title, name))
        yield from self._shared(own, advice=False)
        for rule in own.kind.rules:
            # Of an object that isn't there nothing more is to be told.
            yield from (problem for problem in rule(own, self._now) if problem.word not in missing)


def _kept_stanzas(path: Path, names: Sequence[str]) -> Problem:
    more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    return Problem("kept, without effect", " ".join(path), ", ".join(names[:NAMES_TOLD]) + more)


def _placed(problem: Problem, draft: Draft, name: str) -> Problem:
    return problem.of(draft.kind.title, name).at(*draft.places.get(problem.word, (draft.line, draft.column)))


def folder_exists(snapshot: Snapshot, folder: str) -> bool:
    """Whether `folder` is the root, a partition or a folder."""
    parts = folder.strip("/").split("/")
    if parts == [""]:
        return True
    if len(parts) == 1:
        return snapshot.get(PARTITION, parts[0]) is not None
    return snapshot.get(FOLDER, "/" + "/".join(parts)) is not None


def inhabitants(snapshot: Snapshot, folder: str) -> Iterator[Object]:
    """Every object whose name stands inside `folder`."""
    for own in snapshot.every():
        if own.kind.naming in (Naming.FOLDER, Naming.LOOSE) and own.name.startswith(folder.rstrip("/") + "/"):
            yield own


def _presence(own: Field, error: BadItem, current: Object | None) -> Presence:
    """The item of an object's list, as the vendor names one: by the names of both."""
    target = own.type.target if isinstance(own.type, Words | Members) else None
    title = KINDS[target].title if target else f"{own.word} item"
    return Presence(error.there, title, f"{current.name} {error.item}".strip() if current else error.item)


@cache
def _stood_for(path: Path) -> tuple[Path, ...]:
    """The kinds by whose path an object of `path` may be named."""
    return (path, *(kind.path for kind in KINDS.values() if kind.stand_in == path))


def saved_text(snapshot: Snapshot) -> str:
    """What `save sys config` writes: objects that a file had or that differ from the shipped ones, by full path."""
    wanted = [own for own in snapshot.every() if not is_shipped(own) or "" in own.said or _worth_saving(own)]
    return "".join(_stanza(own) + "\n" for own in sorted(wanted, key=place))


def _stanza(own: Object) -> str:
    """The object as a file has it; where it came with something else than a default, all that differs from that."""
    came = SHIPPED.get(own.kind.path, own.name)
    besides = frozenset(word for word, value in own.values.items() if came is not None and came[word] != value)
    return text.render(own.kind, own.name, own.raw(), text.Style(), own.kept, own.said | besides)


def _worth_saving(own: Object) -> bool:
    """Whether a file has it in any case, as the vendor's do."""
    return own.kind.fixed and own.kind.path[0] not in ("ltm", "cli") and own.kind.path[:2] != ("net", "tunnels")


def _rank(draft: Draft) -> tuple[int, str]:
    """Partitions first, folders from the outside in, then everything else as it stands."""
    rank = _RANKS.get(draft.kind.path, 2)
    return rank, draft.name if rank == 1 else ""


def masked(content: str) -> str:
    """A saved text with a mask in place of every password's hash, for those who may not see any."""
    return _HASHED.sub(rf"\g<1>{MASK}", content)


def read_file(content: str, base: Snapshot, reader: Reader, known: Snapshot | None = None) -> Transaction:
    """A transaction that lays a file over `base`. Raises Invalid with the problems of all stanzas.

    When there are any, those between the objects that can be made are told too; otherwise check() tells these.
    `known`: whose passwords are meant where the file has masks.
    """
    reading = text.read_all(content, KINDS)
    broken = {id(draft) for draft in reading.broken}
    problems, unread = list(reading.problems), Unread(everything=not reading.whole)
    unread.add(reading.unknown, reader.folder)
    transaction = Transaction(base, reader, known)
    seen: dict[tuple[Path, str], int] = {}
    for draft in sorted([*reading.drafts, *reading.broken], key=_rank):
        try:
            full = draft.kind.full_name(draft.name, reader.folder)
            first = seen.setdefault((draft.kind.path, full), draft.line)
            if first != draft.line:
                raise Invalid(Problem(f"is given twice, first on line {first}", draft.kind.title, draft.name))
            if id(draft) not in broken:
                transaction.put(draft, full)
                continue
            problems += transaction.value_problems(draft, partly=True)
        except Invalid as error:
            problems += [p if p.line else p.at(draft.line, draft.column) for p in error.problems]
        except Missing as error:
            if not unread.covers(error.name):
                missing = f"the requested {error.title} ({error.name}) was not found"
                problems.append(Problem(missing, line=draft.line, column=draft.column))
            problems += transaction.value_problems(draft, partly=False)
        unread.add([draft.name], reader.folder)
    if problems:
        problems += transaction.problems(unread)
        problems.sort(key=lambda p: (p.line, p.column))
        raise Invalid(*problems[: text.PROBLEMS_MAX])
    return transaction
