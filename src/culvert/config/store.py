"""The saved configuration on disk: one text, replaced whole, and the last generations of it.

A save writes the generation first and then puts the same text in place of the configuration by rename, each
fsync'd with its directory. So at any instant the configuration is a whole text: the old one or the new one.
"""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

GENERATIONS_KEPT = 50
_NAME = re.compile(r"(?P<number>\d{8})-(?P<time>\d+(\.\d+)?)-(?P<who>[A-Za-z0-9_.-]{1,32})\.conf")
_TEMPORARY = re.compile(r"\..+\.saving\.\d+")


class StoreError(Exception):
    """Something on disk that could not be read or written. Names the path and the system's reason."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One saved configuration. `saved_at` in seconds since the epoch."""

    number: int
    saved_at: float
    who: str
    octets: int
    sha256: str


class Store:
    """The configuration file `config` and its history in the directory `history`."""

    def __init__(self, config: Path, history: Path) -> None:
        self._config = config
        self._history = history
        try:
            for directory in (config.parent, history):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                for left in directory.iterdir():
                    if _TEMPORARY.fullmatch(left.name):
                        left.unlink()
        except OSError as error:
            raise _failed(error, config) from None

    def load(self) -> str | None:
        """The saved text; None when nothing has been saved yet."""
        try:
            return self._config.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise StoreError(f"{self._config}: it is not UTF-8 text") from None
        except OSError as error:
            raise _failed(error, self._config) from None

    def save(self, text: str, now: float, who: str) -> Generation:
        """Make `text` the saved configuration, durably, as a new generation. Raises StoreError, changing nothing."""
        data = text.encode("utf-8")
        number = max((own.number for own in self.generations()), default=0) + 1
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", who)[:32] or "unknown"
        path = self._history / f"{number:08d}-{now:.3f}-{name}.conf"
        try:
            _replace(path, data)
            _replace(self._config, data)
        except OSError as error:
            if self.load() != text:
                path.unlink(missing_ok=True)
            raise _failed(error, self._config) from None
        with contextlib.suppress(OSError, StoreError):
            self._trim()  # An old generation too many does not make the save a failure.
        return _generation(path, data)

    def generations(self) -> list[Generation]:
        """What has been saved, oldest first."""
        return [_generation(path, _read(path)) for path in self._paths()]

    def read(self, number: int) -> str:
        """The text of a generation. Raises StoreError."""
        for path in self._paths():
            if int(path.name[:8]) == number:
                return _read(path).decode("utf-8")
        raise StoreError(f"there is no saved generation {number}")

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self._history.iterdir() if _NAME.fullmatch(path.name))
        except OSError as error:
            raise _failed(error, self._history) from None

    def _trim(self) -> None:
        for path in self._paths()[:-GENERATIONS_KEPT]:
            path.unlink(missing_ok=True)


def _generation(path: Path, data: bytes) -> Generation:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return Generation(
        int(found["number"]), float(found["time"]), found["who"], len(data), hashlib.sha256(data).hexdigest()
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _failed(error, path) from None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.saving.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _failed(error: OSError, path: Path) -> StoreError:
    return StoreError(f"{error.filename or path}: {error.strerror}; the saved configuration is as it was")
