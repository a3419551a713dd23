"""What one user of the shell is in the middle of: the folder, the module and an open transaction."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from culvert.control.client import Part
from culvert.control.errors import Refused
from culvert.model.kind import Kind, Path
from culvert.model.names import COMMON
from culvert.model.problems import BadSyntax, Invalid
from culvert.tmsh import tree

Operation = dict[str, Any]


class Caller(Protocol):
    """Whoever carries calls to the daemon: `control.client.Client`."""

    def call(self, name: str, /, **args: object) -> Any: ...


@dataclass(slots=True)
class Batch:
    """An open transaction: the commands as typed, and what each will ask of the daemon.

    `folder`: where it was begun. `lost`: the folder that a `cd` since did not find.
    """

    folder: str = COMMON
    lines: list[str] = field(default_factory=list)
    operations: list[list[Operation]] = field(default_factory=list)
    lost: str = ""


def no_terminal(question: str) -> str:
    """Where nobody can be asked for a password."""
    raise Refused("this asks for a password, and there is no terminal to ask at")


@dataclass(slots=True)
class Session:
    """`folder` is a full path, `/` for the root; `modules` those that were entered, the last one being in force."""

    client: Caller
    folder: str = COMMON
    modules: list[Path] = field(default_factory=list)
    batch: Batch | None = None
    line: str = ""
    over: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    threshold: int = 0
    confirm: Callable[[str], bool] = lambda question: True
    secret: Callable[[str], str] = no_terminal
    stream: Callable[..., Iterator[Part]] | None = None
    """As `call`, for answers in parts; None where every answer is taken whole."""
    tell: Callable[[Iterator[str]], None] = lambda pieces: None
    """Takes the text of an answer in parts: whole lines, without the last one's end."""

    def look(self) -> None:
        """Ask the daemon who we are and what is preferred. Raises ControlError."""
        self.about = self.call("describe")

    def begin(self) -> None:
        """Look, and go to the folder that a shell starts in."""
        self.look()
        self.folder = str(self.about["folder"])

    def preference(self, word: str, default: Any = "") -> Any:
        """One of the user's preferences; `default` as long as nobody looked."""
        return self.about.get("preference", {}).get(word, default)

    @property
    def module(self) -> Path:
        return self.modules[-1] if self.modules else ()

    @property
    def module_words(self) -> set[str]:
        """What may stand first to enter a module: the children of the present one, and the top modules."""
        return {*tree.at(self.module).children, *tree.ROOT.children}

    def makes(self, kind: Kind, name: str) -> bool:
        """Whether the open transaction has a command that creates such an object."""
        lines = self.batch.operations if self.batch is not None else []
        return any(
            (own["verb"], own["kind"]) == ("create", kind.word)
            and _stored(kind, own["name"], own["folder"]) == _stored(kind, name, self.folder)
            for line in lines
            for own in line
        )

    def call(self, name: str, /, **args: object) -> Any:
        return self.client.call(name, **args)

    def change(self, *operations: Operation) -> list[str]:
        """Carry operations out together, or keep them for the open transaction. Returns warnings."""
        placed = [{"folder": self.folder, **own} for own in operations]
        if self.batch is not None:
            if self.batch.lost:
                # A script goes on after an error; what was meant for that folder may not land in another.
                raise BadSyntax(f"cd {self.batch.lost} failed; cd to a folder that is there, and go on")
            self.batch.lines.append(self.line)
            self.batch.operations.append(placed)
            return []
        answer: Mapping[str, Any] = self.call("transaction", operations=placed)
        return list(answer["warnings"])


def _stored(kind: Kind, name: str, folder: str) -> str:
    try:
        return kind.full_name(name, folder)
    except Invalid:
        return name
