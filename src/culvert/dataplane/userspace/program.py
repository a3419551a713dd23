"""Which program is the packet process: the native engine where it is built and runs here, else the one in Python.

CULVERT_ENGINE in the daemon's environment chooses: `native`, `python`, or `auto`, which is the default. Both obey the
same words over the same descriptors, and say the same of every packet.

CULVERT_BUSY_POLL, in microseconds, is how long the native one looks for more packets, after it has had some, before it
sleeps. It costs a processor while there is traffic, so the default is 0: it sleeps at once.

CULVERT_WORKERS is how many workers the native one has, each with a thread, a queue of the TUN and sockets of its own: 1
to 16, or `auto`, one for each processor that it may use. The one in Python has one.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

CHOICE = "CULVERT_ENGINE"
AUTO, NATIVE, PYTHON = "auto", "native", "python"
CHOICES = (AUTO, NATIVE, PYTHON)
BUSY_POLL = "CULVERT_BUSY_POLL"
BUSY_POLL_MAX = 1_000_000
WORKERS = "CULVERT_WORKERS"
WORKERS_MAX = 16
WORKERS_DEFAULT = "1"
ANSWER_SECONDS = 5.0


class Program(NamedTuple):
    """`arguments`: the program and what stands in front of the descriptors. `engine`: what `show sys version` calls it.

    `is_native`: it takes super-packets, with a virtio header in front, from the TUN, and the sockets of AF_XDP.
    `sentences`: why it is not another one, where somebody wants to know. `workers`: how many move packets.
    """

    arguments: tuple[str, ...]
    engine: str
    is_native: bool
    sentences: tuple[str, ...] = ()
    workers: int = 1

    @property
    def words(self) -> str:
        """All that a later parent has to have too."""
        return f"{self.engine}, workers {self.workers}"


class NoSuchEngine(OSError):
    """What CULVERT_ENGINE, CULVERT_BUSY_POLL or CULVERT_WORKERS asks for isn't to be had."""


IN_PYTHON = Program((sys.executable, "-I", "-m", "culvert.dataplane.userspace.tmm"), "python", is_native=False)


def native_path() -> Path:
    """Where `tools/engine` puts it: in the environment that this Python belongs to."""
    return Path(sys.prefix) / "libexec" / "culvert-tmm"


def chosen() -> Program:
    """Raises NoSuchEngine for a choice that can't be had."""
    choice = os.environ.get(CHOICE, AUTO)
    if choice not in CHOICES:
        raise NoSuchEngine(f"{CHOICE}: {choice!r} is none of {', '.join(CHOICES)}")
    busy_poll, workers = _busy_poll(), _workers()
    if choice == PYTHON:
        return IN_PYTHON
    try:
        return _native(native_path(), busy_poll)._replace(workers=workers)
    except (OSError, subprocess.SubprocessError) as error:
        if choice == NATIVE:
            raise NoSuchEngine(f"{CHOICE}: the native engine can't be used: {error}") from error
        there = native_path().exists()
        why = f"the native engine is there and doesn't run, so the packet process is the one in Python: {error}"
        return IN_PYTHON._replace(sentences=(why,) if there else ())


def _busy_poll() -> int:
    text = os.environ.get(BUSY_POLL, "0")
    if not (text.isascii() and text.isdigit() and int(text) <= BUSY_POLL_MAX):
        raise NoSuchEngine(f"{BUSY_POLL}: {text!r} is no number of microseconds in 0..{BUSY_POLL_MAX}")
    return int(text)


def _workers() -> int:
    text = os.environ.get(WORKERS, WORKERS_DEFAULT)
    if text == AUTO:
        return min(len(os.sched_getaffinity(0)), WORKERS_MAX)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= WORKERS_MAX):
        raise NoSuchEngine(f"{WORKERS}: {text!r} is neither {AUTO} nor a number in 1..{WORKERS_MAX}")
    return int(text)


def _native(path: Path, busy_poll: int) -> Program:
    """Ask it what it is, which also says whether it runs on this processor."""
    asked = subprocess.run(
        [path, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ANSWER_SECONDS,
        check=True,
    )
    engine = asked.stdout.strip()
    if busy_poll:
        return Program((str(path), f"busy-poll={busy_poll}"), f"{engine}, busy poll {busy_poll} us", is_native=True)
    return Program((str(path),), engine, is_native=True)
