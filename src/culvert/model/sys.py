"""`sys ...`: the log publishers and the system's name."""

import re
from collections.abc import Iterator

from culvert.model.fields import Choice, Field, Integer, Members, OneAddress, Text
from culvert.model.kind import Kind, Naming, Object, Path, World
from culvert.model.net_ipsec import DESCRIPTION, PUBLISHER
from culvert.model.problems import Problem
from culvert.model.services import SERVICES

LOCAL_SYSLOG = ("sys", "log-config", "destination", "local-syslog")
REMOTE_SYSLOG = ("sys", "log-config", "destination", "remote-syslog")
GLOBAL_SETTINGS = ("sys", "global-settings")

FOLDER: Path = ("sys", "folder")
DB: Path = ("sys", "db")
VARIABLES = {
    "config.allow.rfc3927": ("disable", "enable"),
    "connection.vlankeyed": ("enable", "disable"),
    "ipsec.if.checkpolicy": ("enable", "disable"),
    "ipsec.lookupspi": ("enable", "disable"),
}
"""The variables that are seen around IPsec, each with what it may be, the default first. None of them changes what
Culvert does: its workers share nothing by SPI, and its links are keyed as Linux has them."""

SET_BACK = "counter-journal-set-back"
WARN, REFUSE = "warn", "refuse"

FACILITIES = tuple(f"local{number}" for number in range(8))
SEVERITIES = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
HOSTNAME = "culvert.example"
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


def hostname_is_one(settings: Object, world: World) -> Iterator[Problem]:
    """Letters, digits and hyphens between dots (RFC 1123 section 2.1)."""
    given = settings["hostname"] or ""
    if len(given) > 253 or not _HOSTNAME.fullmatch(given):
        yield settings.problem(f'"{given}" is not a host name such as gw-a.example', "hostname")


def variable_is_known(own: Object, world: World) -> Iterator[Problem]:
    """A value that the vendor's variable knows; of others nothing is known."""
    allowed = VARIABLES.get(own.name, ())
    if allowed and own["value"] not in allowed:
        yield own.problem(f'"{own["value"]}" is not allowed; allowed: {", ".join(allowed)}', "value")


PUBLISHER_KIND = Kind(
    path=PUBLISHER,
    keeps=True,
    title="log publisher",
    help="Where log messages go",
    fields=(
        DESCRIPTION,
        Field("destinations", Members(target=LOCAL_SYSLOG), "Log destinations", {}, label="Destinations"),
    ),
)

LOCAL_SYSLOG_KIND = Kind(
    path=LOCAL_SYSLOG,
    keeps=True,
    stand_in=REMOTE_SYSLOG,
    title="log destination",
    help="The syslog of this host",
    fields=(
        Field("default-facility", Choice(FACILITIES), "Syslog facility", "local0"),
        Field("default-severity", Choice(SEVERITIES), "Syslog severity", "info"),
        DESCRIPTION,
    ),
)

REMOTE_SYSLOG_KIND = Kind(
    path=REMOTE_SYSLOG,
    keeps=True,
    title="log destination",
    help="A syslog on another host",
    fields=(
        Field("default-facility", Choice(FACILITIES), "Syslog facility", "local0"),
        Field("default-severity", Choice(SEVERITIES), "Syslog severity", "info"),
        DESCRIPTION,
        Field("format", Choice(("rfc3164", "rfc5424")), "Shape of a line", "rfc3164"),
        Field("host", OneAddress(none_allowed=True), "Address of that host; without one nothing is sent", beyond=True),
        Field("port", Integer(1, 65535, SERVICES, show_words=False), "Port there", 514, beyond=True),
        Field("protocol", Choice(("udp", "tcp")), "Datagrams or a stream", "udp", beyond=True),
    ),
)

GLOBAL_SETTINGS_KIND = Kind(
    path=GLOBAL_SETTINGS,
    keeps=True,
    title="global settings",
    help="Settings of the whole system",
    naming=Naming.SINGLE,
    fixed=True,
    rules=(hostname_is_one,),
    fields=(
        DESCRIPTION,
        Field("hostname", Text(), "Name of this system", HOSTNAME, always=True, label="Host Name"),
        Field(
            SET_BACK,
            Choice((WARN, REFUSE)),
            "Counter modes while the counter journal may be of an earlier state of this machine: go on with a warning, "
            "or send nothing",
            WARN,
        ),
    ),
)

FOLDER_KIND = Kind(
    path=FOLDER,
    keeps=True,
    title="folder",
    help="A folder inside a partition",
    fields=(DESCRIPTION,),
)

DB_KIND = Kind(
    path=DB,
    keeps=True,
    title="database variable",
    help="A setting of the vendor's by name; kept, listed and written back",
    naming=Naming.PLAIN,
    rules=(variable_is_known,),
    fields=(Field("value", Text(), "Its value", always=True),),
)

KINDS = (DB_KIND, FOLDER_KIND, GLOBAL_SETTINGS_KIND, LOCAL_SYSLOG_KIND, PUBLISHER_KIND, REMOTE_SYSLOG_KIND)
