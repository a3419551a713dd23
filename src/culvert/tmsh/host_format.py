"""How the shows of the machine and of the network look."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from culvert.model.names import COMMON, relative
from culvert.tmsh.table import Options, moment, number, table, titled

Record = Mapping[str, Any]


def _clock(records: Sequence[Record], options: Options) -> str:
    return "\n".join([*titled("Sys::Clock"), records[0]["full_date"]])


def _hardware(records: Sequence[Record], options: Options) -> str:
    own = records[0]
    rows = [
        ("Platform", [("Name", own["platform"]), ("Kernel", own["kernel"])]),
        (
            "Hardware Information",
            [
                ("Name", "cpus"),
                ("Model", own["model"]),
                ("Cores", own["processors"]),
                ("Memory", f"{own['memory_kilobytes'] // 1024} MB"),
            ],
        ),
        ("System Information", [("Vendor", own["vendor"] or "-"), ("Type", own["product"] or "-")]),
    ]
    lines = titled("Sys::Hardware")
    for head, words in rows:
        lines += [head, *(f"  {word:<8} {value}" for word, value in words)]
    return "\n".join(lines)


def _license(records: Sequence[Record], options: Options) -> str:
    return "\n".join([*titled("Sys::License"), records[0]["licence"]])


def _mcp_state(records: Sequence[Record], options: Options) -> str:
    own = records[0]
    lines = [*titled("Sys::mcpd State"), f"Running Phase     {own['phase']}", f"Last Config Load  {own['last_load']}"]
    return "\n".join([*lines, *([f"Trouble           {own['trouble']}"] if own["trouble"] else [])])


def _log(records: Sequence[Record], options: Options) -> str:
    own = records[0]
    lines = [*titled("Sys::Log"), f"ipsec  {own['path']}, {own['octets']} bytes, level {own['level']}"]
    return "\n".join([*lines, *(f"  to {each['name']}, {each['lost']} lost" for each in own["destinations"])])


def _log_lines(records: Sequence[Record], options: Options) -> str:
    return "\n".join(own["line"] for own in records)


def _audit(records: Sequence[Record], options: Options) -> str:
    return "\n".join(map(_audit_line, records))


def _audit_line(own: Record) -> str:
    # What a change was begins with its verb.
    deed = own["what"] if own["call"] in ("create", "modify", "delete") else f"{own['call']} {own['what']}".rstrip()
    return f"{own['number']} {own['time']} {own['user']} from {own['from']}: {deed}: {own['result']}"


def _selectors(records: Sequence[Record], options: Options) -> str:
    rows = [
        [
            _short(own["name"]),
            own["direction"],
            str(own["order"]),
            own["source"],
            own["destination"],
            _short(own["ipsec_policy"]),
            ", ".join(map(_short, own["sas"])) or ("none: packets are dropped" if own["active"] else "not in use"),
            number(own["packets"], options),
            number(own["bytes"], options),
            moment(own["last_use"]),
        ]
        for own in records
    ]
    header = ["Name", "Dir", "Order", "Source", "Destination", "Policy", "SAs", "Packets", "Bytes", "Last use"]
    return table("Net::Ipsec::Traffic Selector", header, rows, left=7)


def _selves(records: Sequence[Record], options: Options) -> str:
    rows = [[_short(own["name"]), own["address"], _short(own["vlan"]), own["state"]] for own in records]
    return table("Net::Self IP", ["Name", "Address", "VLAN", "State"], rows, left=4)


def _vlans(records: Sequence[Record], options: Options) -> str:
    rows = [
        [
            _short(own["name"]),
            str(own["tag"]),
            " ".join(own["interfaces"]),
            own["mac"] or "-",
            own["state"],
            str(own["mtu"]),
        ]
        for own in records
    ]
    return table("Net::Vlan", ["Name", "Tag", "Interfaces", "MAC", "State", "MTU"], rows, left=5)


def _routes(records: Sequence[Record], options: Options) -> str:
    rows = [
        [_short(own["name"]), own["destination"], own["type"], _short(own["next_hop"]), own["origin"]]
        for own in records
    ]
    return table("Net::Routes", ["Name", "Destination", "Type", "NextHop", "Origin"], rows, left=5)


def _counters(title: str) -> Callable[[Sequence[Record], Options], str]:
    """A layout of named counters, one on each line."""

    def lay_out(records: Sequence[Record], options: Options) -> str:
        rows = [[word.replace("_", " ").capitalize(), number(count, options)] for word, count in records[0].items()]
        return table(title, ["Counter", "Value"], rows)

    return lay_out


def _cli_version(records: Sequence[Record], options: Options) -> str:
    own = records[0]
    rows = [("Active", own["active"]), ("Latest", own["latest"]), ("Supported", " ".join(own["supported"]))]
    return "\n".join([*titled("Cli::Version"), *(f"{word:<10} {value}" for word, value in rows)])


def _virtual_addresses(records: Sequence[Record], options: Options) -> str:
    rows = [
        [
            _short(own["name"]),
            "enabled" if own["enabled"] else "disabled",
            number(own["packets"], options),
            number(own["bytes"], options),
        ]
        for own in records
    ]
    return table("Ltm::Virtual Address", ["Address", "State", "Packets", "Bytes"], rows, left=2)


def _short(name: str) -> str:
    return relative(name, COMMON)


LAYOUTS: Mapping[str, Callable[[Sequence[Record], Options], str]] = {
    "cli version": _cli_version,
    "ltm virtual-address": _virtual_addresses,
    "net ike-evt-stat": _counters("Net::IKE Events"),
    "net ike-msg-stat": _counters("Net::IKE Messages"),
    "net ipsec traffic-selector": _selectors,
    "net route": _routes,
    "net self": _selves,
    "net vlan": _vlans,
    "sys clock": _clock,
    "sys hardware": _hardware,
    "sys license": _license,
    "sys log": _log,
    "sys log audit": _audit,
    "sys log ipsec": _log_lines,
    "sys mcp-state": _mcp_state,
}
