"""Lists: search, sort, page, select many, and delete after a look at what stands in the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlencode

from culvert.control.errors import ControlError, NotFound
from culvert.model.fields import NONE, Key, Toggle
from culvert.model.kind import Kind, Naming
from culvert.model.names import folder_of
from culvert.model.passwords import Password
from culvert.rest.exchange import Answer
from culvert.web import forms, screens
from culvert.web.rendering import framed, render
from culvert.web.screens import Screen
from culvert.web.session import who
from culvert.web.visit import Visit, done, elsewhere, news, page, place

Json = Any
Shown = TypeVar("Shown", str, "Line")
SIZES = (25, 50, 100, 250)
NAME = "name"
ALL = "all"
SELECTED_MOST = 1000
TOLD_MOST = 25
"""Of how many selected objects it is asked one by one what stands in the way."""


@dataclass(frozen=True, slots=True)
class View:
    """What of a list is looked at. `number` counts pages from 1."""

    search: str
    sort: str
    down: bool
    size: int
    number: int

    @property
    def needs_all(self) -> bool:
        """Whether more than the names decides what is seen."""
        return self.sort != NAME or ":" in self.search

    def link(self, **changes: str | int) -> str:
        """The parameters of this view with some changed."""
        own = {"search": self.search, "sort": self.sort, "down": int(self.down), "size": self.size, "page": self.number}
        return "?" + urlencode({**own, **changes})

    def by(self, word: str) -> str:
        """The view sorted by a column; by the one that it is sorted by already, the other way round."""
        return self.link(sort=word, down=int(self.sort == word and not self.down), page=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One object of a list."""

    name: str
    address: str
    cells: tuple[str, ...]


def answer(visit: Visit, screen: Screen) -> Answer:
    """The list, or for htmx the table of it alone."""
    view = _view(visit, screen)
    view, total, lines = _seen(visit, screen, view)
    pages = _pages(view, total)
    words = {
        "screen": screen,
        "view": view,
        "total": total,
        "pages": pages,
        "lines": lines,
        "heads": [(word, forms.fields_of(screen)[word]) for word in screen.columns],
        "labels": {word: label(screen, word) for word in screen.columns},
        "sizes": SIZES,
        "may_make": screens.may_make(screen.kind) and who(visit.session).may_change,
        "csrf": visit.session.csrf,
    }
    if visit.is_part:
        return page(render("list-table.html", **words))
    del words["csrf"]
    return page(framed(visit.session, "list.html", title=screen.title, here=place(screen.kind), **words, **news(visit)))


def label(screen: Screen, word: str) -> str:
    """A column's head."""
    return forms.label(forms.fields_of(screen)[word])


def _view(visit: Visit, screen: Screen) -> View:
    sort = visit.asked("sort", NAME)
    size, number = visit.asked("size"), visit.asked("page")
    return View(
        search=visit.asked("search").strip()[:200],
        sort=sort if sort in screen.columns else NAME,
        down=visit.asked("down") == "1",
        size=int(size) if size in map(str, SIZES) else SIZES[0],
        number=max(1, int(number[:9])) if number.isascii() and number.isdigit() else 1,
    )


