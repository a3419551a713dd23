"""What we added to the host and what stood there before, kept on disk so that even a killed parent's successor
can take it back.

An append-only file of JSON lines: a line is written before its change is made. It is valid only for the boot
and the network namespace in which it was written; elsewhere there is nothing left to undo.
"""

import json
import os
from pathlib import Path
from typing import Any

from culvert.dataplane.userspace.counters import BOOT_ID

Value = bool | int | str | None


class Journal:
    """Keys are what can be undone, values what it takes to do so. `inherited`: left by a predecessor."""

    def __init__(self, path: Path, *, scope: str | None = None) -> None:
        self._path = path
        self._scope = _scope() if scope is None else scope
        self.entries: dict[str, Value] = self._load()
        self.inherited = set(self.entries)
        self._fd = self._rewrite()

    def _load(self) -> dict[str, Value]:
        try:
            lines = self._path.read_text().splitlines()
            if not lines or json.loads(lines[0]) != {"scope": self._scope}:
                return {}
        except (OSError, ValueError):
            return {}
        entries: dict[str, Value] = {}
        for line in lines[1:]:
            try:
                content: dict[str, Any] = json.loads(line)
            except ValueError:
                break
            if "value" in content:
                entries[content["key"]] = content["value"]
            else:
                entries.pop(content["key"], None)
        return entries

    def _rewrite(self) -> int:
        fresh = self._path.with_name(self._path.name + ".new")
        lines = [json.dumps({"scope": self._scope})]
        lines += [json.dumps({"key": key, "value": value}) for key, value in self.entries.items()]
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self._path)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def remember(self, key: str, value: Value = None) -> None:
        """Note what it takes to undo `key`. The first note stays: it tells how things were before us."""
        self.inherited.discard(key)
        if key not in self.entries:
            self.entries[key] = value
            self._append({"key": key, "value": value})

    def forget(self, key: str) -> None:
        """`key` is undone, or was never done."""
        self.inherited.discard(key)
        if key in self.entries:
            del self.entries[key]
            self._append({"key": key})

    def _append(self, content: dict[str, Value]) -> None:
        os.write(self._fd, json.dumps(content).encode() + b"\n")

    def close(self) -> None:
        """Let go of the file, which stays only if something is left to undo."""
        os.close(self._fd)
        if not self.entries:
            self._path.unlink(missing_ok=True)


def _scope() -> str:
    # A thread may be in another namespace than its process.
    namespace = Path("/proc/thread-self/ns/net").stat()
    return f"{BOOT_ID.read_text().strip()} {namespace.st_dev}:{namespace.st_ino}"
