"""The saved configuration on disk: one text, replaced whole, and the last generations of it.

A save writes the generation first and then puts the same text in place of the configuration, each into a temporary
file of the same directory, fsync'd, renamed, and the directory fsync'd. So at any instant the configuration is a
whole text, the old one or the new one, and a save that returned is on the disk. A save that was killed may leave a
generation that never became the configuration, and a temporary file, which the next Store removes.

One Store at a time may save to a configuration: culvertd holds a lock on its state directory.
"""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

GENERATIONS_KEPT = 50
_NAME = re.compile(r"(?P<number>\d{8,})-(?P<time>\d+(\.\d+)?)-(?P<who>[A-Za-z0-9_.-]{1,32})\.conf")
_TEMPORARY = re.compile(r"\..+\.saving\.\d+")
_UNCHANGED = "the saved configuration is as it was"


class StoreError(Exception):
    """Something on disk that could not be read or written. Names the path and the system's reason."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One saved configuration. `saved_at` in seconds since the epoch, to the millisecond; `sha256` in hex.

    `who` has at most 32 of the characters A-Z a-z 0-9 _ . -; others were replaced by _.
    """

    number: int
    saved_at: float
    who: str
    octets: int
    sha256: str


class Store:
    """The configuration file `config` and its history in the directory `history`; both directories are made."""

    def __init__(self, config: Path, history: Path) -> None:
        """Removes what killed saves left. Raises StoreError when a directory is not to be had."""
        # Through a symbolic link: a rename would replace the link, and the file that it means would grow stale.
        self._config = Path(os.path.realpath(config))
        self._history = history
        for directory in (self._config.parent, history):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _clean(directory)
            except OSError as error:
                raise _failed(error, directory, "no configuration can be kept there") from None

    def load(self) -> str | None:
        """The saved text; None when nothing has been saved yet. Raises StoreError."""
        try:
            return _text(self._config)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(error, self._config, "the saved configuration was not read") from None

    def save(self, text: str, now: float, who: str) -> Generation:
        """Make `text` the saved configuration, durably, as a new generation. `now` in seconds since the epoch.

        Raises StoreError. The saved configuration and its generations are then as they were, unless the sentence
        says that only the last step failed.
        """
        data = _encoded(text)
        path = self._next(now, who)
        _replace(path, data)
        try:
            _replace(self._config, data)
        except StoreError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        for own in (path, self._config):
            _sync_directory(own)
        # An old generation too many does not make the save a failure.
        with contextlib.suppress(OSError, StoreError):
            self._trim()
        return _generation(path, data)

    def keep(self, text: str, now: float, who: str) -> Generation:
        """Make `text` a generation, durably, and leave the saved configuration as it is. Raises StoreError."""
        data = _encoded(text)
        path = self._next(now, who)
        _replace(path, data)
        _sync_directory(path)
        with contextlib.suppress(OSError, StoreError):
            self._trim()
        return _generation(path, data)

    def beside(self, name: str) -> str | None:
        """The text of a small file that stands beside the configuration; None when there is none, or no text."""
        try:
            return _text(self._config.with_name(name))
        except (OSError, StoreError):
            return None

    def put_beside(self, name: str, text: str) -> None:
        """Put a small file beside the configuration, or in place of the one there. Raises StoreError."""
        path = self._config.with_name(name)
        _replace(path, _encoded(text))
        _sync_directory(path)

    @property
    def path(self) -> Path:
        """Where the saved configuration is."""
        return self._config

    def _next(self, now: float, who: str) -> Path:
        number = max((_number(path) for path in self._paths()), default=0) + 1
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", who)[:32] or "unknown"
        return self._history / f"{number:08d}-{max(now, 0.0):.3f}-{name}.conf"

    def generations(self) -> list[Generation]:
        """What has been saved, oldest first. Raises StoreError."""
        return [_generation(path, _read(path)) for path in self._paths()]

    def read(self, number: int) -> str:
        """The text of a generation. Raises StoreError."""
        for path in self._paths():
            if _number(path) == number:
                try:
                    return _text(path)
                except OSError as error:
                    raise _failed(error, path, "the generation was not read") from None
        raise StoreError(f"there is no saved generation {number}")

    def _paths(self) -> list[Path]:
        try:
            return sorted((path for path in self._history.iterdir() if _NAME.fullmatch(path.name)), key=_number)
        except OSError as error:
            raise _failed(error, self._history, _UNCHANGED) from None

    def _trim(self) -> None:
        for path in self._paths()[:-GENERATIONS_KEPT]:
            path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _generation(path: Path, data: bytes) -> Generation:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return Generation(
        int(found["number"]), float(found["time"]), found["who"], len(data), hashlib.sha256(data).hexdigest()
    )


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(f"character {error.start} of the configuration is half a character; {_UNCHANGED}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: it is not UTF-8 text (octet {error.start})") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _failed(error, path, "the generation was not read") from None


def _clean(directory: Path) -> None:
    for left in directory.iterdir():
        if _TEMPORARY.fullmatch(left.name):
            # On a read-only disk it stays, and harms nobody.
            with contextlib.suppress(OSError):
                left.unlink()


def _replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole, on the disk before it is there by name. Raises StoreError, changing nothing."""
    temporary = path.with_name(f".{path.name}.saving.{os.getpid()}")
    try:
        try:
            _write(temporary, data)
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise _failed(error, path, _UNCHANGED) from None


def _write(temporary: Path, data: bytes) -> None:
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Until this, the new name may be gone after a power failure; the old text is then there again, whole."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _failed(error, path, "it is saved, but may not survive a power failure") from None


def _failed(error: OSError, path: Path, consequence: str) -> StoreError:
    return StoreError(f"{path}: {error.strerror}; {consequence}")
