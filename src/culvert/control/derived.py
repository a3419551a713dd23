"""Objects that nobody configures: they come with others, and go with them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from culvert import __version__
from culvert.config.snapshot import Snapshot
from culvert.control import errors
from culvert.model import cli, ltm
from culvert.model.kind import Kind, Object, Path

Record = dict[str, Any]


def records(snapshot: Snapshot, kind: Kind) -> dict[str, Record]:
    """The objects of a derived kind by name, as `list` gives them to a face."""
    made = DERIVED[kind.path](snapshot)
    return {name: {"kind": kind.word, "name": name, "properties": own} for name, own in made.items()}


def refuse_to_change(snapshot: Snapshot, kind: Kind, verb: str, names: Sequence[str], folder: str) -> None:
    """Raises InvalidConfiguration: what follows from other objects is changed by changing those.

    What is kept of a file may be deleted, unless there is such an object in its place.
    """
    if not kind.derived:
        return
    if verb != "delete" or not records(snapshot, kind).keys().isdisjoint(kind.full_name(own, folder) for own in names):
        raise errors.InvalidConfiguration(f"{kind.word}: {kind.help[0].lower()}{kind.help[1:]}; it can't be changed")


def address_name(virtual: Object) -> str:
    """The name of the address that a virtual server listens on."""
    destination = virtual["destination"]
    domain = destination.address.route_domain
    return f"{destination.folder}/{destination.address.ip}" + (f"%{domain}" if domain else "")


def _version(snapshot: Snapshot) -> Mapping[str, Record]:
    return {"": {"active": __version__, "latest": __version__, "supported": [__version__]}}


def _virtual_addresses(snapshot: Snapshot) -> Mapping[str, Record]:
    found: dict[str, Record] = {}
    for own in snapshot.all(ltm.VIRTUAL):
        address = own["destination"].address
        word = {4: "any", 6: "any6"}[address.ip.version]
        found.setdefault(
            address_name(own),
            {
                "address": word if address.ip.is_unspecified else str(address),
                "arp": "disabled",
                "auto-delete": "true",
                "icmp-echo": "disabled",
                "mask": _mask(own),
            },
        )
    return dict(sorted(found.items()))


def _mask(virtual: Object) -> str:
    """The mask that is meant: a wildcard's is any, and a host needn't give its own."""
    network = ltm.destination_network(virtual)
    return str(virtual["mask"]) if not network.prefixlen else str(network.netmask)


DERIVED: Mapping[Path, Callable[[Snapshot], Mapping[str, Record]]] = {
    cli.VERSION: _version,
    ltm.VIRTUAL_ADDRESS: _virtual_addresses,
}
