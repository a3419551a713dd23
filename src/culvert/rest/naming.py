"""Words of the model as iControl REST writes them: property names, object names in addresses, kinds, links."""

import re
from functools import lru_cache
from urllib.parse import quote, unquote

from culvert.model.kind import Kind, Naming, Path
from culvert.model.names import COMMON

API_LEVEL = "17.1.0"
"""The vendor's release whose answers these are like: what clients find behind `ver=` and choose their ways by."""

LOCALHOST = "https://localhost"
TM = "/mgmt/tm"
WORDS_KEPT = 4096
_HYPHEN = re.compile(r"-([a-z0-9])")


@lru_cache(WORDS_KEPT)
def camel(word: str) -> str:
    """`auth-key-encrypted` as `authKeyEncrypted`."""
    return _HYPHEN.sub(lambda found: found[1].upper(), word)


def link(path: str, options: str = "") -> str:
    """A selfLink: always of localhost, whatever host was asked."""
    return f"{LOCALHOST}{path}?{f'options={options}&' if options else ''}ver={API_LEVEL}"


def collection_path(path: Path) -> str:
    """`/mgmt/tm/net/ipsec/ipsec-policy`."""
    return f"{TM}/{'/'.join(path)}"


def object_path(kind: Kind, name: str, *, short: bool = False) -> str:
    """Where an object is: its full name with ~ for /, or the short name that it was asked by."""
    base = collection_path(kind.path)
    if kind.naming is Naming.SINGLE:
        return base
    own = name.rpartition("/")[2] if short else name.replace("/", "~")
    return f"{base}/{quote(own, safe='~:%')}"


def object_name(segment: str) -> str:
    """The name in one segment of an address, unquoted: `~Common~x` is /Common/x."""
    return unquote(segment).replace("~", "/")


def is_pattern(name: str) -> bool:
    """Whether tmsh would take a name for several: in an address it stands for one thing, and nothing is called so."""
    return name == "all" or any(character in name for character in "*?[")


def state(path: Path, ending: str = "state") -> str:
    """The `kind` of an answer: `tm:net:self:selfstate`."""
    return f"tm:{':'.join(path)}:{path[-1]}{ending}"


def parts(name: str) -> dict[str, str]:
    """name, partition, subPath and fullPath of a full name; of a bare one name and fullPath."""
    if not name.startswith("/"):
        return {"name": name, "fullPath": name}
    partition, *folders, last = name.split("/")[1:] if name.count("/") > 1 else (name[1:], "")
    found = {"name": last, "partition": partition}
    if folders:
        found["subPath"] = "/".join(folders)
    return found | {"fullPath": name}


def full_name(body_name: str, partition: str | None, sub_path: str | None) -> str:
    """The full name that a body asks for by name, partition and subPath."""
    if body_name.startswith("/"):
        return body_name
    folder = f"/{partition.strip('/')}" if partition else COMMON
    return "/".join([folder, *([sub_path.strip("/")] if sub_path else []), body_name])
