"""The screens of objects: which one an address means; New and Properties with their buttons."""

from collections.abc import Mapping, Sequence
from typing import Any

from culvert.control.errors import AlreadyExists, ControlError, NotFound
from culvert.model.kind import Kind, Naming, Path
from culvert.model.names import COMMON, folder_of
from culvert.model.registry import KINDS
from culvert.rest import naming
from culvert.rest.exchange import Answer, not_found
from culvert.rest.resources import HIDDEN
from culvert.web import forms, lists, screens
from culvert.web.codec import BadField
from culvert.web.rendering import framed, render
from culvert.web.screens import ADVANCED, Screen, screen_of
from culvert.web.visit import NEW, Form, Visit, done, elsewhere, news, page, place

Json = Any
DELETE = "delete"


class Suggestions:
    """Answers under /suggest: names of one kind's objects that hold what is being typed, for a list beneath a field."""

    def answer(self, visit: Visit) -> Answer:
        """Options for a datalist."""
        kind = KINDS.get(visit.rest)
        if kind is None or kind.path in HIDDEN:
            raise not_found(visit.request)
        typed = next((text for word, text in visit.request.query.items() if word != "renew"), "").casefold()
        listed = visit.session.call("list", kind=kind.word, folder="/", recursive=True, names_only=True)
        fitting = [own["name"] for own in listed if own["kind"] == kind.word and typed in own["name"].casefold()]
        return page(render("options.html", names=fitting[: forms.NAMES_MOST]))


class Objects:
    """Answers under /objects."""

    def answer(self, visit: Visit) -> Answer:
        """One page, or what a form of one asks for. Raises ControlError, BadRequest."""
        found = _kind_of(visit.rest)
        if found is None or found[0].path in HIDDEN:
            raise not_found(visit.request)
        kind, rest = found
        screen = screen_of(kind)
        if kind.naming is Naming.SINGLE and not rest:
            return self._properties(visit, screen, "")
        if not rest:
            if visit.posts:
                return lists.delete(visit, screen)
            return lists.answer(visit, screen)
        if len(rest) > 1:
            raise not_found(visit.request)
        if rest[0] == NEW and screens.may_make(kind):
            return self._new(visit, screen)
        return self._properties(visit, screen, naming.object_name(rest[0]))

    def _new(self, visit: Visit, screen: Screen) -> Answer:
        if not visit.posts:
            return _drawn(visit, screen, None, forms.untouched(screen) | _asked(visit, screen))
        action, start = visit.form.one("do"), forms.untouched(screen)
        given = forms.typed(screen, visit.form)
        shown = start | forms.without_secrets(screen, given)
        if action == "refresh":
            return _drawn(visit, screen, None, shown)
        if action == "cancel":
            return elsewhere(place(screen.kind))
        name = _named(visit, screen)
        try:
            if not name:
                raise BadField("name", "A name is missing.")
            properties = forms.wanted(screen, start, given)
            warnings = _change(visit, screen, "create", name, properties)
        except (ControlError, BadField) as error:
            return _drawn(visit, screen, None, shown, error)
        again = f"/{NEW}" if action == "repeat" else ""
        return elsewhere(place(screen.kind) + again, done(visit, "created", name, warnings))

    def _properties(self, visit: Visit, screen: Screen, name: str) -> Answer:
        own = _object(visit, screen.kind, name)
        before = forms.values_of(screen, screen.kind, own["properties"])
        if not visit.posts:
            return _drawn(visit, screen, own, before)
        action, given = visit.form.one("do"), forms.typed(screen, visit.form)
        if action == "cancel":
            return elsewhere(place(screen.kind))
        if action == DELETE:
            return lists.confirm(visit, screen, [own["name"]])
        shown = before | forms.without_secrets(screen, given)
        if action == "refresh":
            return _drawn(visit, screen, own, shown)
        if visit.form.one("generation") != str(own.get("generation", "")):
            return _drawn(visit, screen, own, shown, changed_meanwhile=True)
        try:
            properties = forms.wanted(screen, before, given)
            warnings = _change(visit, screen, "modify", own["name"], properties) if properties else ()
        except (ControlError, BadField) as error:
            return _drawn(visit, screen, own, shown, error)
        said = "updated" if properties else "same"
        return elsewhere(place(screen.kind, own["name"]), done(visit, said, own["name"], warnings))


def _kind_of(segments: Sequence[str]) -> tuple[Kind, tuple[str, ...]] | None:
    """The kind whose path is longest in front, and what follows it."""
    for count in range(len(segments), 0, -1):
        if (kind := KINDS.get(tuple(segments[:count]))) is not None:
            return kind, tuple(segments[count:])
    return None


