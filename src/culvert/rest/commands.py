"""Addresses that take a `command`: save and load, tmsh through bash, and the few file commands around uploads."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culvert.control.errors import Refused
from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed
from culvert.rest.files import Files
from culvert.rest.terminal import Terminal

Json = Any
CONFIG = ("mgmt", "tm", "sys", "config")
BASH = ("mgmt", "tm", "util", "bash")
FILE_COMMANDS: Mapping[tuple[str, ...], str] = {
    ("mgmt", "tm", "util", word): word for word in ("unix-mv", "unix-rm", "unix-ls")
}
OWNERS = ("admin", "resource-admin")
BOOT_QUESTIONS: Mapping[str, str] = {"runlevel": "N 3\n", "ps aux | grep '[m]prov'": "", "ps aux | grep '[v]cmpd'": ""}
"""What clients ask to learn whether a system is still starting. It is not; nothing is run."""
UPTIME_QUESTION, UPTIME = "cat /proc/uptime", Path("/proc/uptime")
VERSION_QUESTION = "cat /VERSION"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,255}")


class Commands:
    """Answers `POST {"command": ...}`."""

    def __init__(self, door: Door, terminal: Terminal, files: Files) -> None:
        self._door = door
        self._terminal = terminal
        self._files = files

    def knows(self, segments: tuple[str, ...]) -> bool:
        """Whether commands are taken there."""
        return segments in (CONFIG, BASH) or segments in FILE_COMMANDS

    def answer(self, request: Request) -> Answer:
        """One command. Raises ControlError or BadRequest."""
        if request.method != "POST":
            raise not_allowed(request, "POST")
        body = request.body()
        command = body.get("command")
        if not isinstance(command, str):
            raise BadRequest(400, "a command must be specified")
        if request.segments == CONFIG:
            return self._config(request, body, command)
        if command != "run":
            raise BadRequest(400, f'"{command[:40]}" is no command of {request.path}; allowed: run')
        arguments = body.get("utilCmdArgs", "")
        if not isinstance(arguments, str):
            raise BadRequest(400, "utilCmdArgs is a text")
        self._need_admin(request)
        result = self._bash(request, arguments) if request.segments == BASH else self._file(request, arguments)
        return _done(request, body, result)

    def _need_admin(self, request: Request) -> None:
        found = self._door.call(request.credentials(), "access", call="bash")
        if not found["admin"]:
            raise Refused(f"{request.path} is for users of the role admin")

    def _config(self, request: Request, body: Mapping[str, Json], command: str) -> Answer:
        if command not in ("save", "load"):
            raise BadRequest(400, f'"{command[:40]}" is no command of {request.path}; allowed: save, load')
        words = _options(body)
        if not words:
            self._door.call(request.credentials(), command)
            return _done(request, body, "")
        if words == ["default"]:
            self._door.call(request.credentials(), "load", text="", merge=False, verify=False)
            return _done(request, body, "")
        if "file" in words:
            self._need_owner(request)
        text = self._terminal.one(request, f"{command} sys config {' '.join(self._files.named(words))}")
        return _done(request, body, text)

    def _need_owner(self, request: Request) -> None:
        """Files lie here and not with culvertd, so who may use them is asked here."""
        roles = self._door.call(request.credentials(), "access")["roles"]
        if roles.get("all-partitions") not in OWNERS:
            raise Refused(f"files are for users of the roles {' and '.join(OWNERS)}")

    def _bash(self, request: Request, arguments: str) -> str:
        """`-c "tmsh -c \\"show sys version\\""`: tmsh alone, whose errors are its output."""
        try:
            flag, line = shlex.split(arguments)
            words = shlex.split(line)
        except ValueError:
            raise BadRequest(400, 'bash takes -c "COMMAND" here') from None
        if flag == "-c" and line in BOOT_QUESTIONS:
            return BOOT_QUESTIONS[line]
        if flag == "-c" and line == UPTIME_QUESTION:
            return UPTIME.read_text()
        if flag == "-c" and line == VERSION_QUESTION:
            return self._version_file(request)
        if flag != "-c" or not words or words[0] not in ("tmsh", "/usr/bin/tmsh", "/bin/tmsh"):
            raise Refused("bash runs nothing but tmsh here")
        command = words[1:]
        while command[:1] in (["-q"], ["-a"], ["-m"]):
            command = command[1:]
        if command[:1] == ["-c"]:
            if len(command) != 2:
                raise BadRequest(400, "tmsh -c takes one command")
            script = command[1]
        else:
            script = line[line.index("tmsh") + 4 :].strip()
        return self._terminal.run(request, self._files.placed(script))

    def _version_file(self, request: Request) -> str:
        """What the vendor's systems have in /VERSION."""
        own = self._door.call(request.credentials(), "show", what="sys version", filters={})[0]
        rows = {"Product": "BIG-IP", "Version": naming.API_LEVEL}
        rows |= {word.capitalize(): str(own[word]) for word in ("build", "edition", "date")}
        return "".join(f"{title}: {text}\n" for title, text in rows.items())

    def _file(self, request: Request, arguments: str) -> str:
        word = FILE_COMMANDS[request.segments]
        try:
            given = [each for each in shlex.split(arguments) if not each.startswith("-")]
        except ValueError:
            raise BadRequest(400, f"{word} takes names of uploaded files") from None
        if not all(_PLAIN.fullmatch(each) for each in given):
            raise BadRequest(400, f"{word} takes names of uploaded files")
        return self._files.command(word, given)


def _options(body: Mapping[str, Json]) -> list[str]:
    """`options: [{"file": "x.scf"}, {"merge": true}]`, `name`, `partitions` as tmsh's words."""
    words = [str(body["name"])] if body.get("name") else []
    given = body.get("options", [])
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise BadRequest(400, "options is a list of objects")
    for each in given:
        for key, value in each.items():
            words += [str(key)] if value is True else [] if value is False else [str(key), str(value)]
    if not all(_PLAIN.fullmatch(word) for word in words):
        raise BadRequest(400, "options are plain words and file names")
    return words


def _done(request: Request, body: Mapping[str, Json], result: str) -> Answer:
    path = ":".join(request.segments[1:])
    shown: dict[str, Json] = {"kind": f"{path}:{body['command']}state"}
    shown |= {key: value for key, value in body.items() if key in ("command", "utilCmdArgs", "name", "options")}
    return Answer(shown | ({"commandResult": result} if result else {}))
