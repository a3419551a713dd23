"""The `nft` program: our table in and out of the kernel."""

import json
import os
import shutil
import subprocess

from culvert.dataplane.userspace import marks

SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
TIMEOUT_SECONDS = 60
SENTENCE_LENGTH_MAX = 300


class NftError(OSError):
    """nft is missing, or refused."""


def load(text: str) -> int:
    """Commit a whole transaction, or nothing of it. Returns the process id that the kernel reports it under."""
    return _run("-f", "-", text=text)[0]


def counters() -> dict[str, tuple[int, int]] | None:
    """Our named counters (packets, octets); None if the table isn't there."""
    try:
        output = _run("-j", "list", "counters", "table", "inet", marks.NFT_TABLE)[1]
    except NftError:
        return None
    found = [each["counter"] for each in json.loads(output)["nftables"] if "counter" in each]
    return {each["name"]: (each["packets"], each["bytes"]) for each in found}


def reset_counters() -> None:
    """Zero our named counters."""
    _run("reset", "counters", "table", "inet", marks.NFT_TABLE)


def delete() -> None:
    """Remove our table, if it is there."""
    table = f"table inet {marks.NFT_TABLE}"
    load(f"{table} {{\n}}\ndelete {table}\n")


def _run(*arguments: str, text: str | None = None) -> tuple[int, str]:
    program = shutil.which("nft", path=SEARCH_PATH)
    if program is None:
        raise NftError("the program nft is missing: install the nftables package")
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, complaint = process.communicate(text, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise NftError(f"nft did not finish within {TIMEOUT_SECONDS} seconds") from error
    if process.returncode:
        raise NftError(f"nft refused: {' '.join(complaint.split())[:SENTENCE_LENGTH_MAX]}")
    return process.pid, output
