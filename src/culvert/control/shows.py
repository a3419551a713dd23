"""What `list` and `show` tell: records first. A face lays them out."""

import fnmatch
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.control import derived, errors, host_shows, net_shows, release
from culvert.control.resets import COUNTED as RESET
from culvert.control.resets import Resets
from culvert.control.stream import PART_RECORDS, Stream
from culvert.dataplane.plane import JournalState, Observed, SaUsage
from culvert.ipsec.algorithms import cipher_row
from culvert.ipsec.drops import TABLE
from culvert.ipsec.lifetime import Limits
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.model import clear_keys, cli, ltm, net, net_ipsec
from culvert.model.fields import Field
from culvert.model.foreign import FOREIGN, is_program
from culvert.model.kind import Kind, Naming, Object
from culvert.model.names import COMMON, fits, full, is_in
from culvert.model.problems import BadValue, Invalid
from culvert.model.registry import KINDS
from culvert.model.shows import COUNTED, IPSEC_SA, NAMED, NAMES, PROTOCOL, STATIC, filters_of
from culvert.model.values import ROUTE_DOMAIN_MAX, parse_address, parse_number
from culvert.plan.intent import Intent

Json = Any
Record = dict[str, Json]
DROPS = "net ipsec drops"
SELECTED_MOST = 200
SINCE_RESET = (*RESET[IPSEC_SA].name, *RESET[IPSEC_SA].counters)


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that a show may look at. `now` in seconds since the epoch. `is_whole`: nothing was left out of it."""

    snapshot: Snapshot
    intent: Intent
    plane: Observed
    now: float
    events: tuple[tuple[float, str], ...] = ()
    trouble: str = ""
    is_whole: bool = True
    resets: Resets = field(default_factory=Resets)


def show(view: Sight, what: str, filters: Mapping[str, Json], select: Json = None) -> Json:
    """The records behind `show <what>`; with `select`, a list, these words of each alone.

    Raises ControlError for an unknown show or filter.
    """
    check_filters(what, filters)
    words = selected(select)
    made = host_shows.shown(what, filters, view.now, view.trouble)
    if made is not None:
        return made if words is None else [cut(own, words) for own in made]
    make = SHOWS.get(what)
    if make is None:
        raise errors.SyntaxProblem(f'unexpected argument "{what}"')
    records = _ipsec_sa(view, filters, words) if what == IPSEC_SA else make(view, filters)
    found = view.resets.since(what, _chosen(what, records, filters))
    if what == DROPS:
        found = [own for own in found if own["packets"]]
    return found if words is None else [cut(own, words) for own in found]


def selected(words: Json) -> frozenset[str] | None:
    """A list of words, as `select` brings it. Raises SyntaxProblem for anything else."""
    if words is None:
        return None
    if not isinstance(words, list) or len(words) > SELECTED_MOST or not all(isinstance(own, str) for own in words):
        raise errors.SyntaxProblem(f"select: a list of at most {SELECTED_MOST} properties is expected")
    return frozenset(words)


def cut(record: Record, words: Container[str]) -> Record:
    """What of a record, or of its properties, was asked for."""
    return {word: value for word, value in record.items() if word in words}


def only(records: list[Record], select: Json) -> list[Record]:
    """The records of a list, with those properties alone that `select` has; whole without one."""
    words = selected(select)
    if words is None:
        return records
    return [own | {"properties": cut(own["properties"], words)} if "properties" in own else own for own in records]


def _chosen(what: str, records: list[Record], filters: Mapping[str, Json]) -> list[Record]:
    return _named_ones(KINDS[tuple(what.split())], records, filters) if what in NAMED else records


def reset(view: Sight, what: str, filters: Mapping[str, Json]) -> None:
    """What a show tells of the packet process is counted from now on. Raises ControlError as the show does."""
    check_filters(what, filters)
    view.resets.note(what, _chosen(what, SHOWS[what](view, filters), filters))


def to_reset(view: Sight, what: str, names: Json) -> list[str] | None:
    """The virtual servers whose counters a reset is asked of; None for all counters that there are.

    Raises SyntaxProblem for what has none.
    """
    if not what:
        return None
    if what != " ".join(ltm.VIRTUAL):
        if what not in COUNTED:
            raise errors.SyntaxProblem(f'unexpected argument "{what.split()[-1]}"')
        return []  # Nothing negotiates keys here, so these are zero.
    chosen = {own["name"] for own in _named_ones(ltm.VIRTUAL_KIND, _virtual(view, {}), {NAMES: names or []})}
    return [own.label for own in view.intent.forwarders if own.label in chosen]


def check_filters(what: str, filters: Mapping[str, Json]) -> None:
    """Raises SyntaxProblem for a filter that this show doesn't have."""
    for word in filters:
        if word not in filters_of(what):
            raise errors.SyntaxProblem(f'unexpected argument "{word}"')


