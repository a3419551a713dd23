"""`sys ...`: the log publishers and the system's name."""

import re
from collections.abc import Iterator

from culvert.model.fields import Choice, Field, Members, Text
from culvert.model.kind import Kind, Naming, Object, World
from culvert.model.net_ipsec import DESCRIPTION, PUBLISHER
from culvert.model.problems import Problem

LOCAL_SYSLOG = ("sys", "log-config", "destination", "local-syslog")
GLOBAL_SETTINGS = ("sys", "global-settings")

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


PUBLISHER_KIND = Kind(
    path=PUBLISHER,
    title="log publisher",
    help="Where log messages go",
    fields=(
        DESCRIPTION,
        Field("destinations", Members(target=LOCAL_SYSLOG), "Log destinations", {}, label="Destinations"),
    ),
)

LOCAL_SYSLOG_KIND = Kind(
    path=LOCAL_SYSLOG,
    title="log destination",
    help="The syslog of this host",
    fields=(
        Field("default-facility", Choice(FACILITIES), "Syslog facility", "local0"),
        Field("default-severity", Choice(SEVERITIES), "Syslog severity", "info"),
        DESCRIPTION,
    ),
)

GLOBAL_SETTINGS_KIND = Kind(
    path=GLOBAL_SETTINGS,
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

KINDS = (GLOBAL_SETTINGS_KIND, LOCAL_SYSLOG_KIND, PUBLISHER_KIND)
