"""Numbers, times and tables as the vendor prints them."""

from collections.abc import Sequence
from datetime import UTC, datetime

Options = set[str]
_UNITS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K"))
_FORCED = {"kil": 3, "meg": 6, "gig": 9, "tera": 12, "peta": 15, "exa": 18, "zetta": 21, "yotta": 24}
_LETTERS = {3: "K", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E", 21: "Z", 24: "Y"}


def number(count: int, options: Options) -> str:
    """353912 as 353.9K, in full with the option raw, as 0.4M with meg."""
    for word in options & _FORCED.keys():
        exponent = _FORCED[word]
        return f"{count / 10**exponent:.1f}{_LETTERS[exponent]}" if count else "0"
    if "raw" not in options:
        for size, letter in _UNITS:
            if count >= size:
                return f"{count / size:.1f}{letter}"
    return str(count)


def moment(seconds: float) -> str:
    """A time as MM/DD/YYYY:HH:MM, in UTC; `never` for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%m/%d/%Y:%H:%M") if seconds else "never"


def titled(title: str) -> list[str]:
    """A title between rules as long as itself."""
    return ["-" * len(title), title, "-" * len(title)]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, rule: int = 0) -> str:
    """A titled table between rules of at least `rule`; the first `left` columns flush left, the others right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    dashes = "-" * max(rule, len(title), *(len(line) for line in lines))
    return "\n".join([dashes, title, lines[0], dashes, *lines[1:]])
