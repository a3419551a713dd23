"""A long table, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from culvert.web.visit import Visit

SIZES = (25, 50, 100, 250)
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """What of a table is shown. `number` counts from 1; `parameters` are what else stands in the address."""

    rows: Sequence[Row]
    total: int
    number: int
    size: int
    parameters: dict[str, str]

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))

    def link(self, number: int) -> str:
        """The parameters of another page."""
        return "?" + urlencode({**self.parameters, "size": self.size, "page": number})


def page_of(visit: Visit, rows: Sequence[Row], parameters: dict[str, str]) -> Page[Row]:
    """The page that an address asks for; the last one where it asks for more."""
    size, number = visit.asked("size"), visit.asked("page")
    per_page = int(size) if size in map(str, SIZES) else SIZES[0]
    wanted = int(number[:9]) if number.isascii() and number.isdigit() else 1
    last = max(1, -(-len(rows) // per_page))
    at = min(max(wanted, 1), last)
    return Page(rows[(at - 1) * per_page : at * per_page], len(rows), at, per_page, parameters)
