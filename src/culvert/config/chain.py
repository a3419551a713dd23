"""A log in which each line carries the digest of the one before, so that no line can change or go without a trace.

A line is one JSON object: `number` counts from 1, `previous` is the `hash` of the line before (zeros before the first),
`hash` is the SHA-256 over the line without it. Lines go to `audit.log`; a full file becomes `audit.log.<number of its
last line>` and the chain goes on in the next. The number and hash of the newest line stand in a file apart.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "audit.log"
NEWEST = "audit.newest"
FILES_KEPT = 20
BEGINNING = "0" * 64
_ROTATED = re.compile(rf"{re.escape(NAME)}\.(\d{{12}})")
_NEWEST = re.compile(r"(\d{12}) ([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line, by its number and hash."""

    number: int = 0
    hash: str = BEGINNING

    def text(self) -> str:
        """What the file apart holds: always as many octets, so that it is written in one piece."""
        return f"{self.number:012} {self.hash}\n"


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at the chain found: `fault` is "" or the first thing that is wrong.

    `counted` is the number of the newest line by the file apart.
    """

    first: int
    head: Head
    fault: str = ""
    counted: int = 0


def line(fields: Mapping[str, object], head: Head) -> tuple[str, Head]:
    """The line behind `head` that holds `fields`, without its end, and the head that it makes."""
    whole: dict[str, object] = {"number": head.number + 1, **fields, "previous": head.hash}
    found = _digest(whole)
    return json.dumps(whole | {"hash": found}), Head(head.number + 1, found)


def _digest(whole: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def files(directory: Path) -> list[Path]:
    """The files of the chain in a directory, oldest first."""
    rotated = sorted(path for path in directory.iterdir() if _ROTATED.fullmatch(path.name))
    newest = directory / NAME
    return [*rotated, newest] if newest.exists() else rotated


def rotated_name(head: Head) -> str:
    return f"{NAME}.{head.number:012}"


def newest(path: Path) -> Head | None:
    """What the file apart says; None when there is none. Raises ValueError when it says nothing sensible."""
    try:
        found = _NEWEST.fullmatch(path.read_text("ascii", "replace"))
    except FileNotFoundError:
        return None
    if found is None:
        raise ValueError(f"{path} is damaged")
    return Head(int(found[1]), found[2])


def last(path: Path) -> Head | None:
    """The head that a file's last whole line makes; None without one. Raises ValueError when it is none of ours."""
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [own for own in lines if own.endswith(b"\n")]
    return _head(_read(whole[-1])) if whole else None


def examine(directory: Path, apart: Path) -> Report:
    """Read the whole chain, also of a daemon that goes on writing it. Raises OSError."""
    first, head = 0, Head()
    try:
        # Before the lines: a daemon that runs counts a line when it is there.
        known = newest(apart)
    except ValueError as error:
        return Report(first, head, str(error))
    paths = files(directory)
    for where, record in _lines(paths):
        if isinstance(record, str):
            return Report(first, head, f"{where}: {record}")
        if not first:
            first = int(record["number"])
            if first != 1 and len(paths) <= FILES_KEPT:
                return Report(first, head, f"the lines before number {first} were taken out")
            head = Head(first - 1, str(record["previous"])) if first != 1 else head
        fault = _fault(record, head)
        head = _head(record)
        if known is not None and head.number == known.number:
            fault = fault or tail_fault(head, known)
        if fault:
            return Report(first, head, f"{where}: {fault}")
    return Report(first, head, tail_fault(head, known), known.number if known else 0)


def _lines(paths: list[Path]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for path in paths:
        with path.open("rb") as file:
            for count, text in enumerate(file, 1):
                try:
                    yield f"{path.name}, line {count}", _read(text)
                except ValueError as error:
                    yield f"{path.name}, line {count}", str(error)


def _read(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("number"), int) or not text.endswith(b"\n"):
        raise ValueError("it is no line of the audit log, or was changed")
    return found


def _head(record: Mapping[str, Any]) -> Head:
    return Head(int(record["number"]), str(record.get("hash")))


def _fault(record: Mapping[str, Any], head: Head) -> str:
    number = record["number"]
    if _digest({word: value for word, value in record.items() if word != "hash"}) != record.get("hash"):
        return f"number {number} was changed"
    if number <= head.number:
        return f"number {number} was put in, or stands twice"
    if number > head.number + 1:
        return f"number {head.number + 1} was taken out, or every one up to {number - 1}"
    if record.get("previous") != head.hash:
        return f"number {number} was put in, or the one before it was changed"
    return ""


def fault_of(records: Sequence[Mapping[str, Any]], end: Head) -> str:
    """The first thing that is wrong with consecutive lines, of which the last makes `end`; "" if nothing is."""
    head: Head | None = None
    for record in records:
        if not isinstance(record.get("number"), int):
            return f"the line behind number {head.number} is damaged" if head else "the first line is damaged"
        fault = _fault(record, head or Head(record["number"] - 1, str(record.get("previous"))))
        if fault:
            return fault
        head = _head(record)
    return tail_fault(head or Head(), end) if records or end.number else ""


def tail_fault(head: Head, known: Head | None) -> str:
    """What is wrong with the end of a chain, by what the file apart says; "" if nothing is.

    Lines behind the newest that was counted are no fault: a line is on the disk before its number is.
    """
    if known is None:
        return f"{NEWEST} is gone, so nobody can tell whether lines are missing at the end" if head.number else ""
    if known.number > head.number:
        return f"the end was cut off: number {known.number} was the newest, {head.number} is the last that is there"
    if known.number == head.number and known.hash != head.hash:
        return f"number {head.number} was changed"
    return ""
