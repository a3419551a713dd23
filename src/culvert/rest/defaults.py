"""Properties that the vendor's objects have and Culvert's have not: each stands at one value and can't leave it.

Clients send them, and compare what comes back with what they want. They are shown, taken when they say what is so
anyway, and refused by name otherwise: a client that asks for more is told, not left to believe that it has it.
"""

from collections.abc import Mapping
from typing import Any

from culvert.control.errors import InvalidConfiguration, SyntaxProblem
from culvert.model.fields import NONE
from culvert.model.kind import Path
from culvert.rest import naming

Json = Any

# house: table
STANDING: Mapping[Path, Mapping[str, Json]] = {
    ("ltm", "virtual"): {
        "addressStatus": "yes",
        "autoLasthop": "default",
        "cmpEnabled": "yes",
        "connectionLimit": 0,
        "gtmScore": 0,
        "mirror": "disabled",
        "mobileAppTunnel": "disabled",
        "nat64": "disabled",
        "rateLimit": "disabled",
        "rateLimitDstMask": 0,
        "rateLimitMode": "object",
        "rateLimitSrcMask": 0,
        "serviceDownImmediateAction": "none",
        "serversslUseSni": "disabled",
        "sourceAddressTranslation": {"type": "none"},
        "synCookieStatus": "not-activated",
    },
    ("net", "route-domain"): {"connectionLimit": 0, "throughputCapacity": "infinite"},
    ("net", "self"): {
        "addressSource": "from-user",
        "floating": "disabled",
        "inheritedTrafficGroup": "false",
        "unit": 0,
    },
    ("net", "vlan"): {
        "autoLasthop": "default",
        "cmpHash": "default",
        "dagRoundRobin": "disabled",
        "dagTunnel": "outer",
        "failsafe": "disabled",
        "failsafeAction": "failover-restart-tm",
        "failsafeTimeout": 90,
        "fwdMode": "l3",
        "hardwareSyncookie": "disabled",
        "learning": "enable-forward",
        "sflow": {
            "pollInterval": 0,
            "pollIntervalGlobal": "yes",
            "samplingRate": 0,
            "samplingRateGlobal": "yes",
        },
        "sourceChecking": "disabled",
        "synFloodRateLimit": 1000,
        "syncacheThreshold": 6000,
    },
}
"""Shown with every object of the kind."""

ABSENT: Mapping[Path, frozenset[str]] = {
    ("ltm", "virtual"): frozenset(
        {
            *("clonePools", "fallbackPersistence", "fwEnforcedPolicy", "fwStagedPolicy", "ipIntelligencePolicy"),
            *("perFlowRequestAccessPolicy", "persist", "policies", "pool", "rules"),
            *("securityLogProfiles", "securityNatPolicy"),
        }
    ),
    ("net", "route"): frozenset({"pool"}),
    ("net", "self"): frozenset({"fwEnforcedPolicy", "fwStagedPolicy", "servicePolicy"}),
}
"""Not shown, as the vendor shows them only when they are set; taken when they say that there is none."""

MEASURED: Mapping[Path, frozenset[str]] = {
    ("ltm", "virtual"): frozenset({"creationTime", "lastModifiedTime", "vsIndex"}),
    ("net", "vlan"): frozenset({"ifIndex"}),
}
"""Read only at the vendor's: whatever is sent says nothing."""

MARKS: Mapping[Path, frozenset[str]] = {("ltm", "virtual"): frozenset({"metadata"})}
"""Notes of clients to themselves, without effect on anything: taken, and not kept."""

OF_MEMBERS: Mapping[str, Mapping[str, Json]] = {"profiles": {"context": "all"}}
"""The same for members, by the property that they are of."""

WITHOUT_MEMBERS: Mapping[Path, tuple[str, ...]] = {("ltm", "virtual"): ("policies",)}
"""Sub-collections of an object that clients look into, and that never hold anything here."""

EMPTY: frozenset[Path] = frozenset(
    {
        *(("ltm", word) for word in ("data-group", "monitor", "node", "policy", "pool", "rule", "snatpool")),
        *(("ltm", "profile", word) for word in ("client-ssl", "diameter", "fasthttp", "http", "server-ssl", "sip")),
        *(("ltm", "profile", word) for word in ("tcp", "udp")),
        ("ltm", "message-routing", "diameter", "profile", "session"),
        ("ltm", "message-routing", "sip", "profile", "session"),
        ("net", "trunk"),
        *(("cm", word) for word in ("device-group", "traffic-group")),
        ("ltm", "data-group", "internal"),
        *(("ltm", "monitor", word) for word in ("external", "gateway-icmp", "http", "https", "icmp", "tcp")),
        ("ltm", "monitor", "tcp-half-open"),
        ("ltm", "profile", "one-connect"),
        ("sys", "application", "service"),
        *(("sys", "file", word) for word in ("ssl-cert", "ssl-key")),
        *(("sys", word) for word in ("management-route", "ucs")),
        *(("sys", "software", word) for word in ("hotfix", "image", "volume")),
    }
)
"""Collections that clients look through for what a forwarding gateway has none of."""

BARE: frozenset[Path] = frozenset({("sys", "syslog")})
"""Settings that clients look at, and of which nothing is set here or could be."""


def check(path: Path, key: str, value: Json) -> None:
    """Pass what says what is so anyway. Raises SyntaxProblem for a word that is nobody's, InvalidConfiguration."""
    word = naming.camel(key)
    if word in MEASURED.get(path, ()) or word in MARKS.get(path, ()):
        return
    if word in ABSENT.get(path, ()):
        if value not in (None, "", NONE, [], {}):
            raise InvalidConfiguration(f'there is no "{key}" here; allowed: none')
        return
    _check_against(STANDING.get(path, {}), word, key, value, f'"{key}" unknown property')


def check_member(word: str, key: str, value: Json) -> None:
    """The same for a property of a member."""
    _check_against(OF_MEMBERS.get(word, {}), naming.camel(key), key, value, f'"{key}" unknown property of {word}')


def _check_against(standing: Mapping[str, Json], word: str, key: str, value: Json, unknown: str) -> None:
    if word not in standing:
        raise SyntaxProblem(unknown)
    if not _says(standing[word], value):
        raise InvalidConfiguration(f'"{key}" is {_shown(standing[word])} here and cannot be changed')


def _says(own: Json, value: Json) -> bool:
    """Whether a value says the same as `own`, which may be of several parts, some of them given."""
    if isinstance(own, Mapping):
        return isinstance(value, Mapping) and all(
            _says(own.get(naming.camel(key)), inner) for key, inner in value.items()
        )
    if isinstance(value, bool):
        value = "enabled" if value else "disabled"
    return str(value) == str(own)


def _shown(own: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in own.items()) if isinstance(own, Mapping) else str(own)
