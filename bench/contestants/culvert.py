"""Culvert, as `culvertd` runs it: each packet process, each way to the wire, counter mode and CBC.

The engine is chosen by CULVERT_ENGINE, the way to the wire by the policy and, for AF_XDP, by CULVERT_IO; what this
build doesn't have is told and left out. A gateway that took the configuration must also say that it runs that engine.
"""

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contestants.contestant import Contestant, Unavailable
from bench.proof import Wire
from bench.stage import Links, Stage
from culvert import __version__
from culvert.lab import keys, program, sites
from culvert.lab.keys import Keys
from culvert.lab.sites import Line
from culvert.lab.topology import GATEWAYS

PYTHON, NATIVE = "python", "native"
RAW, UDP, XDP = "raw", "udp", "xdp"
CBC, GCM = "aes128 with sha1", "aes-gcm128"
_GCM_KEY_OCTETS = 20
_AUTH_KEY = re.compile(r' auth-key "[^"]*"')
_XDP_WORD = "af_xdp"


@dataclass(frozen=True)
class Culvert(Contestant):
    """`engine`, `door` and `cipher`: see the constants."""

    engine: str = NATIVE
    door: str = RAW
    cipher: str = GCM

    def lacks(self) -> str:
        if self.engine == PYTHON:
            return ""
        words = _native_words()
        if not words:
            return "the native engine is not built: it needs cargo, see tools/engine"
        return "this native engine has no AF_XDP" if self.door == XDP and _XDP_WORD not in words.lower() else ""

    def version(self) -> str:
        return f"{__version__}, {_native_words() if self.engine == NATIVE else PYTHON}"

    def up(self, stage: Stage) -> None:
        secret = keys.fresh()
        if self.cipher == GCM:
            secret = {name: replace(own, encrypt_key=_gcm_key()) for name, own in secret.items()}
        with _environment(self._choices()):
            for node in GATEWAYS:
                stage.lab.daemon(node).start()
        for node in GATEWAYS:
            self._configure(stage, node, secret)
            self._check_engine(stage, node)

    def _choices(self) -> dict[str, str]:
        chosen = {"CULVERT_ENGINE": self.engine}
        return {**chosen, "CULVERT_IO": self.door} if self.engine == NATIVE and self.door in (RAW, XDP) else chosen

    def _configure(self, stage: Stage, node: str, secret: dict[str, Keys]) -> None:
        """All lines at once: one tmsh for each would take longer than everything else."""
        lines = [self._adapted(line) for line in sites.lines(sites.SITES[node], secret)]
        outcome = stage.lab.tmsh(node, [], "\n".join(lines) + "\n")
        if outcome.status != 0:
            raise Unavailable(f"refused here: {(outcome.errors or outcome.output).strip().splitlines()[0]}")

    def _adapted(self, line: Line) -> str:
        """The lab's line, for this cipher and this way to the wire."""
        text = line.text
        if self.door == UDP and text.startswith("create net ipsec ipsec-policy "):
            return f"{text} udp-encapsulation enabled"
        if self.cipher == GCM and text.startswith("create net ipsec manual-security-association "):
            text = _AUTH_KEY.sub("", text)
            return text.replace("encrypt-algorithm aes128", "auth-algorithm none encrypt-algorithm aes-gcm128")
        return text

    def _check_engine(self, stage: Stage, node: str) -> None:
        shown = stage.lab.show(node, "show sys version")
        if self.engine not in shown.lower():
            raise Unavailable(f"the gateway runs another engine than {self.engine}")


def _gcm_key() -> str:
    return "0x" + secrets.token_hex(_GCM_KEY_OCTETS)


def _native_words() -> str:
    """What the native engine says of itself; empty without one that runs here."""
    path = Path(sys.prefix) / "libexec" / "culvert-tmm"
    if not path.exists():
        return ""
    outcome = program.run([str(path), "--version"])
    return outcome.output.strip() if outcome.status == 0 else ""


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """These variables are set for whatever is started during the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_BOTH = (Links.WHOLE, Links.SEGMENTED)
_TITLE = "Culvert, native"
ALL = (
    Culvert("culvert-udp", f"{_TITLE}, ESP in UDP, {GCM}", Wire.ESP_IN_UDP, _BOTH, door=UDP),
    Culvert("culvert-xdp", f"{_TITLE}, ESP by AF_XDP, {GCM}", Wire.ESP, _BOTH, door=XDP),
    Culvert("culvert-raw", f"{_TITLE}, ESP by raw socket, {GCM}", Wire.ESP, door=RAW),
    Culvert("culvert-udp-cbc", f"{_TITLE}, ESP in UDP, {CBC}", Wire.ESP_IN_UDP, _BOTH, door=UDP, cipher=CBC),
    Culvert("culvert-raw-cbc", f"{_TITLE}, ESP by raw socket, {CBC}", Wire.ESP, door=RAW, cipher=CBC),
    Culvert("culvert-python", f"Culvert, Python twin, ESP by raw socket, {CBC}", Wire.ESP, engine=PYTHON, cipher=CBC),
)
