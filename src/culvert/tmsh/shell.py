"""The interactive shell: prompt, history, `?` and Tab, pages.

The line is edited by GNU readline, not by a library that draws: what programs see who type at this prompt (netmiko,
rancid, expect scripts) is then the prompt, what they typed and the answer, with no escape sequences in between.
"""

import contextlib
import itertools
import readline
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from culvert.control.errors import ControlError
from culvert.tmsh import command, completion, paging
from culvert.tmsh.keys import without_keys
from culvert.tmsh.script import is_open, split
from culvert.tmsh.session import Session

HISTORY = Path("~/.tmsh-history")
MORE = "> "
ENABLED = "enabled"
PARTS = ("user", "host", "config-sync-status", "status", "current-folder")
LOOKS_AFTER = ("mo", "sub", "lo")
"""How commands begin that may change what is preferred: modify, submit, load."""
SETTINGS = (
    "set enable-bracketed-paste off",
    "set bell-style none",
    "set show-all-if-ambiguous on",
    "set completion-query-items 0",
    "tab: complete",
    '"?": possible-completions',
)


class Shell:
    """Reads commands until the user leaves. One for each process: readline is one for all."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown = ""
        self._held = ""
        self._matches: list[str] = []
        self._history = HISTORY.expanduser()

    def run(self) -> int:
        """The exit status: 0, or 1 when the daemon doesn't answer."""
        try:
            self._session.begin()
            self._follow()
        except ControlError as error:
            print(error.text, file=sys.stderr)
            return 1
        self._set_up()
        while not self._session.over:
            try:
                line = self._read()
            except KeyboardInterrupt:
                print(flush=True)
            except (EOFError, TimeoutError):
                print(flush=True)
                break
            else:
                self._carry_out(line)
        return 0

    def _follow(self) -> None:
        """Be as the user prefers."""
        prefer = self._session.preference
        self._session.threshold = int(prefer("display-threshold", 0))
        self._session.confirm = _confirmed
        self._session.tell = self._tell_all
        readline.set_history_length(int(prefer("history-file-size", 0)))
        readline.parse_and_bind(f"set editing-mode {'vi' if prefer('keymap') == 'vi' else 'emacs'}")
        self._forget()

    def _forget(self) -> None:
        """What can't be recalled any more."""
        for _ in range(readline.get_current_history_length() - int(self._session.preference("history-size", 0))):
            readline.remove_history_item(0)

    def _set_up(self) -> None:
        for setting in SETTINGS:
            readline.parse_and_bind(setting)
        readline.set_completer_delims(' \t\n{}"')
        readline.set_completer(self._complete)
        readline.set_completion_display_matches_hook(self._display)
        readline.set_auto_history(False)
        with contextlib.suppress(OSError):
            self._history.touch(mode=0o600)
            readline.read_history_file(self._history)
        self._forget()

    def _read(self) -> str:
        """A whole command: one goes on while a brace or a quote is open."""
        self._held = ""
        text = self._ask(self.prompt())
        while is_open(text):
            self._held = text + "\n"
            text = self._held + self._ask(MORE)
        self._remember(text)
        return text

    def _ask(self, prompt: str) -> str:
        self._shown = prompt
        with _alarm(int(self._session.about.get("idle_timeout", 0)) * 60):
            return input(prompt)

    def _remember(self, text: str) -> None:
        line = " ".join(without_keys(text).split())
        if not line or line == readline.get_history_item(readline.get_current_history_length()):
            return
        readline.add_history(line)
        # A home that can't be written costs the history and nothing else.
        with contextlib.suppress(OSError):
            readline.append_history_file(1, self._history)
        self._forget()

    def _carry_out(self, text: str) -> None:
        for line in split(text) if "\n" not in text else [text]:
            try:
                self._write(command.run(line, self._session))
                if line.startswith(LOOKS_AFTER):
                    self._session.look()
                    self._follow()
            except ControlError as error:
                print(error.text, file=sys.stderr, flush=True)
            except KeyboardInterrupt:
                print(flush=True)
            if self._session.over:
                return

    def _write(self, answer: str) -> None:
        if answer:
            self._tell_all(iter([answer]))

    def _tell_all(self, pieces: Iterator[str]) -> None:
        """An answer that comes in pieces, by pages if it is longer than the screen."""
        less = shutil.which("less") if self._session.preference("pager") == ENABLED else None
        held: list[str] = []
        lines = 0
        for piece in pieces:
            if less is None:
                print(piece, flush=True)
                continue
            held.append(piece)
            lines += piece.count("\n") + 1
            if lines >= shutil.get_terminal_size().lines:
                paging.show([less, "-EX"], itertools.chain(held, pieces))
                return
        if held:
            print("\n".join(held), flush=True)

    def prompt(self) -> str:
        """`root@(gw-a)(cfg-sync Standalone)(Active)(/Common)(tmos.net)# `, of the parts that are preferred."""
        about = self._session.about
        parts = {
            "user": f"{about['user']}@",
            "host": f"({about['hostname'].partition('.')[0]})",
            "config-sync-status": "(cfg-sync Standalone)",
            "status": "(Active)",
            "current-folder": f"({self._session.folder})",
        }
        wanted = self._session.preference("prompt", PARTS)
        batch = "[batch mode]" if self._session.batch is not None else ""
        place = ".".join(("tmos", *self._session.module))
        return f"{batch}{''.join(parts[word] for word in PARTS if word in wanted)}({place})# "

    # completion, called by readline

    def _complete(self, text: str, state: int) -> str | None:
        if state == 0:
            self._matches = self._found()
        return self._matches[state] if state < len(self._matches) else None

    def _found(self) -> list[str]:
        """What Tab may fill in. For `?` nothing: its answer is a table, printed here."""
        line = self._typed()
        asked = readline.get_completion_type() == ord("?")
        if line.count('"') % 2:
            if asked:
                readline.insert_text("?")
                readline.redisplay()
            return []
        _, found = completion.complete(line, self._session)
        words = [own.word for own in found if own.is_word]
        if asked or not words:
            self._tell(found)
            return []
        return [words[0] + " "] if len(words) == 1 and len(found) == 1 else words

    def _display(self, substitution: str, matches: Sequence[str], longest: int) -> None:
        self._tell(completion.complete(self._typed(), self._session)[1])

    def _typed(self) -> str:
        """The command up to the cursor, with the lines before this one when it goes over several."""
        return self._held + readline.get_line_buffer()[: readline.get_endidx()]

    def _tell(self, found: Sequence[completion.Candidate]) -> None:
        """The table below the line, and then the line again, as readline believes it to be there."""
        table = completion.table(found, shutil.get_terminal_size().columns) or "nothing fits here"
        print(f"\n{table}\n{self._shown}{readline.get_line_buffer()}", end="", flush=True)


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    """TimeoutError after so many seconds; never for 0."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} (y/n) ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False