def _pages(view: View, total: int) -> int:
    return max(1, -(-total // view.size))


def _seen(visit: Visit, screen: Screen, view: View) -> tuple[View, int, list[Line]]:
    """The view, on a page that there is; how many fit the search; and those of the page."""
    if not view.needs_all:
        names = sorted((str(own["name"]) for own in _listed(visit, screen.kind, names_only=True)), reverse=view.down)
        found = [name for name in names if view.search.casefold() in name.casefold()]
        view, shown = _on_page(view, found)
        return view, len(found), [_line(screen, own) for own in _whole(visit, screen.kind, shown)]
    lines = [_line(screen, own) for own in _listed(visit, screen.kind)]
    fitting = [own for own in lines if _fits(screen, own, view.search)]
    position = screen.columns.index(view.sort) if view.sort != NAME else -1
    fitting.sort(key=lambda own: _order(own.cells[position] if position >= 0 else own.name), reverse=view.down)
    view, page_lines = _on_page(view, fitting)
    return view, len(fitting), list(page_lines)


def _on_page(view: View, found: Sequence[Shown]) -> tuple[View, Sequence[Shown]]:
    """What stands on the page; on the last one where there are fewer."""
    number = min(view.number, _pages(view, len(found)))
    return replace(view, number=number), found[(number - 1) * view.size : number * view.size]


def _whole(visit: Visit, kind: Kind, names: Sequence[str]) -> list[Mapping[str, Json]]:
    """The objects with these names: only those of one page are fetched whole. One that went meanwhile is left out."""
    try:
        objects = _listed(visit, kind, names=names) if names else []
    except NotFound:
        objects = _listed(visit, kind)
    by_name = {str(own["name"]): own for own in objects}
    return [by_name[name] for name in names if name in by_name]


def _listed(visit: Visit, kind: Kind, **args: Json) -> list[Mapping[str, Json]]:
    found = visit.session.call("list", kind=kind.word, folder="/", recursive=True, **args)
    return [own for own in found if own["kind"] == kind.word]


def _line(screen: Screen, own: Mapping[str, Json]) -> Line:
    values = forms.values_of(screen, screen.kind, own["properties"])
    known = forms.fields_of(screen)
    cells = tuple(told(screen, word, known[word].type, values.get(word)) for word in screen.columns)
    return Line(str(own["name"]), place(screen.kind, str(own["name"])), cells)


def told(screen: Screen, word: str, kind_of_field: object, value: Json) -> str:
    """A value in the words of the screens."""
    if isinstance(kind_of_field, Key | Password):
        return "" if value in (NONE, None, "") else "set"
    if isinstance(kind_of_field, Toggle):
        return (kind_of_field.on if value else kind_of_field.off or "no").capitalize()
    picks = dict(screens.PICKS.get(screen.kind.path, {}).get(word, ()))
    if str(value) in picks:
        return picks[str(value)]
    if isinstance(value, list | tuple):
        return ", ".join(_member(each) for each in value)
    return "" if value in (NONE, None) else forms.short(str(value))


def _member(value: Json) -> str:
    if not isinstance(value, Mapping):
        return forms.short(str(value))
    role = f" ({value['role']})" if "role" in value else ""
    tagged = " (tagged)" if value.get("tagged") else ""
    return f"{forms.short(str(value['name']))}{role}{tagged}"


def _fits(screen: Screen, own: Line, search: str) -> bool:
    """`text` in the name, or `column:text` in a column, by its label or word."""
    column, colon, text = search.partition(":")
    for position, word in enumerate(screen.columns):
        if colon and column.casefold() in (word.casefold(), label(screen, word).casefold()):
            return text.strip().casefold() in own.cells[position].casefold()
    return search.casefold() in own.name.casefold() or any(search.casefold() in cell.casefold() for cell in own.cells)


def _order(text: str) -> tuple[int, int, str]:
    """Numbers by their value, before words."""
    return (0, int(text), "") if text.isascii() and text.isdigit() else (1, 0, text.casefold())


def delete(visit: Visit, screen: Screen) -> Answer:
    """What a list's form asks for: the selected objects are shown once more, and with `confirmed` they go."""
    # "all" is no object's name, but culvertd would take it for all of them.
    names = [own for own in visit.form.every("select") if own not in ("", ALL)][:SELECTED_MOST]
    if not names or visit.form.one("do") == "cancel":
        return elsewhere(place(screen.kind))
    if visit.form.one("do") != "confirmed":
        return confirm(visit, screen, names)
    try:
        visit.session.call("transaction", operations=_operations(screen.kind, names))
    except ControlError as error:
        return confirm(visit, screen, names, error)
    what = names[0] if len(names) == 1 else f"{len(names)} {screen.title}"
    return elsewhere(place(screen.kind), done(visit, "deleted", what))


def confirm(visit: Visit, screen: Screen, names: Sequence[str], error: ControlError | None = None) -> Answer:
    """Asks once more, and names what stands in the way of which object."""
    obstacles: dict[str, str] = {}
    if error is None:
        error = _refused(visit, screen.kind, names)
    if error is not None and len(names) > 1:
        tried = {name: _refused(visit, screen.kind, [name]) for name in names[:TOLD_MOST]}
        obstacles = {name: own.message for name, own in tried.items() if own is not None}
    text = framed(
        visit.session,
        "delete.html",
        title=f"Delete {screen.title if len(names) > 1 else screen.one}",
        here=place(screen.kind),
        screen=screen,
        names=names,
        obstacles=obstacles,
        obstacle=error.message if error is not None and not obstacles else "",
        blocked=error is not None,
    )
    return page(text, 200 if error is None else error.http)


def _refused(visit: Visit, kind: Kind, names: Sequence[str]) -> ControlError | None:
    try:
        visit.session.call("transaction", operations=_operations(kind, names), validate_only=True)
    except ControlError as error:
        return error
    return None


def _operations(kind: Kind, names: Sequence[str]) -> list[dict[str, Json]]:
    loose, stands = kind.naming is Naming.LOOSE, kind.naming in (Naming.FOLDER, Naming.LOOSE)
    return [
        {"verb": "delete", "kind": kind.word, "names": [name]}
        | ({"folder": folder_of(name, loose=loose)} if stands else {})
        for name in names
    ]
