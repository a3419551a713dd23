"""Commands of tmsh, run for the one who asks: what has no shape of its own in REST has tmsh's text."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from culvert.control.client import ADDRESS_VARIABLE, TOKEN_VARIABLE
from culvert.control.errors import Unavailable
from culvert.rest.door import Door
from culvert.rest.exchange import Request

SECONDS = 120.0
OCTETS_MAX = 64 * 1024 * 1024


class Terminal:
    """Runs a tmsh process for each command, with the asker's token in its environment and the command on its input."""

    def __init__(self, door: Door, socket: Path) -> None:
        self._door = door
        self._socket = socket

    def run(self, request: Request, command: str) -> str:
        """What tmsh prints, errors too. Raises ControlError."""
        with self._token(request) as token:
            variables = {
                "CULVERT_SOCKET": str(self._socket),
                TOKEN_VARIABLE: token,
                ADDRESS_VARIABLE: request.address,
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
            }
            try:
                done = subprocess.run(
                    [sys.executable, "-I", "-m", "culvert.tmsh", "-q"],
                    input=" ".join(command.split("\n")).encode() + b"\n",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=variables,
                    timeout=SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Unavailable(f"tmsh gave no answer: {type(error).__name__}") from None
        return done.stdout[:OCTETS_MAX].decode("utf-8", "replace")

    @contextmanager
    def _token(self, request: Request) -> Iterator[str]:
        """The asker's token; one made for this command when it was a password that was sent."""
        credentials: Mapping[str, str] = request.credentials()
        if "token" in credentials:
            yield credentials["token"]
            return
        who = {"username": credentials["username"], "password": credentials["password"]}
        token = str(self._door.call(None, "login", **who, address=request.address)["token"])
        try:
            yield token
        finally:
            self._door.call({"token": token, "address": request.address}, "logout")
