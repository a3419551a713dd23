"""How `show` looks: records in, the vendor's layouts out."""

import itertools
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from culvert.model.names import COMMON, relative
from culvert.model.shows import IPSEC_SA
from culvert.model.tokens import quote
from culvert.tmsh import host_format
from culvert.tmsh.table import Options, moment, number, table

Record = Mapping[str, Any]
RULE = 77
STAT_RULE = 67
SA_TITLE = "IPsec::SecurityAssociations"
"""How long the rules of the manual's samples are, whatever stands between them."""


def lay_out(what: str, records: Sequence[Record], options: Options) -> str:
    """The text of `show <what>`; with the option json, the records themselves, with field-fmt those in braces."""
    return "\n".join(pieces(what, [records], options))


def pieces(what: str, parts: Iterable[Sequence[Record]], options: Options) -> Iterator[str]:
    """The same by lines that belong together, of records that come in parts: the first as soon as one is there."""
    if "json" in options:
        return _json_pieces(parts)
    if "field-fmt" in options:
        numbers = itertools.count()
        return ("\n".join(_fields(what, next(numbers), own) for own in records) for records in parts)
    if what == IPSEC_SA:
        return _ipsec_sa(parts, options)
    return iter([LAYOUTS[what]([own for records in parts for own in records], options)])


def _json_pieces(parts: Iterable[Sequence[Record]]) -> Iterator[str]:
    """As json.dumps writes a list, which has a comma behind each item but the last."""
    held = ""
    for records in parts:
        made = [textwrap.indent(json.dumps(own, indent=2), "  ") for own in records]
        if made:
            yield "[" if not held else f"{held},"
            held = ",\n".join(made)
    yield from (held, "]") if held else ("[]",)


def _fields(what: str, number: int, own: Record) -> str:
    """One record in braces, a field on each line, as scripts search for them."""
    head = f"{what} {quote(str(own.get('name', number)))}"
    lines = [line for word, value in sorted(own.items()) if word != "name" for line in _field(word, value)]
    return "\n".join([f"{head} {{", *(f"    {line}" for line in lines), "}"])


def _field(word: str, value: Any) -> Iterator[str]:
    head = word.replace("_", "-")
    if isinstance(value, Mapping):
        yield f"{head} {{"
        yield from (f"    {line}" for key, inner in value.items() for line in _field(str(key), inner))
        yield "}"
    elif isinstance(value, list | tuple):
        yield f"{head} {{ {' '.join(quote(str(item)) for item in value)} }}" if value else f"{head} none"
    elif isinstance(value, bool):
        yield f"{head} {'yes' if value else 'no'}"
    else:
        yield f"{head} {'none' if value is None or value == '' else quote(str(value))}"


def _ipsec_sa(parts: Iterable[Sequence[Record]], options: Options) -> Iterator[str]:
    total = 0
    for records in parts:
        # The title not before there are records: it is no beginning for an error.
        lines = [] if total else [SA_TITLE]
        for own in records:
            lines += _sa_details(own) if "all-properties" in options else [_sa_line(own)]
        total += len(records)
        if records:
            yield "\n".join(lines)
    yield f"Total records returned: {total}" if total else f"{SA_TITLE}\nTotal records returned: 0"


def _sa_line(own: Record) -> str:
    return (
        f"{own['source']} -> {own['destination']} SPI(0x{own['spi']:x}) "
        f"{own['direction']} {own['protocol']} (tmm: {own['tmm']})"
    )


def _sa_details(own: Record) -> list[str]:
    last_use, created = f"  Last use: {moment(own['last_use'])}", f"Create: {moment(own['created'])}"
    lines = [
        f"{own['source']} -> {own['destination']}",
        "-" * RULE,
        f"  tmm: {own['tmm']}",
        f"  Direction: {own['direction']};  SPI: 0x{own['spi']:x}({own['spi']});  "
        f"ReqID: 0x{own['reqid']:x}({own['reqid']})",
        f"  Protocol: {own['protocol']};  Mode: {own['mode']};  State: {own['state']}",
        *_sa_algorithms(own),
        f"  Current Usage: {own['bytes']} bytes",
        f"  Hard lifetime: {_lifetime(own['hard_lifetime'])}",
        f"  Soft lifetime: {_lifetime(own['soft_lifetime'])}",
        f"  Replay window size: {own['replay_window']}",
        last_use + created.rjust(RULE - len(last_use)),
        f"  Name: {relative(own['name'], COMMON)};  Packets: {own['packets']};  Sequence: {own['sequence']}",
        f"  {_sa_path(own)}",
    ]
    if own["drops"]:
        lines.append("  Drops: " + ", ".join(f"{word} {count}" for word, count in own["drops"].items()))
    return lines


def _sa_algorithms(own: Record) -> list[str]:
    if own["combined"]:
        return [f"  Authenticated Encryption : {own['encryption']}"]
    lines = [] if own["protocol"] == "ah" else [f"  Encryption : {own['encryption']}"]
    return [*lines, f"  Authentication : {own['authentication']}"]


