"""Counters and states as nestedStats, and displays that have tmsh's text alone."""

from collections.abc import Mapping
from typing import Any

from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, Request, not_allowed
from culvert.rest.resources import Place
from culvert.rest.terminal import Terminal

Json = Any
SHOWN = {
    ("ltm", "virtual"),
    ("net", "interface"),
    ("net", "ipsec", "traffic-selector"),
    ("net", "route"),
    ("net", "self"),
    ("net", "vlan"),
}
"""Kinds that a show tells more of than list does."""
TEXTS = {("net", "ipsec", "ipsec-sa"), ("net", "ipsec", "ike-sa"), ("sys", "hardware"), ("sys", "license")}
RECORDS = {("net", "ipsec-stat"), ("net", "ipsec", "drops"), ("sys", "tmm-info")}
SIDE = ("bitsIn", "bitsOut", "curConns", "evictedConns", "maxConns", "pktsIn", "pktsOut", "slowKilled", "totConns")
SYNCOOKIES = (
    *("accepts", "hwAccepts", "hwSyncookies", "hwsyncookieInstance", "rejects", "swsyncookieInstance"),
    *("syncacheCurr", "syncacheOver", "syncookies"),
)
RATIOS = ("fiveMinAvgUsageRatio", "fiveSecAvgUsageRatio", "oneMinAvgUsageRatio")
DURATIONS = ("csMaxConnDur", "csMeanConnDur", "csMinConnDur")
TITLES = {"worker": "tmm", "protocol": "proto"}


class Statistics:
    """Answers `.../stats` and the displays that are no objects."""

    def __init__(self, door: Door, terminal: Terminal) -> None:
        self._door = door
        self._terminal = terminal

    def knows(self, path: tuple[str, ...]) -> bool:
        """Whether a display has this path behind /mgmt/tm."""
        bare = path[:-1] if path[-1:] == ("stats",) else path
        return bare in TEXTS or bare in RECORDS

    def display(self, request: Request, path: tuple[str, ...]) -> Answer:
        """A display. Raises ControlError or BadRequest."""
        if request.method != "GET":
            raise not_allowed(request, "GET")
        bare = path[:-1] if path[-1:] == ("stats",) else path
        options = request.query.get("options", "")
        link = naming.link(request.path, options)
        if bare in TEXTS:
            text = self._terminal.run(request, f"show {' '.join(bare)} {options}".strip())
            kind = naming.state(bare, "stats")
            return Answer({"kind": kind, "selfLink": link, "apiRawValues": {"apiAnonymous": text}})
        return Answer(_nested(bare, link, self._show(request, bare, {})))

    def of_place(self, request: Request, where: Place) -> Answer:
        """`<collection>/stats` or `<object>/stats`."""
        if request.method != "GET":
            raise not_allowed(request, "GET")
        path = where.kind.path
        if path in SHOWN:
            filters = {"names": [where.name]} if where.name else {}
            found = [own | _vendors(path, own) for own in self._show(request, path, filters)]
        else:
            args: dict[str, Json] = {"kind": where.kind.word, "folder": "/", "recursive": True}
            args |= {"names": [where.name]} if where.name else {}
            listed = self._door.call(request.credentials(), "list", **args)
            found = [{"name": own["name"]} for own in listed if own["kind"] == where.kind.word]
        # Clients tell by the kind whether one object or all of a collection come back.
        ending = "collectionstats" if where.name is None else "stats"
        return Answer(_nested(path, naming.link(request.path), found, ending))

    def _show(self, request: Request, path: tuple[str, ...], filters: Mapping[str, Json]) -> list[dict[str, Json]]:
        found = self._door.call(request.credentials(), "show", what=" ".join(path), filters=filters)
        return list(found)


def _vendors(path: tuple[str, ...], own: Mapping[str, Json]) -> dict[str, Json]:
    """Counters by the vendor's names, which clients index by; a forwarder has no connections to count."""
    if path == ("net", "vlan"):
        return {"macTrue": own["mac"] or "none", "id": own["tag"], "tmName": own["name"]}
    if path != ("ltm", "virtual"):
        return {}
    zero = [f"{side}.{word}" for side in ("clientside", "ephemeral") for word in SIDE]
    zero += [f"syncookie.{word}" for word in SYNCOOKIES]
    counted = {"clientside.pktsIn": own["packets"], "clientside.bitsIn": 8 * own["bytes"]}
    enabled = own["enabled"] in (True, "enabled")
    return dict.fromkeys((*zero, *RATIOS, *DURATIONS, "totRequests"), 0) | counted | {
        "cmpEnableMode": "all-cpus",
        "status.availabilityState": "unknown",
        "status.enabledState": "enabled" if enabled else "disabled",
        "status.statusReason": "A forwarding virtual server has no pool to look after",
        "syncookieStatus": "not-activated",
        "tmName": own["name"],
    }


def _nested(path: tuple[str, ...], link: str, records: list[dict[str, Json]], ending: str = "stats") -> dict[str, Json]:
    base = f"{naming.LOCALHOST}{naming.collection_path(path)}"
    entries = {
        f"{base}/{str(record.get('name', index)).replace('/', '~')}/stats": {
            "nestedStats": {"entries": {_title(key): _entry(value) for key, value in record.items()}}
        }
        for index, record in enumerate(records)
    }
    return {"kind": naming.state(path, ending), "selfLink": link, "entries": entries}


def _title(key: str) -> str:
    return TITLES.get(key) or naming.camel(key.replace("_", "-"))


def _entry(value: Json) -> dict[str, Json]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"value": value}
    if isinstance(value, Mapping):
        return {"nestedStats": {"entries": {_title(str(key)): _entry(inner) for key, inner in value.items()}}}
    if isinstance(value, list):
        return {"description": ", ".join(str(each) for each in value) or "none"}
    words = {True: "enabled", False: "disabled", None: "none"}
    return {"description": words[value] if value is None or isinstance(value, bool) else str(value)}
