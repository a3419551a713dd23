"""`save`, `load` and `edit`: the configuration in files."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from culvert import __version__
from culvert.control.errors import SyntaxProblem
from culvert.model import tokens
from culvert.model.problems import BadSyntax
from culvert.tmsh import changes, listing, selection
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

SCF_DIRECTORY = Path("/var/local/scf")
SAVE_OPTIONS: Mapping[str, str] = {
    "file": "Write a single configuration file instead of the saved configuration",
    "no-passphrase": "Accepted for scripts: a file is never locked with a passphrase",
    "partitions": "Accepted for scripts: all partitions are saved",
}
LOAD_OPTIONS: Mapping[str, str] = {
    "default": "The configuration of a new system",
    "file": "A file instead of the saved configuration",
    "from-terminal": "What is typed until Ctrl-D",
    "merge": "Lay it over the running configuration instead of replacing that",
    "partitions": "Accepted for scripts: all partitions are loaded",
    "verify": "Only check it, and tell all that is wrong",
}


def save(words: Words, session: Session) -> str:
    _config(words, session)
    target: Path | None = None
    while words:
        option = _option(words, SAVE_OPTIONS)
        if option == "partitions":
            _partitions(words, session)
        elif option == "file":
            target = scf_path(words.take("a file name"))
    if target is None:
        answer = session.call("save")
        return "\n".join(["Saving running configuration...", *(f"  {path}" for path in answer["files"])])
    _write_private(target, f"#TMSH-VERSION: {__version__}\n{session.call('text')}")
    return f"Saving running configuration...\n  {target}"


def load(words: Words, session: Session) -> str:
    _config(words, session)
    flags: set[str] = set()
    source: Path | None = None
    while words:
        option = _option(words, LOAD_OPTIONS)
        flags.add(option)
        if option == "file":
            source = scf_path(words.take("a file name"))
        elif option == "partitions":
            _partitions(words, session)
    if session.batch is not None:
        raise BadSyntax("load sys config can't be part of a transaction")
    verify, merge = "verify" in flags, "merge" in flags
    if "default" in flags and not verify and not _confirmed("Reset the configuration to that of a new system?"):
        return "nothing was changed"
    content = _content(flags, source)
    answer = session.call("load", text=content, merge=merge, verify=verify)
    return "\n".join(_told(answer, flags, source))


def edit(words: Words, session: Session) -> str:
    """`edit net ipsec ipsec-policy P`: its text in an editor, laid over the configuration when that ends well."""
    if session.batch is not None:
        raise BadSyntax("edit can't be part of a transaction")
    before = listing.run(words, session)
    with tempfile.TemporaryDirectory(prefix="tmsh-") as directory:
        path = Path(directory) / "edited.conf"
        _write_private(path, before + "\n")
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or session.preference("editor", "vi")
        try:
            done = subprocess.run([*editor.split(), str(path)], check=False)
        except OSError as error:
            raise BadSyntax(f"the editor {editor} can't be started: {error.strerror}; set EDITOR") from None
        after = read(path)
    if done.returncode or after == before + "\n":
        return "nothing was changed"
    if session.preference("confirm-edit") == "enabled" and not session.confirm("Submit the changes?"):
        return "nothing was changed"
    answer = session.call("load", text=after, merge=True, verify=False, folder=session.folder)
    return changes.warn(answer["warnings"])


def _confirmed(question: str) -> bool:
    """Whether the one at the terminal says yes; a script has said so by its command."""
    if not sys.stdin.isatty():
        return True
    try:
        return input(f"{question} (y/n) ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def scf_path(given: str) -> Path:
    """Where a file of this name is: a bare name stands in the directory of SCFs, wherever one works."""
    return Path(given) if "/" in given else SCF_DIRECTORY / given


def read(path: Path) -> str:
    """The text of a file. Raises SyntaxProblem with the file's name."""
    try:
        return tokens.decode(path.read_bytes())
    except BadSyntax as error:
        raise SyntaxProblem(f"{path}: {error.sentence}", error.line, error.column) from None
    except OSError as error:
        raise BadSyntax(f"{path}: {error.strerror}") from None


def _config(words: Words, session: Session) -> None:
    from_root = [word.removeprefix("/") for word in words.leading()[:2]]
    if not from_root or not matches(from_root[0], ("sys",)) or (len(from_root) > 1 and from_root[1] != "config"):
        raise unexpected(from_root[0]) if from_root else BadSyntax("incomplete command: sys config is expected")
    words.take()
    if words.take("config") != "config":
        raise BadSyntax("incomplete command: sys config is expected")


def _partitions(words: Words, session: Session) -> None:
    """`partitions all`, `partitions P1`, `partitions { P1 P2 }`: those named have to be there."""
    for name in words.take_several("all, or the name of a partition"):
        if name != selection.ALL:
            session.call("folder", name=f"/{name.lstrip('/')}")


def _option(words: Words, known: Mapping[str, str]) -> str:
    word = words.take()
    found = matches(word, known)
    if len(found) != 1:
        raise unexpected(word)
    return found[0]


def _content(flags: set[str], source: Path | None) -> str | None:
    """The text to load; None for the saved configuration, "" for that of a new system."""
    if "default" in flags:
        return ""
    if "from-terminal" in flags:
        if sys.stdin.isatty():
            print("Enter configuration. Press CTRL-D to submit or CTRL-C to cancel.", flush=True)
        return sys.stdin.read()
    return read(source) if source else None


def _told(answer: Mapping[str, Any], flags: set[str], source: Path | None) -> Iterator[str]:
    if "verify" in flags:
        yield "Validating configuration..."
    else:
        yield "Loading configuration..."
    yield f"  {source or _meant(flags) or answer['saved']}"
    if answer.get("backup"):
        yield f"  the configuration before this one is kept: culvert config history, generation {answer['backup']}"
    if answer["warnings"]:
        yield "There were warnings:"
        yield from answer["warnings"]


def _meant(flags: set[str]) -> str:
    """What a load without a file reads; "" for the saved configuration."""
    if "default" in flags:
        return "the configuration of a new system"
    return "what was typed" if "from-terminal" in flags else ""


def _write_private(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)  # For a file that was there before.
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise BadSyntax(f"{path}: {error.strerror}") from None
