"""`cli ...`: how the shell behaves. What of the vendor's settings changes nothing here is no property here."""

from collections.abc import Iterator

from culvert.model.auth import ADMIN_PARTITIONS as ADMIN_PARTITIONS
from culvert.model.auth import PARTITION
from culvert.model.fields import NONE, Choice, Field, Integer, Reader, Text, Words
from culvert.model.kind import Kind, Naming, Object, World
from culvert.model.net_ipsec import DESCRIPTION
from culvert.model.problems import BadValue, Problem

PREFERENCE = ("cli", "preference")
GLOBAL_SETTINGS = ("cli", "global-settings")
VERSION = ("cli", "version")


def _part(text: str, reader: Reader) -> str:
    if text not in PROMPT:
        raise BadValue(f'"{text}" is not allowed; allowed: {", ".join(PROMPT)}')
    return text


_SWITCH = Choice(("disabled", "enabled"))
UNITS = ("default", "exa", "gig", "kil", "meg", "peta", "raw", "tera", "yotta", "zetta")
PROMPT = ("config-sync-status", "current-folder", "host", "status", "user")
PREFERENCE_KIND = Kind(
    path=PREFERENCE,
    title="CLI preference",
    help="What the shell looks like for the user who asks",
    naming=Naming.SINGLE,
    fixed=True,
    personal=True,
    fields=(
        Field("confirm-edit", _SWITCH, "Ask before an edit takes effect", "enabled"),
        Field("display-threshold", Integer(0, 2**31 - 1), "Objects from which on a list asks first; 0 is never", 100),
        Field("editor", Choice(("vi", "nano")), "Text editor, where VISUAL and EDITOR name none", "vi"),
        Field("history-file-size", Integer(0, 100_000), "Commands that the history keeps", 10_000),
        Field("history-size", Integer(0, 100_000), "Commands that can be recalled in a session", 500),
        Field("keymap", Choice(("default", "emacs", "vi")), "Keys of the command line", "default"),
        Field("list-all-properties", _SWITCH, "Whether list shows defaults too", "disabled"),
        Field("pager", _SWITCH, "Long answers page by page", "enabled"),
        Field("prompt", Words(_part, "parts in braces", per_line=False), "Parts of the prompt", PROMPT),
        Field("stat-units", Choice(UNITS), "Units of counters, where a show names none", "default"),
    ),
)


def partition_is_there(own: Object, world: World) -> Iterator[Problem]:
    """The shell has to be able to start there."""
    name = own["update-partition"]
    if world.get(PARTITION, name or "") is None:
        yield own.problem(f"the requested partition ({name or NONE}) was not found", "update-partition")


GLOBAL_SETTINGS_KIND = Kind(
    path=GLOBAL_SETTINGS,
    keeps=True,
    title="CLI global settings",
    help="What holds for every user of the shell",
    naming=Naming.SINGLE,
    fixed=True,
    fields=(
        Field("audit", _SWITCH, "Log every change with who made it; debug does even when disabled", "enabled"),
        DESCRIPTION,
        Field("idle-timeout", Integer(1, 1_000_000, {"disabled": 0}), "Minutes until an idle shell ends", 0),
    ),
)

ADMIN_PARTITIONS_KIND = Kind(
    path=ADMIN_PARTITIONS,
    keeps=True,
    title="admin partitions",
    help="The partition that a shell starts in",
    naming=Naming.SINGLE,
    fixed=True,
    rules=(partition_is_there,),
    fields=(Field("update-partition", Text(), "Partition that a shell starts in", "Common"),),
)

VERSION_KIND = Kind(
    path=VERSION,
    title="CLI version",
    help="The version of the commands, which is that of Culvert",
    naming=Naming.SINGLE,
    fixed=True,
    derived=True,
    fields=(
        Field("active", Text(), "The one in force", always=True),
        Field("latest", Text(), "The newest one", always=True),
        Field(
            "supported",
            Words(lambda text, reader: text, "versions in braces", per_line=False),
            "All that may be",
            (),
            always=True,
        ),
    ),
)

KINDS = (ADMIN_PARTITIONS_KIND, GLOBAL_SETTINGS_KIND, PREFERENCE_KIND, VERSION_KIND)
