"""Shows of the machine: what it is, what time it has, how the configuration came to be loaded."""

import os
import platform
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]
LICENCE = "Apache License 2.0: no licence has to be activated, and nothing is limited by one"


def clock(now: float) -> list[Record]:
    """The time of day, in UTC."""
    return [{"full_date": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "seconds": now}]


def hardware() -> list[Record]:
    """Processors, memory and machine, as far as Linux tells."""
    processors = re.findall(r"^model name\s*: (.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    board = Path("/sys/class/dmi/id")
    return [
        {
            "platform": f"Linux {platform.machine()}",
            "kernel": platform.release(),
            "processors": os.cpu_count() or 1,
            "model": processors[0] if processors else platform.machine(),
            "memory_kilobytes": int(memory[1]) if memory else 0,
            "vendor": _text(board / "sys_vendor").strip(),
            "product": _text(board / "product_name").strip(),
            "host": platform.node(),
        }
    ]


def licence() -> list[Record]:
    return [{"licence": LICENCE}]


def management(trouble: str) -> list[Record]:
    """What boot scripts of the vendor's ask for: whether the configuration is loaded and runs."""
    load = "full-config-load-failed" if trouble else "full-config-load-succeed"
    return [{"phase": "running", "last_load": load, "end_platform_id_received": True, "trouble": trouble}]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def shown(what: str, filters: Mapping[str, Any], now: float, trouble: str) -> list[Record] | None:
    """The records of `show <what>` when that is one of these."""
    made: dict[str, Callable[[], list[Record]]] = {
        "sys clock": lambda: clock(now),
        "sys hardware": hardware,
        "sys license": licence,
        "sys mcp-state": lambda: management(trouble),
    }
    make = made.get(what)
    return make() if make else None