def _named_ones(kind: Kind, records: list[Record], filters: Mapping[str, Json]) -> list[Record]:
    """Those of the records whose names the filter `names` has. Raises NotFound for a name that nothing has."""
    names = filters.get(NAMES)
    if not names:
        return records
    if kind.path == net.ROUTE and names == [STATIC]:
        return [own for own in records if own["origin"] == STATIC]
    wanted = [str(name) if kind.naming is Naming.PLAIN else full(str(name)) for name in names]
    for name in wanted:
        if not fnmatch.filter([own["name"] for own in records], name):
            raise errors.NotFound(kind.title, name)
    return [own for own in records if any(fnmatch.fnmatchcase(own["name"], name) for name in wanted)]


def objects(
    snapshot: Snapshot, plane: Observed, kind: Kind, names: Sequence[str] | None, args: Mapping[str, Json]
) -> Iterator[Record]:
    """The objects of a kind that `names` (names or globs) choose, as {kind, name, properties, kept}.

    Without names: those of `folder` in `args`, with `recursive` those below it too; all when no folder is given.
    """
    if names is None or kind.naming is Naming.SINGLE:
        yield from _all(snapshot, plane, kind, args)
        return
    found, make = snapshot.objects.get(kind.path, {}), _maker(kind, args)
    links = _unconfigured(snapshot, plane, kind)
    for name in names:
        folder = str(args.get("folder") or COMMON)
        glob = any(c in name for c in "*?[")
        chosen = _fitting(kind, {*found, *links}, name, folder, args) if glob else [_stored_name(kind, name, folder)]
        for own in chosen:
            if own not in found and own not in links:
                raise errors.NotFound(kind.title, own)
            yield make(found[own]) if own in found else links[own]


def _fitting(kind: Kind, names: Iterable[str], glob: str, folder: str, args: Mapping[str, Json]) -> Iterator[str]:
    """The stored names that a glob means in `folder`."""
    loose, recursive = kind.naming is Naming.LOOSE, bool(args.get("recursive"))
    for name in sorted(names):
        if kind.naming in (Naming.FOLDER, Naming.LOOSE):
            if fits(name, glob, folder, loose=loose, recursive=recursive):
                yield name
        elif fnmatch.fnmatchcase(name, glob):
            yield name


def _all(snapshot: Snapshot, plane: Observed, kind: Kind, args: Mapping[str, Json]) -> Iterator[Record]:
    make = _maker(kind, args)
    found = {own.name: make(own) for own in snapshot.all(kind.path) if _stands_in(kind, own.name, args)}
    others = _unconfigured(snapshot, plane, kind)
    found = {name: own for name, own in others.items() if _stands_in(kind, name, args)} | found
    chosen = sorted(found)
    yield from (found[name] for name in chosen[: args.get("limit", len(chosen))])


def _maker(kind: Kind, args: Mapping[str, Json]) -> Callable[[Object], Record]:
    """What makes a record as `names_only` or `select` want it."""
    if args.get("names_only"):
        return named
    words = selected(args.get("select"))
    return record if words is None else partial(record, fields=[own for own in kind.fields if own.word in words])


