"""docs/kernel-interop.md: what was tried against a real kernel and how it went."""

from typing import Any

HEAD = """# Against a real Linux kernel

`make test-kernel` boots Linux {release} in a small virtual machine and makes its IPsec the peer of Culvert's packet
plane (engine: {engine}). Each row is one pair of SAs, installed in Culvert and, by `ip xfrm`, in the kernel. Pings, UDP
datagrams of every padding and beyond the link's MTU, and a TCP connection go both ways with checked content; on the
wire there may be nothing but protected packets; neither the kernel (`/proc/net/xfrm_stat`) nor Culvert (`show net ipsec
drops`) may count an error. Rows with a fault are right if both sides count exactly the reason that is theirs and let
nothing through, or, for path MTU and wrap (of the low half of an extended sequence number), if nothing is lost.

The page is written by `make test-kernel ARGS=--write-docs`. {passed} of {all} rows passed.

| protocol | mode | families | cipher | authentication | options | fault | result |
|---|---|---|---|---|---|---|---|
"""
OPTIONS = {"esn": "ESN", "udp": "in UDP", "ipcomp": "IPComp", "bundle": "AH around"}


def written(results: list[dict[str, Any]], release: str, engine: str) -> str:
    """The whole page."""
    passed = sum(not result["complaint"] for result in results)
    head = HEAD.format(release=release, engine=engine, passed=passed, all=len(results))
    return head + "".join(f"| {' | '.join(_cells(result))} |\n" for result in results)


def _cells(result: dict[str, Any]) -> list[str]:
    row = result["row"]
    return [
        row["protocol"].upper(),
        row["mode"],
        f"IPv{row['inner']} in IPv{row['outer']}" if row["mode"] == "tunnel" else f"IPv{row['outer']}",
        "" if row["protocol"] == "ah" else row["cipher"],
        "" if row["auth"] == "none" else row["auth"],
        ", ".join(title for name, title in OPTIONS.items() if row[name]),
        row["fault"].replace("-", " "),
        "FAILED" if result["complaint"] else "ok",
    ]