def _lifetime(left: Record) -> str:
    seconds, octets, packets = ("unlimited" if left[unit] is None else left[unit] for unit in left)
    text = f"{seconds} seconds; {octets} bytes"
    return text if left["packets"] is None else f"{text}; {packets} packets"


def _sa_path(own: Record) -> str:
    """What the vendor doesn't print: the way that the packets take."""
    words = [f"Path MTU: {own['path_mtu'] or 'unknown'}"]
    if own["direction"] == "in":
        words.append(f"Lost: {own['lost']}")
    if own["encapsulation"]:
        words.append("UDP: {}->{}".format(*own["encapsulation"]))
    words += ["Compression: deflate"] if own["compression"] else []
    words += ["Extended sequence numbers"] if own["esn"] else []
    return ";  ".join(words)


def _ike_sa(records: Sequence[Record], options: Options) -> str:
    rule = "-" * len("IKE::SecurityAssociations")
    return "\n".join([rule, "IKE::SecurityAssociations", rule, "Total records returned: 0"])


def _ipsec_stat(records: Sequence[Record], options: Options) -> str:
    columns = ("packets_in", "bytes_in", "packets_out", "bytes_out")
    rows = [[str(own["worker"]), own["mode"], *(number(own[column], options) for column in columns)] for own in records]
    header = ["Cmd Id", "Mode", "Packets In", "Bytes In", "Packets Out", "Bytes Out"]
    return table("Net::Ipsec", header, rows, left=2, rule=STAT_RULE)


def _drops(records: Sequence[Record], options: Options) -> str:
    rows = [
        [own["reason"], number(own["packets"], options), moment(own["when"]), own["last"] or "-"] for own in records
    ]
    lines = [table("Net::Ipsec::Drops", ["Reason", "Packets", "Last", "Last packet"], rows)]
    for own in records:
        lines += [f"{own['reason']}: {own['sentence']}", f"  try: {own['hint']}"]
    return "\n".join(lines)


def _virtual(records: Sequence[Record], options: Options) -> str:
    rows = [
        [
            relative(own["name"], COMMON),
            "enabled" if own["enabled"] else "disabled",
            relative(own["destination"], COMMON),
            number(own["packets"], options),
            number(own["bytes"], options),
        ]
        for own in records
    ]
    return table("Ltm::Virtual Server", ["Name", "State", "Destination", "Packets", "Bytes"], rows, left=3)


def _interface(records: Sequence[Record], options: Options) -> str:
    rows = [[own["name"], own["state"], own["mac"] or "-", str(own["mtu"])] for own in records]
    return table("Net::Interface", ["Name", "Status", "MAC", "MTU"], rows, left=3)


def _version(records: Sequence[Record], options: Options) -> str:
    own = records[0]
    rows = [
        ("Product", own["product"]),
        ("Version", own["version"]),
        ("Build", own["build"]),
        ("Edition", own["edition"]),
        ("Date", own["date"]),
        ("Engine", own["engine"]),
        ("Workers", str(own["workers"])),
    ]
    title = "Sys::Version"
    lines = ["-" * len(title), title, "-" * len(title), own["title"]]
    lines += [f"  {word:<8} {value}" for word, value in rows]
    return "\n".join([*lines, *(f"  Note     {note}" for note in own["notes"])])


def _tmm_info(records: Sequence[Record], options: Options) -> str:
    lines = ["--------", "Sys::TMM", "--------"]
    for own in records:
        lines += [
            f"TMM: {own['tmm']}",
            f"  State    {own['state']}",
            f"  Process  {own['process'] or '-'}",
            f"  Engine   {own['engine']}",
            f"  ESP by   {own['doors'] or '-'}",
            *_journal(own["journal"]),
        ]
    events = records[0]["events"] if records else []
    return "\n".join([*lines, *(f"  {moment(event['when'])}  {event['what']}" for event in events)])


def _journal(own: Record | None) -> Iterator[str]:
    if own is None:
        yield "  Counter journal: none, so no counter modes"
        return
    yield f"  Counter journal: {own['path']}"
    yield f"    Writable      {'yes' if own['writable'] else 'no: ' + own['trouble']}"
    yield f"    Last written  {moment(own['written'])}"
    if own["short"]:
        yield f"    Short of numbers: {', '.join(relative(name, COMMON) for name in own['short'])}"
    if own["doubt"]:
        yield f"    In doubt      {own['doubt']}"


LAYOUTS: Mapping[str, Callable[[Sequence[Record], Options], str]] = {
    IPSEC_SA: lambda records, options: "\n".join(_ipsec_sa([records], options)),
    "net ipsec ike-sa": _ike_sa,
    "net ipsec-stat": _ipsec_stat,
    "net ipsec drops": _drops,
    "net interface": _interface,
    "ltm virtual": _virtual,
    "sys tmm-info": _tmm_info,
    "sys version": _version,
    **host_format.LAYOUTS,
}
