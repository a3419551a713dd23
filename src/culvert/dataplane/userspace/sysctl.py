"""Kernel settings under /proc/sys/net, by their path there."""

from pathlib import Path

ROOT = Path("/proc/sys/net")


def read(name: str) -> str | None:
    """The value; None where this kernel or this link has no such setting."""
    try:
        return (ROOT / name).read_text().strip()
    except OSError:
        return None


def write(name: str, value: str) -> None:
    (ROOT / name).write_text(value + "\n")


def links_with(pattern: str) -> list[str]:
    """The settings that fit `pattern`, such as `ipv6/conf/*/forwarding`, `all` and `default` not among them."""
    names = (str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
    return sorted(name for name in names if name.split("/")[2] not in ("all", "default"))
