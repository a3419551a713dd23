"""`cli ...`: how the shell behaves."""

from culvert.model.fields import Choice, Field, Integer, Reader, Text, Words
from culvert.model.kind import Kind, Naming
from culvert.model.net_ipsec import DESCRIPTION
from culvert.model.problems import BadValue

PREFERENCE = ("cli", "preference")
GLOBAL_SETTINGS = ("cli", "global-settings")
ADMIN_PARTITIONS = ("cli", "admin-partitions")
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
    keeps=True,
    title="CLI preference",
    help="What the shell looks like",
    naming=Naming.SINGLE,
    fixed=True,
    fields=(
        Field("alias-path", Words(lambda text, reader: text, "folders in braces"), "Where aliases are", ("/Common",)),
        Field("confirm-edit", _SWITCH, "Ask before an edit takes effect", "enabled"),
        Field("display-threshold", Integer(0, 2**31 - 1), "Objects from which on a list asks first; 0 is never", 100),
        Field("editor", Choice(("vi", "nano")), "Text editor", "vi"),
        Field("history-date-time", _SWITCH, "Times in the history", "disabled"),
        Field("history-file-size", Integer(0, 100_000), "Commands that the history keeps", 10_000),
        Field("history-size", Integer(0, 100_000), "Commands of a session that can be recalled", 500),
        Field("keymap", Choice(("default", "emacs", "vi")), "Keys of the command line", "default"),
        Field("list-all-properties", _SWITCH, "Whether list shows defaults too", "disabled"),
        Field("pager", _SWITCH, "Long answers page by page", "enabled"),
        Field("prompt", Words(_part, "parts in braces", per_line=False), "Parts of the prompt", PROMPT),
        Field("show-aliases", _SWITCH, "Aliases in completion", "enabled"),
        Field("stat-units", Choice(UNITS), "Units of counters", "default"),
        Field("table-indent-width", Integer(0, 100), "Columns that nested tables stand in", 2),
        Field("video", _SWITCH, "Colours", "enabled"),
        Field("warn", Choice(("bell", "flash", "none")), "How a mistake is told", "bell"),
    ),
)

GLOBAL_SETTINGS_KIND = Kind(
    path=GLOBAL_SETTINGS,
    keeps=True,
    title="CLI global settings",
    help="What holds for every user of the shell",
    naming=Naming.SINGLE,
    fixed=True,
    fields=(
        Field("audit", _SWITCH, "Log commands that change something", "enabled"),
        DESCRIPTION,
        Field("idle-timeout", Integer(1, 1_000_000, {"disabled": 0}), "Minutes until an idle shell ends", 0),
        Field("scf-backup-number", Integer(0, 99), "Backups of single configuration files", 2),
        Field("service", Choice(("name", "number")), "Ports by name or by number", "name"),
    ),
)

ADMIN_PARTITIONS_KIND = Kind(
    path=ADMIN_PARTITIONS,
    keeps=True,
    title="admin partitions",
    help="The partition that a shell starts in",
    naming=Naming.SINGLE,
    fixed=True,
    fields=(Field("update-partition", Text(), "Partition for new objects", "Common"),),
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
