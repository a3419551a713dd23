"""The interactive shell: prompt, history, `?` and Tab, pages."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from culvert.control.errors import ControlError
from culvert.tmsh import command, completion
from culvert.tmsh.keys import without_keys
from culvert.tmsh.session import Session

HISTORY = Path("~/.tmsh-history")
MORE = "... "
ENABLED = "enabled"


class _Kept(FileHistory):
    """History across runs, readable by its owner alone, without keys."""

    def append_string(self, string: str) -> None:
        super().append_string(without_keys(string))

    def store_string(self, string: str) -> None:
        try:
            super().store_string(without_keys(string))
        except OSError:
            return  # A home that can't be written costs the history and nothing else.


class Shell:
    """Reads commands until the user leaves. One for each terminal."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._about: Mapping[str, Any] = {}
        # Asking the terminal where the cursor is would put octets into what programs on the other end read.
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")
        self._prompt: PromptSession[str] = PromptSession(
            history=_history(), key_bindings=_bindings(session, self.prompt), enable_history_search=True
        )

    def run(self) -> int:
        """The exit status: 0, or 1 when the daemon doesn't answer."""
        try:
            self._look()
        except ControlError as error:
            print(error.text, file=sys.stderr)
            return 1
        while not self._session.over:
            try:
                line = self._read()
            except KeyboardInterrupt:
                continue
            except (EOFError, TimeoutError):
                break
            self._carry_out(line)
        return 0

    def _look(self) -> None:
        """Ask the daemon who we are and what this user prefers."""
        self._about = self._session.call("describe")
        preference = self._about["preference"]
        self._session.lists_all = preference.get("list-all-properties") == ENABLED
        self._prompt.editing_mode = EditingMode.VI if preference.get("keymap") == "vi" else EditingMode.EMACS
        self._session.threshold = int(preference.get("display-threshold", 0))
        self._session.confirm = _confirmed

    def _read(self) -> str:
        """A whole command: one goes on while a brace or a quote is open."""
        from culvert.tmsh.main import is_open

        text = self._ask(self.prompt())
        while is_open(text):
            text += "\n" + self._ask(MORE)
        return text

    def _ask(self, prompt: str) -> str:
        minutes = int(self._about.get("idle_timeout", 0))
        if not minutes:
            return self._prompt.prompt(prompt)
        return asyncio.run(asyncio.wait_for(self._prompt.prompt_async(prompt), minutes * 60))

    def _carry_out(self, text: str) -> None:
        from culvert.tmsh.main import split

        for line in split(text) if "\n" not in text else [text]:
            try:
                self._write(command.run(line, self._session))
                if "preference" in line:
                    self._look()
            except ControlError as error:
                print(error.text, file=sys.stderr, flush=True)
            except KeyboardInterrupt:
                print(flush=True)
            if self._session.over:
                return

    def _write(self, answer: str) -> None:
        if not answer:
            return
        rows = shutil.get_terminal_size().lines
        pages = self._about["preference"].get("pager") == ENABLED and answer.count("\n") + 1 >= rows
        less = shutil.which("less") if pages else None
        if less is None:
            print(answer, flush=True)
            return
        subprocess.run([less, "-EX"], input=answer.encode(), check=False)

    def prompt(self) -> str:
        """`root@(gw-a)(cfg-sync Standalone)(Active)(/Common)(tmos.net)# `, of the parts that the user prefers."""
        parts = {
            "user": f"{self._about['user']}@",
            "host": f"({self._about['hostname'].partition('.')[0]})",
            "config-sync-status": "(cfg-sync Standalone)",
            "status": "(Active)",
            "current-folder": f"({self._session.folder})",
        }
        wanted = self._about["preference"].get("prompt", list(parts))
        batch = "[batch mode]" if self._session.batch is not None else ""
        place = ".".join(("tmos", *self._session.module))
        return f"{batch}{''.join(text for word, text in parts.items() if word in wanted)}({place})# "


def _history() -> History:
    path = HISTORY.expanduser()
    try:
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return _Kept(path)


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} (y/n) ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def _bindings(session: Session, prompt: Callable[[], str]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("?")
    def tell(event: KeyPressEvent) -> None:
        before = event.current_buffer.document.text_before_cursor
        if before.count('"') % 2:
            event.current_buffer.insert_text("?")
            return
        _print_table(event, prompt(), completion.complete(before, session)[1])

    @keys.add("tab")
    def fill(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        partial, found = completion.complete(buffer.document.text_before_cursor, session)
        words = [own.word for own in found if own.is_word]
        if len(words) == 1 and len(found) == 1:
            buffer.insert_text(words[0][len(partial) :] + " ")
        elif more := completion.shared(words)[len(partial) :]:
            buffer.insert_text(more)
        else:
            _print_table(event, prompt(), found)

    return keys


def _print_table(event: KeyPressEvent, prompt: str, found: Iterable[completion.Candidate]) -> None:
    text = completion.table(list(found)) or "nothing fits here"
    line = prompt + event.current_buffer.text
    run_in_terminal(lambda: print(f"{line}\n{text}", flush=True))