def record(own: Object, fields: Sequence[Field] | None = None) -> Record:
    """An object as `list` gives it to a face; what is kept of a vendor's file without its keys in clear.

    `fields`: those of the properties that are wanted; all by default.
    """
    made: Record = {"kind": own.kind.word, "name": own.name, "properties": own.shown(fields)}
    if own.kind.path == FOREIGN and "text" in made["properties"] and not is_program(own.name.split()):
        made["properties"]["text"] = clear_keys.hide(made["properties"]["text"])
    return made | {"kept": [clear_keys.hide(line) for line in own.kept]} if own.kept else made


def named(own: Object) -> Record:
    """An object by its name alone."""
    return {"kind": own.kind.word, "name": own.name}


def _unconfigured(snapshot: Snapshot, plane: Observed, kind: Kind) -> dict[str, Record]:
    """What there is of a kind though nobody configured it: links of the host, and what follows from other objects."""
    if kind.derived:
        return derived.records(snapshot, kind)
    return _host_links(plane, kind) if kind.path == net.INTERFACE else {}


def _stands_in(kind: Kind, name: str, args: Mapping[str, Json]) -> bool:
    folder = args.get("folder")
    if folder is None or kind.naming not in (Naming.FOLDER, Naming.LOOSE):
        return True
    loose = kind.naming is Naming.LOOSE
    return is_in(name, str(folder), loose=loose, recursive=bool(args.get("recursive")))


def _stored_name(kind: Kind, name: str, folder: str) -> str:
    try:
        return kind.full_name(name, folder)
    except Invalid:
        raise errors.NotFound(kind.title, name) from None


def _host_links(plane: Observed, kind: Kind) -> dict[str, Record]:
    defaults = {own.word: own.type.raw(own.default) for own in kind.fields}
    return {link.name: {"kind": kind.word, "name": link.name, "properties": defaults} for link in plane.links()}


def chosen_sas(view: Sight, filters: Mapping[str, Json]) -> list[SecurityAssociation]:
    """The SAs that the filters of `show net ipsec ipsec-sa` leave, by label. Raises SyntaxProblem for others."""
    check_filters(IPSEC_SA, filters)
    chosen = list(view.intent.sas)
    for word, value in filters.items():
        accepts = _filter(view, word, str(value))
        chosen = [sa for sa in chosen if accepts(sa)]
    return chosen


def streamed(view: Sight, what: str, filters: Mapping[str, Json], select: Json = None) -> Stream | None:
    """The records of `show net ipsec ipsec-sa` in parts, as `show` gives them; None for any other show."""
    if what != IPSEC_SA:
        return None
    chosen, words = chosen_sas(view, filters), selected(select)
    return Stream(len(chosen), _sa_parts(view, chosen, words))


def _sa_parts(view: Sight, sas: Sequence[SecurityAssociation], words: frozenset[str] | None) -> Iterator[list[Record]]:
    made = _made(words)
    for start in range(0, len(sas), PART_RECORDS):
        usage = view.plane.usage(sas[start : start + PART_RECORDS])
        found = view.resets.since(IPSEC_SA, (_sa_record(view, own, made) for own in usage))
        yield found if words is None else [cut(own, words) for own in found]


def _filter(view: Sight, word: str, value: str) -> Callable[[SecurityAssociation], bool]:
    """Whether an SA is what a filter says. All of them are in route domain 0: the plane has no other."""
    try:
        if word == PROTOCOL:
            return lambda sa: sa.protocol.name.lower() == value
        if word == "spi":
            spi = int(value, 0)
            return lambda sa: sa.spi == spi
        if word in ("src-addr", "dst-addr", "peer-ip"):
            address = parse_address(value, any_allowed=False)
            own = attrgetter("source" if word == "src-addr" else "destination")
            return lambda sa: not address.route_domain and own(sa) == address.ip
        if word == "route-domain":
            domain = _route_domain(value)
            return lambda sa: not domain
    except (ValueError, BadValue):
        raise errors.SyntaxProblem(f'"{value}" is not allowed for {word}') from None
    name = full(value)
    if view.snapshot.get(net_ipsec.SELECTOR, name) is None:
        raise errors.NotFound(net_ipsec.TRAFFIC_SELECTOR_KIND.title, name)
    reqids = {policy.reqid for policy in view.intent.policies if policy.label == name}
    return lambda sa: sa.reqid in reqids


