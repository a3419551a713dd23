"""How the counter journal does, for `show sys tmm-info`: whether it can be written, and which SAs run out of numbers.

The packet process writes it, and its parent doesn't have to ask: what was granted is in the file, what was used is in
the counters file, and whether there is room is known to the file system.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from culvert.dataplane.plane import JournalState, PlaneError
from culvert.dataplane.userspace.leases import BLOCK_NUMBERS_MIN, Journal
from culvert.dataplane.userspace.slots import Slots
from culvert.ipsec.sa import Direction, SecurityAssociation


def needed(path: Path) -> tuple[str, ...]:
    """What a packet process has to have, to go on with: a journal if there can be one, for without it no counter mode
    would ever be sent."""
    can_be = not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
    return ("leases",) if can_be else ()


def opened(path: Path, now: float, inherited: int, sentences: list[str]) -> Journal | None:
    """The journal; None where there can't be one. `sentences` is told what is unusual."""
    counters = path.with_name("counters")
    try:
        journal = Journal(path, now, inherited, is_expected=counters.exists() and counters.stat().st_size > 0)
    except OSError as error:
        sentences.append(f"there is no counter journal, so counter modes are refused: {path}: {error.strerror}")
        return None
    sentences += journal.sentences
    return journal


def state(journal: Journal, slots: Slots, sas: Iterable[SecurityAssociation]) -> JournalState:
    """`sas`: all that the packet process has."""
    journal.refresh()
    short = tuple(sorted(sa.label for sa in sas if sa.direction is Direction.OUT and _is_short(slots, sa)))
    return JournalState(str(journal.path), _trouble(journal, bool(short)), journal.written, short)


def tidied(journal: Journal | None, now: float) -> list[str]:
    """Keep the file from growing for ever. What is unusual, in sentences."""
    sentence = journal.tidy(now) if journal is not None else ""
    return [sentence] if sentence else []


def renewed(journal: Journal | None, now: float, end: Callable[[], None]) -> list[str]:
    """A file that another program took away is written anew, for a packet process that is started after `end`. What
    was done, in sentences."""
    sentences: list[str] = []
    if journal is not None and journal.is_lost:
        with contextlib.suppress(OSError):
            journal.renew(now, end)
        if not journal.is_lost:
            sentences.append(f"{journal.path} was taken away by another program; wrote it anew")
    return sentences


def settle(journal: Journal) -> None:
    """Somebody who knows vouches for it. PlaneError where the doubt would come back."""
    try:
        journal.doubt.settle()
    except OSError as error:
        raise PlaneError(None, f"{journal.path}.doubt: {error.strerror}") from error


def _is_short(slots: Slots, sa: SecurityAssociation) -> bool:
    """It should have had a further block by now."""
    last, sequence = slots.granted(sa), slots.reading(sa).sequence
    return max(last, sequence) < sa.sequence_max and last - sequence < BLOCK_NUMBERS_MIN // 4


def _trouble(journal: Journal, is_short: bool) -> str:
    system = os.statvfs(journal.fd)
    if system.f_flag & os.ST_RDONLY:
        return "the file system can only be read"
    if not system.f_bavail:
        return "no space is left on the disk"
    if journal.is_lost:
        return "the file was taken away, and could not be written anew yet"
    return "numbers were asked for and not written: the log of culvertd says why" if is_short else ""
