"""Names of objects: /Partition[/folder...]/name, and how they shorten against the current folder."""

import fnmatch
import re
from functools import lru_cache

from culvert.model.problems import BadValue

COMMON = "/Common"
NAME_MAX = 255
CHECKED_KEPT = 16384
"""Good names that are not looked at again: each stands in several objects, and is asked about in each several times."""
RESERVED = {"all": "every object", "none": "no object"}
_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\- ]*")
_LOOSE = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:%/\-]*")


def full(name: str, folder: str = COMMON) -> str:
    """`name` as a full path: as it is when it starts with /, else inside `folder`."""
    return name if name.startswith("/") else f"{folder.rstrip('/')}/{name}"


def relative(name: str, folder: str) -> str:
    """`name` as it is written when the current folder is `folder`."""
    prefix = folder.rstrip("/") + "/"
    return name[len(prefix) :] if name.startswith(prefix) else name


def partition(name: str) -> str:
    """The partition of a full path: Common of /Common/x."""
    return name.split("/", 2)[1] if name.startswith("/") else ""


def folder_of(name: str, *, loose: bool = False) -> str:
    """The folder that a full path stands in; the partition for `loose` names, which may hold slashes of their own."""
    return f"/{partition(name)}" if loose else name.rpartition("/")[0] or "/"


def fits(name: str, pattern: str, folder: str, *, loose: bool = False, recursive: bool = False) -> bool:
    """Whether a full path is what the glob `pattern` means in `folder`; `*` doesn't reach into folders below.

    With `recursive`, a pattern without slashes speaks of the folders below too.
    """
    splits = 2 if loose else -1
    parts, wanted = name.split("/", splits), full(pattern, folder).split("/", splits)
    if len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted)):
        return True
    below = recursive and "/" not in pattern and is_in(name, folder, loose=loose, recursive=True)
    return below and fnmatch.fnmatchcase(parts[-1], pattern)


def is_in(name: str, folder: str, *, loose: bool = False, recursive: bool = False) -> bool:
    """Whether a full path stands in `folder`; with `recursive`, or below it."""
    place = folder_of(name, loose=loose)
    return place == folder or (recursive and f"{place}/".startswith(folder.rstrip("/") + "/"))


@lru_cache(CHECKED_KEPT)
def check(name: str, *, loose: bool = False) -> str:
    """`name` if it is a good full path, else BadValue. `loose` names may be addresses with prefixes."""
    if len(name) > NAME_MAX:
        raise BadValue(f"a name has at most {NAME_MAX} characters, this one has {len(name)}")
    pieces = name.split("/", 2)
    if len(pieces) < 3 or pieces[0] or not pieces[1] or not pieces[2]:
        raise BadValue(f'"{name}" is not a name like x or /Common/x')
    if pieces[2] in RESERVED:
        raise BadValue(f'"{pieces[2]}" is no name: it stands for {RESERVED[pieces[2]]} wherever a name may stand')
    tail = [pieces[2]] if loose else pieces[2].split("/")
    form = _LOOSE if loose else _PART
    for part in (pieces[1], *tail):
        if not (form if part in tail else _PART).fullmatch(part) or part in (".", ".."):
            allowed = "letters, digits, . _ -" + (" : % /" if loose else " and space")
            raise BadValue(f'"{part}" is not a good name; allowed are {allowed}')
    return name


def plain(name: str) -> str:
    """`name` if it is a good name outside folders (a host interface, a member), else BadValue."""
    if not name or len(name) > NAME_MAX or any(c in '/ {}"' or not c.isprintable() for c in name):
        raise BadValue(f'"{name}" is not a good name here')
    return name