def _route_domain(value: str) -> int:
    """The number of a route domain that is written as a number, or by name. Raises ValueError."""
    number = parse_number(value.removeprefix(COMMON + "/"))
    if not 0 <= number <= ROUTE_DOMAIN_MAX:
        raise ValueError(value)
    return number


def _ike_sa(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    """There are none, with manual keys only. Filters have to make sense all the same."""
    for word, value in filters.items():
        if word != "peer-name":
            _filter(view, word, str(value))
    return []


def _ipsec_sa(view: Sight, filters: Mapping[str, Json], words: frozenset[str] | None = None) -> list[Record]:
    made = _made(words)
    return [_sa_record(view, own, made) for own in view.plane.usage(chosen_sas(view, filters))]


def _made(words: frozenset[str] | None) -> list[str] | None:
    """Of the words those that there are, and whatever a reset is counted by."""
    return None if words is None else [own for own in SA_WORDS if own in words or own in SINCE_RESET]


def _sa_record(view: Sight, own: SaUsage, words: Iterable[str] | None = None) -> Record:
    """The words of one SA that are wanted; all by default."""
    return {word: SA_WORDS[word](view, own) for word in (SA_WORDS if words is None else words)}


def _left(limits: Limits, own: SaUsage, now: float) -> Record:
    """What is left until the limits are reached; None where there is no limit."""
    used = (("seconds", now - own.created), ("octets", own.life_octets), ("packets", own.life_packets))
    rows = ((unit, getattr(limits, unit), spent) for unit, spent in used)
    return {unit: max(0, math.ceil(limit - spent)) if limit else None for unit, limit, spent in rows}


def _ipsec_stat(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    return [
        {
            "worker": row.worker,
            "mode": row.mode,
            "protocol": row.protocol,
            "packets_in": row.packets_in,
            "bytes_in": row.octets_in,
            "packets_out": row.packets_out,
            "bytes_out": row.octets_out,
        }
        for row in view.plane.worker_stats()
    ]


def _drops(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    return [
        {
            "reason": TABLE[own.reason].word,
            "packets": own.packets,
            "when": own.when,
            "last": own.last,
            "sentence": TABLE[own.reason].sentence,
            "hint": TABLE[own.reason].hint,
        }
        for own in view.plane.drops()
    ]


def _virtual(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    counted = {own.label: own for own in view.plane.forwarder_stats()}
    return [
        {
            "name": own.name,
            "enabled": own["enabled"],
            "destination": str(own["destination"]),
            "packets": counted[own.name].packets if own.name in counted else 0,
            "bytes": counted[own.name].octets if own.name in counted else 0,
        }
        for own in view.snapshot.all(ltm.VIRTUAL)
    ]


def _virtual_address(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    """What the virtual servers of each address let through together."""
    made: dict[str, Record] = {}
    shown = {own["name"]: own for own in _virtual(view, {})}
    for virtual in view.snapshot.all(ltm.VIRTUAL):
        own, name = shown[virtual.name], derived.address_name(virtual)
        row = made.setdefault(name, {"name": name, "enabled": False, "packets": 0, "bytes": 0})
        row["enabled"] |= own["enabled"]
        row["packets"] += own["packets"]
        row["bytes"] += own["bytes"]
    return [made[name] for name in sorted(made)]


def _interface(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    return [
        {"name": link.name, "state": link.state, "mac": link.mac, "mtu": link.mtu}
        for link in sorted(view.plane.links(), key=lambda link: link.name)
    ]


def _version(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    features, own = view.plane.features, release.running()
    return [
        {
            "title": "Main Package",
            "product": "Culvert",
            "version": own.version,
            "build": own.build,
            "edition": own.edition,
            "date": own.date,
            "engine": features.engine,
            "workers": features.workers,
            "notes": [note for note in (view.trouble, *view.intent.notes) if note],
        }
    ]


def _tmm_info(view: Sight, filters: Mapping[str, Json]) -> list[Record]:
    process = view.plane.process_id
    journal = _journal(view.plane.counter_journal(), view.plane.features.journal_doubt)
    return [
        {
            "tmm": worker,
            "process": process,
            "state": "running" if process else "down",
            "engine": view.plane.features.engine,
            "doors": view.plane.features.doors,
            "journal": journal,
            "events": [{"when": when, "what": what} for when, what in view.events],
        }
        for worker in range(view.plane.features.workers)
    ]


def _journal(state: JournalState | None, doubt: str) -> Record | None:
    """The counter journal: null where there is none."""
    if state is None:
        return None
    return {
        "path": state.path,
        "writable": not state.trouble,
        "trouble": state.trouble,
        "written": state.written,
        "short": list(state.short),
        "doubt": doubt,
    }


SA_WORDS: dict[str, Callable[[Sight, SaUsage], Json]] = {
    "name": lambda view, own: own.sa.label,
    "source": lambda view, own: str(own.sa.source),
    "destination": lambda view, own: str(own.sa.destination),
    "spi": lambda view, own: own.sa.spi,
    "direction": lambda view, own: own.sa.direction.value,
    "protocol": lambda view, own: own.sa.protocol.name.lower(),
    "mode": lambda view, own: own.sa.mode.value,
    "state": lambda view, own: own.state.value,
    "tmm": lambda view, own: own.worker,
    "reqid": lambda view, own: own.sa.reqid,
    "encryption": lambda view, own: own.sa.cipher,
    "authentication": lambda view, own: own.sa.auth,
    "combined": lambda view, own: cipher_row(own.sa.cipher).combined,
    "esn": lambda view, own: own.sa.esn,
    "encapsulation": lambda view, own: list(own.sa.encapsulation) if own.sa.encapsulation else None,
    "compression": lambda view, own: "deflate" if own.sa.compression else None,
    "path_mtu": lambda view, own: own.path_mtu or own.sa.path_mtu,
    "hard_lifetime": lambda view, own: _left(own.sa.lifetime.hard, own, view.now),
    "soft_lifetime": lambda view, own: _left(own.sa.lifetime.soft, own, view.now),
    "lost": lambda view, own: own.lost,
    "bytes": lambda view, own: own.octets,
    "packets": lambda view, own: own.packets,
    "sequence": lambda view, own: own.sequence,
    "replay_window": lambda view, own: own.sa.replay_window,
    "window_seen": lambda view, own: f"{own.window:016x}" if own.sa.direction is Direction.IN else None,
    "created": lambda view, own: own.created,
    "last_use": lambda view, own: own.last_use,
    "drops": lambda view, own: {TABLE[reason].word: count for reason, count in sorted(own.drops.items()) if count},
}
"""What `show net ipsec ipsec-sa` tells of each SA."""

SHOWS: dict[str, Callable[[Sight, Mapping[str, Json]], list[Record]]] = {
    "net ipsec ipsec-sa": _ipsec_sa,
    "net ipsec ike-sa": _ike_sa,
    "net ipsec-stat": _ipsec_stat,
    "net ipsec drops": _drops,
    "net interface": _interface,
    "net ipsec traffic-selector": lambda view, filters: net_shows.selectors(view.snapshot, view.intent, view.plane),
    "net route": lambda view, filters: net_shows.routes(view.snapshot),
    "net self": lambda view, filters: net_shows.selves(view.snapshot, view.plane),
    "net vlan": lambda view, filters: net_shows.vlans(view.snapshot, view.plane),
    "net ike-evt-stat": lambda view, filters: [dict.fromkeys(net_shows.IKE_EVENTS, 0)],
    "net ike-msg-stat": lambda view, filters: [dict.fromkeys(net_shows.IKE_MESSAGES, 0)],
    "cli version": lambda view, filters: [
        own["properties"] for own in derived.records(view.snapshot, cli.VERSION_KIND).values()
    ],
    "ltm virtual": _virtual,
    "ltm virtual-address": _virtual_address,
    "sys tmm-info": _tmm_info,
    "sys version": _version,
}
