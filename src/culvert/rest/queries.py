"""`$filter`, `$select`, `$top`, `$skip`: what of a collection is wanted."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from culvert.rest.exchange import BadRequest

Json = Any
T = TypeVar("T")
Items = list[dict[str, Json]]
Test = Callable[[Mapping[str, Json]], bool]
_WORD = re.compile(r"""\s*(?:(?P<quoted>'(?:[^']|'')*'|"[^"]*")|(?P<mark>[()])|(?P<word>[^\s()'"]+))""")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
DEPTH_MAX = 32
ITEMS_MAX = 999_999_999


def selected(
    items: Sequence[T], query: Mapping[str, str], shape: Callable[[T], dict[str, Json]]
) -> tuple[Items, dict[str, Json]]:
    """The items that the query wants, with the properties that it wants, and what a paged collection says of itself.

    `shape` makes of an item what is shown; a page of many is not made of all.
    """
    if "$filter" in query:
        test = _Filter(query["$filter"]).whole()
        return _paged([each for each in map(shape, items) if test(each)], query, dict)
    return _paged(items, query, shape)


def _paged(
    found: Sequence[T], query: Mapping[str, str], shape: Callable[[T], dict[str, Json]]
) -> tuple[Items, dict[str, Json]]:
    paging: dict[str, Json] = {}
    if asks_for_page(query):
        own = page(query)
        total, found = len(found), found[own["skip"] : own["skip"] + own["top"]]
        paging = told(query, len(found), total)
    return [chosen(shape(each), query) for each in found], paging


def asks_for_page(query: Mapping[str, str]) -> bool:
    return "$top" in query or "$skip" in query


def page(query: Mapping[str, str]) -> dict[str, int]:
    """Where a page begins, and how many it has at most."""
    return {"skip": _number(query, "$skip", 0), "top": _number(query, "$top", ITEMS_MAX)}


def told(query: Mapping[str, str], count: int, total: int) -> dict[str, Json]:
    """What a page of `count` items out of `total` says of itself."""
    top, skip = _number(query, "$top", total), _number(query, "$skip", 0)
    return {
        "currentItemCount": count,
        "itemsPerPage": top,
        "pageIndex": skip // top + 1 if top else 1,
        "startIndex": skip + 1,
        "totalItems": total,
        "totalPages": max(-(-total // top) if top else 0, 1),
    }


def chosen(item: Mapping[str, Json], query: Mapping[str, str]) -> dict[str, Json]:
    """The properties that `$select` names; all without one."""
    if "$select" not in query:
        return dict(item)
    wanted = {word.strip() for word in query["$select"].split(",")}
    return {key: value for key, value in item.items() if key in wanted}


def _number(query: Mapping[str, str], word: str, default: int) -> int:
    text = query.get(word)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest(400, f"invalid {word}: {text[:40]}")
    return int(text)


class _Filter:
    """`partition eq Common and not (order gt 3)`, read by descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words: list[tuple[str, bool]] = []
        position = 0
        while position < len(text.rstrip()):
            found = _WORD.match(text, position)
            if found is None:
                raise self._wrong()
            quoted = found["quoted"]
            self._words.append((quoted[1:-1].replace("''", "'"), True) if quoted else (found.group().strip(), False))
            position = found.end()
        self._words.reverse()

    def whole(self) -> Test:
        test = self._either(0)
        if self._words:
            raise self._wrong()
        return test

    def _either(self, depth: int) -> Test:
        tests = [self._both(depth)]
        while self._take("or"):
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda item: any(test(item) for test in tests)

    def _both(self, depth: int) -> Test:
        tests = [self._one(depth)]
        while self._take("and"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)

    def _one(self, depth: int) -> Test:
        if depth > DEPTH_MAX:
            raise self._wrong()
        if self._take("not"):
            inner = self._one(depth + 1)
            return lambda item: not inner(item)
        if self._take("("):
            inner = self._either(depth + 1)
            if not self._take(")"):
                raise self._wrong()
            return inner
        if len(self._words) < 3:
            raise self._wrong()
        (key, _), (word, _), (value, quoted) = self._words.pop(), self._words.pop(), self._words.pop()
        compare = _COMPARE.get(word)
        if compare is None:
            raise self._wrong()
        return lambda item: _holds(compare, item.get(key), value, quoted)

    def _take(self, word: str) -> bool:
        if self._words and self._words[-1] == (word, False):
            self._words.pop()
            return True
        return False

    def _wrong(self) -> BadRequest:
        return BadRequest(400, f"invalid filter: {self._text[:200]}")


def _holds(compare: Callable[[Any, Any], bool], given: Json, value: str, quoted: bool) -> bool:
    if isinstance(given, bool):
        return compare(str(given).lower(), value.lower())
    if isinstance(given, int | float) and not quoted:
        try:
            return compare(given, float(value))
        except ValueError:
            return compare is operator.ne
    if given is None:
        return compare is operator.ne
    return compare(str(given), value)
