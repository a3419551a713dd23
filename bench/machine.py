"""The machine that all of it runs on, and what else goes on there."""

import os
import platform
import time
from pathlib import Path

_LOOK_SECONDS = 1.0
BUSY_SHARE = 0.10


def described() -> dict[str, str]:
    """What a reader has to know of it."""
    found = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": found[0] if found else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "system": next((line.partition("=")[2].strip('"') for line in _lines("/etc/os-release")
                        if line.startswith("PRETTY_NAME=")), platform.system()),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def noise() -> dict[str, float]:
    """The load average, and the share of all cores that others use right now, while we do nothing."""
    before = _times()
    time.sleep(_LOOK_SECONDS)
    spent = [after - earlier for earlier, after in zip(before, _times(), strict=True)]
    idle, whole = spent[3] + spent[4], max(1, sum(spent))
    return {"load": os.getloadavg()[0], "others": 1 - idle / whole, "stolen": spent[7] / whole}


def _times() -> list[int]:
    """Jiffies of all cores together: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(word) for word in _lines("/proc/stat")[0].split()[1:9]]


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()