def _object(visit: Visit, kind: Kind, name: str) -> Mapping[str, Json]:
    args: dict[str, Json] = {"names": [name]} if name else {}
    found = visit.session.call("list", kind=kind.word, folder="/", recursive=True, **args)
    # A name that is a pattern finds others; the address of an object is its whole name.
    own = next((each for each in found if each["kind"] == kind.word and name in ("", each["name"])), None)
    if own is None:
        raise NotFound(kind.title, name)
    return own  # type: ignore[no-any-return]


def _named(visit: Visit, screen: Screen) -> str:
    """The full name that a form of a new object gives. "" when there is none."""
    name, partition = visit.form.one("name").strip(), visit.form.one("partition").strip()
    if not name or screen.kind.naming not in (Naming.FOLDER, Naming.LOOSE) or name.startswith("/"):
        return name
    return f"/{partition.strip('/')}/{name}" if partition else f"{COMMON}/{name}"


def _change(visit: Visit, screen: Screen, verb: str, name: str, properties: Mapping[str, Json]) -> Sequence[str]:
    """Returns what is only unwise about it. Raises ControlError."""
    operation = {"verb": verb, "kind": screen.kind.word, "names": [name], "properties": dict(properties)}
    if name.startswith("/"):
        operation["folder"] = folder_of(name, loose=screen.kind.naming is Naming.LOOSE)
    return visit.session.call("transaction", operations=[operation])["warnings"]  # type: ignore[no-any-return]


def _asked(visit: Visit, screen: Screen) -> dict[str, Json]:
    """What the address of a new object's form fills in beforehand."""
    return forms.without_secrets(screen, forms.typed(screen, Form({w: [t] for w, t in visit.request.query.items()})))


def names_of(visit: Visit, path: Path) -> list[str]:
    """The names of a kind's objects and of what may stand in for them, in order; more than NAMES_MOST tell that."""
    found: list[str] = []
    kind: Kind | None = KINDS.get(path)
    while kind is not None and len(found) <= forms.NAMES_MOST:
        listed = visit.session.call(
            "list", kind=kind.word, folder="/", recursive=True, names_only=True, limit=forms.NAMES_MOST + 1
        )
        found += [str(own["name"]) for own in listed if own["kind"] == kind.word]
        kind = KINDS.get(kind.stand_in) if kind.stand_in else None
    return found


def _drawn(
    visit: Visit,
    screen: Screen,
    own: Mapping[str, Json] | None,
    raw: Mapping[str, Json],
    error: ControlError | BadField | None = None,
    *,
    changed_meanwhile: bool = False,
) -> Answer:
    """The form: of a new object, or of one that is there; with what is wrong where it is wrong."""
    name = str(own["name"]) if own else visit.form.one("name")
    errors, others = _told(screen, error, name if own else _named(visit, screen))
    given = forms.typed(screen, visit.form)
    filled = forms.Filled(
        screen,
        raw,
        _is_advanced(visit, errors, screen),
        lambda path: names_of(visit, path),
        errors,
        given.keys() - forms.without_secrets(screen, given).keys(),
    )
    stands = screen.kind.naming in (Naming.FOLDER, Naming.LOOSE)
    text = framed(
        visit.session,
        "form.html",
        title=screen.new if own is None else f"{screen.one} Properties",
        here=place(screen.kind) if screens.may_make(screen.kind) or not name else place(screen.kind, name),
        screen=screen,
        parts=filled.parts(),
        has_advanced=filled.has_advanced,
        advanced=filled.advanced,
        name=name,
        has_name=screen.kind.naming is not Naming.SINGLE,
        name_errors=errors.get("name", []),
        is_new=own is None,
        may_delete=own is not None and screens.may_make(screen.kind),
        partitions=_partitions(visit) if own is None and stands else [],
        partition=visit.form.one("partition", "Common"),
        generation=str(own.get("generation", "")) if own else "",
        others=others,
        changed_meanwhile=changed_meanwhile,
        **news(visit),
    )
    return page(text, error.http if isinstance(error, ControlError) else 400 if error else 200)


def _partitions(visit: Visit) -> list[str]:
    return [own for own in names_of(visit, ("auth", "partition")) if own]


def _is_advanced(visit: Visit, errors: Mapping[str, Sequence[str]], screen: Screen) -> bool:
    """Advanced was chosen, or what is wrong stands there."""
    basic = {word for section in screen.sections for word in section.words}
    chosen = visit.form.one("configuration") or visit.asked("configuration")
    return chosen == ADVANCED or any(word not in basic and word != "name" for word in errors)


def _told(screen: Screen, error: ControlError | BadField | None, name: str) -> tuple[dict[str, list[str]], list[str]]:
    if error is None:
        return {}, []
    if isinstance(error, BadField):
        return {error.word: [error.sentence]}, []
    if isinstance(error, AlreadyExists):
        return {"name": [error.message]}, []
    if not error.problems:
        return {}, [error.message]
    return forms.by_field(screen, error.problems, name)
