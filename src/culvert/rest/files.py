"""Uploads: files that a client sends in pieces, to be loaded by a command that names them."""

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from culvert.control.errors import Refused
from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found

UPLOADS = ("mgmt", "shared", "file-transfer", "uploads")
DIRECTORIES = ("/var/config/rest/downloads/", "/var/config/rest/", "/var/tmp/", "/tmp/")
"""Where the vendor's systems put what was sent, and what clients therefore name."""
FILE_MAX = 64 * 1024 * 1024
TOTAL_MAX = 512 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_RANGE = re.compile(r"(?:bytes )?(\d{1,12})-(\d{1,12})/(\d{1,12})")


class Files:
    """One directory of this process's own; every name is a bare one in it."""

    def __init__(self, directory: Path, door: Door) -> None:
        self._directory = directory
        self._door = door
        self._lock = threading.Lock()

    def answer(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """`POST .../uploads/NAME` with `Content-Range: first-last/total`; the pieces come in order."""
        if len(rest) != 1:
            raise not_found(request)
        if request.method != "POST":
            raise not_allowed(request, "POST")
        if not self._door.call(request.credentials(), "access", call="bash")["admin"]:
            raise Refused("uploads are for users of the role admin")
        path = self._path(rest[0])
        first, last, total = _range(request)
        with self._lock:
            self._write(path, first, request.content, total)
        left = total - (last + 1)
        return Answer(
            {
                "remainingByteCount": left,
                "usedChunks": {str(first): last - first + 1},
                "totalByteCount": total,
                "localFilePath": f"{DIRECTORIES[0]}{rest[0]}",
                "temporaryFilePath": f"{DIRECTORIES[0]}{rest[0]}",
                "generation": 0,
                "lastUpdateMicros": 0,
                "kind": "cm:shared:file-transfer:uploads:uploadstate",
                "selfLink": f"{naming.LOCALHOST}{request.path}",
            }
        )

    def placed(self, command: str) -> str:
        """A command with the names that clients give to uploaded files made those of the files."""
        for prefix in DIRECTORIES:
            command = re.sub(
                rf"(?<!\S)(?:file:)?{re.escape(prefix)}([A-Za-z0-9_][A-Za-z0-9_.-]*)(?!\S)",
                lambda found: str(self._directory / found[1]),
                command,
            )
        return command

    def named(self, words: Sequence[str]) -> list[str]:
        """Words of a command, those behind `file` made the paths of uploads; nothing else can be named."""
        found = list(words)
        for index in [place + 1 for place, word in enumerate(words) if word == "file"]:
            if index < len(found):
                prefix = next((each for each in DIRECTORIES if found[index].startswith(each)), "")
                found[index] = str(self._path(found[index].removeprefix(prefix)))
        return found

    def command(self, word: str, given: list[str]) -> str:
        """unix-mv, unix-rm and unix-ls of uploaded files; a line of text when it can't be done."""
        paths = [self._path(each.rpartition("/")[2]) for each in given if each.rpartition("/")[2]]
        try:
            if word == "unix-ls":
                return "".join(f"{each.name}\n" for each in sorted(self._directory.iterdir()))
            if word == "unix-rm":
                for path in paths:
                    path.unlink(missing_ok=True)
            elif len(paths) == 2:
                paths[0].replace(paths[1])
        except OSError as error:
            return f"{word}: {error.strerror}\n"
        return ""

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadRequest(400, "a file's name has letters, digits, . _ - and no directory")
        return self._directory / name

    def _write(self, path: Path, first: int, content: bytes, total: int) -> None:
        held = path.stat().st_size if path.exists() else 0
        if first and first > held:
            raise BadRequest(400, f"the piece begins at {first}, but only {held} octets came before")
        if self._used() - (held if not first else 0) + len(content) > TOTAL_MAX:
            raise BadRequest(507, "there is no room for more uploads")
        mode = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if first else os.O_TRUNC)
        try:
            file = os.open(path, mode, 0o600)
            try:
                os.pwrite(file, content, first)
            finally:
                os.close(file)
        except OSError as error:
            raise BadRequest(507, f"the upload could not be written: {error.strerror}") from None

    def _used(self) -> int:
        return sum(each.stat().st_size for each in self._directory.iterdir())


def _range(request: Request) -> tuple[int, int, int]:
    text = request.headers.get("content-range", f"0-{max(len(request.content) - 1, 0)}/{len(request.content)}")
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise BadRequest(400, "Content-Range is first-last/total")
    first, last, total = (int(each) for each in found.groups())
    # Some clients count the last octet, some the one behind it.
    if total > FILE_MAX or first > last or last - first + 1 not in (len(request.content), len(request.content) + 1):
        raise BadRequest(400, f"Content-Range {text} does not fit the {len(request.content)} octets sent")
    return first, first + max(len(request.content), 1) - 1, total
