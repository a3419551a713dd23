"""The audit log: what gets a line, that no line can change or go unseen, and what a full disk does."""

import asyncio
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from culvert.cli import audit as tool
from culvert.config import chain
from culvert.control.audit import Audit
from culvert.control.errors import Refused
from tests.control.guarded import HOME, Guarded, basic
from tests.control.live import ME

POLICY = {"kind": "net ipsec ipsec-policy", "name": "/Common/p", "properties": {"description": "a secret plan"}}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    made.user("ann")
    made.user("guy", "guest")
    yield made
    made.close()


def fault(state: Path) -> str:
    return chain.examine(state / "log", state / chain.NEWEST).fault


def said(house: Guarded) -> list[tuple[str, str, str, str, str]]:
    words = ("user", "from", "call", "what", "result")
    return [tuple(json.loads(line)[word] for word in words) for line in house.audit_text.splitlines()]  # type: ignore[misc]


# what gets a line


def test_changes_and_logins_in_order(house: Guarded) -> None:
    token = house.token("ann")
    begun = len(said(house))
    house.ask("create", token, **POLICY)
    house.refused("create", token, **POLICY)
    house.ask("transaction", token, operations=[
        {"verb": "modify", "kind": "net ipsec ipsec-policy", "names": ["p"], "properties": {"mode": "tunnel"}},
        {"verb": "delete", "kind": "net ipsec ipsec-policy", "names": ["p"]},
    ])  # fmt: skip
    house.ask("save", token)
    house.ask("load", token, text="", merge=True)
    house.ask("delete-sas", token, filters={"spi": "77"})
    house.ask("reset-stats", token)
    house.refused("restart-tmm", basic("guy"))
    house.refused("login", **basic("guy", "wrong password"))
    house.ask("logout", token)
    pid = os.getpid()
    house.ask("delete", None, ME, kind="auth user", names=["guy"])
    assert said(house)[begun:] == [
        ("ann", HOME, "create", "create net ipsec ipsec-policy /Common/p description", "ok"),
        ("ann", HOME, "create", "create net ipsec ipsec-policy /Common/p description",
         "01020066:3: The requested IPsec policy (/Common/p) already exists in partition Common."),
        ("ann", HOME, "transaction", "modify net ipsec ipsec-policy p mode; delete net ipsec ipsec-policy p", "ok"),
        ("ann", HOME, "save", "", "ok"),
        ("ann", HOME, "load", "a text merge", "ok"),
        ("ann", HOME, "delete-sas", "spi", "ok"),
        ("ann", HOME, "reset-stats", "", "ok"),
        ("guy", HOME, "login", "basic", "ok"),
        ("guy", HOME, "restart-tmm", "", "guy (guest in all-partitions) may not run restart-tmm"),
        ("guy", HOME, "login", "token", "Authentication failed"),
        ("ann", HOME, "logout", "token of ann", "ok"),
        ("root", f"socket pid {pid}", "delete", "delete auth user guy", "ok"),
    ]  # fmt: skip
    assert "secret plan" not in house.audit_text
    assert fault(house.directory) == ""


def test_what_changes_nothing_gets_no_line(house: Guarded) -> None:
    begun = said(house)
    house.root("transaction", operations=[{"verb": "create", **POLICY}], validate_only=True)
    house.root("load", text="", verify=True)
    for call, args in (("list", {"kind": "net"}), ("show", {"what": "sys log"}), ("describe", {}), ("text", {})):
        house.root(call, **args)
    assert said(house) == begun


def test_a_fault_of_ours_gets_a_line_too(house: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(house.site.plane, "reset_stats", lambda *chosen: broken())
    with pytest.raises(RuntimeError):
        house.root("reset-stats")
    assert said(house)[-1][2:] == ("reset-stats", "", "failed")


def test_a_locked_out_attempt_is_told_once(house: Guarded) -> None:
    for number in range(30):
        house.refused("login", **basic("ann", f"wrong {number}"))
    told = [result for *_, result in said(house) if result.startswith("Auth")]
    assert len(told) == 5 and told[-1] == "Authentication failed; the next attempt waits 1 seconds"


def test_the_name_of_nobody_is_not_written(house: Guarded) -> None:
    house.refused("login", **basic("hunter2-typed-too-early"))
    assert said(house)[-1][0] == "(unknown)" and "hunter2" not in house.audit_text


def test_nothing_breaks_a_line(house: Guarded) -> None:
    odd = {"kind": "net\nipsec \u2028", "name": "\ud800\x00" + "n" * 5000, "properties": {"x\n": 1}}
    house.refused("create", None, ME, **odd)
    assert fault(house.directory) == "" and len(house.audit_text.splitlines()[-1]) < 3000


def test_who_may_read_it(house: Guarded) -> None:
    house.user("eva", "auditor")
    found = house.ask("audit", basic("eva"), lines=2)
    assert [own["call"] for own in found] == ["create", "login"]
    assert isinstance(house.refused("audit", basic("guy")), Refused)
    for lines in (0, 1001, "x", -1):
        assert "a number from 1 to 1000" in house.refused("audit", None, ME, lines=lines).text


def test_who_asks_is_told_whether_the_newest_lines_are_whole(house: Guarded) -> None:
    house.root("create", **POLICY)
    assert house.ask("audit", basic("ann"), checked=True)["fault"] == ""
    found = house.ask("audit", basic("ann"), lines=2, checked=True)
    assert (found["fault"], [own["call"] for own in found["lines"]]) == ("", ["create", "login"])
    path = house.directory / "log" / "audit.log"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:-2], lines[-2].replace("root", "ann"), lines[-1]]))
    assert f"number {len(lines) - 1} was changed" in house.ask("audit", basic("ann"), lines=2, checked=True)["fault"]
    path.write_text("".join(lines[:-1]))
    assert "the end was cut off" in house.ask("audit", basic("ann"), checked=True)["fault"]
    path.write_text("")
    assert "the end was cut off" in house.ask("audit", basic("ann"), checked=True)["fault"]



def test_tmsh_shows_it(house: Guarded) -> None:
    house.site.call = lambda name, /, **args: house.root(name, **args)  # type: ignore[method-assign]
    lines = house.site.tmsh("show sys log audit lines 1").splitlines()
    assert len(lines) == 1 and lines[0].startswith("2 ")
    assert lines[0].endswith(f"root from socket pid {os.getpid()}: create auth user guy partition-access password: ok")


# the chain


@pytest.fixture
def state(tmp_path: Path) -> Path:
    audit = Audit(tmp_path, lambda: 0.0)
    for number in range(1, 21):
        audit.note("create", f"user {number}", "somewhere", "what", "ok")
    audit.close()
    return tmp_path


def test_a_whole_log(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = chain.examine(state / "log", state / chain.NEWEST)
    assert (found.first, found.head.number, found.fault) == (1, 20, "")
    assert tool.run(["verify", "--state", str(state)]) == 0
    assert found.head.hash in capsys.readouterr().out
    for path in (state / "log" / "audit.log", state / "audit.newest"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def edited(lines: list[str]) -> list[str]:
    return [*lines[:9], lines[9].replace("user 10", "user 11"), *lines[10:]]


def forged(lines: list[str]) -> list[str]:
    """Changed, with a hash of its own that fits."""
    record = json.loads(lines[9])
    fields = {word: record[word] for word in ("time", "user", "from", "call", "what", "result")} | {"user": "nobody"}
    text, _ = chain.line(fields, chain.Head(9, record["previous"]))
    return [*lines[:9], text, *lines[10:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (edited, "audit.log, line 10: number 10 was changed"),
        (forged, "audit.log, line 11: number 11 was put in, or the one before it was changed"),
        (lambda lines: [*lines[:9], *lines[10:]], "audit.log, line 10: number 10 was taken out"),
        (lambda lines: [*lines[:9], *lines[14:]], "line 10: number 10 was taken out, or every one up to 14"),
        (lambda lines: lines[5:], "the lines before number 6 were taken out"),
        (lambda lines: [*lines[:10], lines[9], *lines[10:]], "line 11: number 10 was put in, or stands twice"),
        (lambda lines: [*lines[:10], lines[14], *lines[10:]], "line 11: number 11 was taken out"),
        (lambda lines: [*lines[:10], "{}", *lines[10:]], "line 11: it is no line of the audit log"),
        (lambda lines: [*lines[:9], lines[9][:40], *lines[10:]], "line 10: it is no line of the audit log"),
        (lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]], "line 10: number 10 was taken out"),
        (lambda lines: lines[:-3], "the end was cut off: number 20 was the newest, 17 is the last that is there"),
        (lambda lines: lines[:-1], "the end was cut off: number 20 was the newest, 19"),
        (lambda lines: [], "the end was cut off: number 20 was the newest, 0"),
    ],
)
def test_the_first_line_that_is_wrong(
    state: Path, capsys: pytest.CaptureFixture[str], change: Callable[[list[str]], list[str]], told: str
) -> None:
    path = state / "log" / "audit.log"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    assert tool.run(["verify", "--state", str(state)]) == 1
    assert told in capsys.readouterr().out


def test_lines_behind_the_newest(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = state / "log" / "audit.log"
    head = chain.newest(state / chain.NEWEST)
    assert head is not None
    text, _ = chain.line({"user": "x"}, head)
    path.write_text(f"{path.read_text()}{text}\n")
    assert tool.run(["verify", "--state", str(state)]) == 0  # As while the daemon writes, or after it was killed.
    assert "those behind 20 are not counted yet" in capsys.readouterr().out
    again(state)
    assert "number 21 to 21 were not counted" in json.loads(path.read_text().splitlines()[-2])["result"]
    assert fault(state) == ""


def test_a_tail_that_was_written_anew(state: Path) -> None:
    path = state / "log" / "audit.log"
    lines = path.read_text().splitlines()[:-2]
    record = json.loads(lines[-1])
    head = chain.Head(record["number"], record["hash"])
    for number in range(19, 25):
        text, head = chain.line({"user": f"nobody {number}"}, head)
        lines.append(text)
    path.write_text("".join(f"{line}\n" for line in lines))
    assert fault(state) == "audit.log, line 20: number 20 was changed"


def test_it_may_be_read_while_it_is_written(tmp_path: Path) -> None:
    house = Guarded(tmp_path)
    seen = set()

    async def write() -> None:
        for _ in range(50):
            await house.door.answer("save", {}, ME, None)

    async def read() -> None:
        for _ in range(50):
            seen.add(await asyncio.to_thread(fault, tmp_path))

    house.together(write(), read(), write())
    assert seen == {""}
    house.close()


@pytest.mark.alone
def test_an_answer_waits_for_the_disk_and_the_others_do_not(house: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (time.sleep(0.1), slow(descriptor)))
    order: list[str] = []

    async def ask(call: str, **args: object) -> None:
        await house.door.answer(call, dict(args), ME, None)
        order.append(call)

    begun = time.monotonic()
    house.together(*(ask("reset-stats") for _ in range(20)), ask("describe"))
    # Two syncs (the log, the number) for the first, and two for all that came meanwhile; not forty.
    assert time.monotonic() - begun < 2.0
    assert order[0] == "describe"
    head = chain.newest(house.directory / chain.NEWEST)
    assert head is not None and head.number == house.audit.written


def test_the_file_apart(state: Path) -> None:
    (state / chain.NEWEST).write_text("rubbish")
    assert "audit.newest is damaged" in fault(state)
    (state / chain.NEWEST).unlink()
    assert "audit.newest is gone" in fault(state)


def test_an_empty_log_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.run(["verify", "--state", str(tmp_path)]) == 1
    assert "No such file" in capsys.readouterr().err
    Audit(tmp_path, lambda: 0.0).close()
    assert tool.run(["verify", "--state", str(tmp_path)]) == 0


def test_every_octet_counts(state: Path) -> None:
    path = state / "log" / "audit.log"
    whole = path.read_bytes()
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert fault(state), place
    path.write_bytes(whole)
    assert fault(state) == ""


# starts, rotation and disks


def again(state: Path, count: int = 1, **words: int) -> None:
    audit = Audit(state, lambda: 0.0, **words)
    for _ in range(count):
        audit.note("save", "me", "here", "", "ok")
    audit.close()


def test_the_chain_goes_on_over_starts(state: Path) -> None:
    for _ in range(3):
        again(state)
    assert chain.examine(state / "log", state / chain.NEWEST).head.number == 23
    assert fault(state) == ""


def test_a_gap_is_told_at_the_start_and_stays(state: Path) -> None:
    path = state / "log" / "audit.log"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    again(state)
    told = [json.loads(line) for line in path.read_text().splitlines()[-2:]]
    assert "number 20 was the newest, 17 is the last" in told[0]["result"] and told[1]["user"] == "me"
    assert "number 18 was taken out, or every one up to 20" in fault(state)


def test_half_a_line_of_a_crash_is_taken_back(state: Path) -> None:
    path = state / "log" / "audit.log"
    with path.open("a") as file:
        file.write('{"number": 21, "ti')
    again(state)
    assert fault(state) == ""


def test_the_chain_goes_over_files(tmp_path: Path) -> None:
    again(tmp_path, 200, file_octets=2000)
    paths = chain.files(tmp_path / "log")
    assert len(paths) == chain.FILES_KEPT + 1
    found = chain.examine(tmp_path / "log", tmp_path / chain.NEWEST)
    assert found.fault == "" and found.head.number == 200 and found.first > 1
    # A file that goes is seen in the middle, at the end, and at the beginning.
    for victim in (paths[7], paths[-1], paths[0]):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "log", copy)
        (copy / victim.name).unlink()
        assert chain.examine(copy, tmp_path / chain.NEWEST).fault, victim
        shutil.rmtree(copy)
    again(tmp_path)
    audit = Audit(tmp_path, lambda: 0.0)
    assert [own["number"] for own in audit.tail(50)] == list(range(152, 202))
    audit.close()


FULL_DISK = """
import logging, resource, signal, sys
from pathlib import Path
from culvert.control.audit import Audit
logging.basicConfig(format="%(message)s %(fields)s", stream=sys.stdout)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
audit = Audit(Path(sys.argv[1]), lambda: 0.0)
audit.note("save", "me", "here", "", "ok")
size = (Path(sys.argv[1]) / "log" / "audit.log").stat().st_size
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
for _ in range(7):
    audit.note("save", "me", "here", "", "ok")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
audit.note("save", "me", "here", "", "ok")
"""


def test_a_disk_that_takes_no_line(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.count("audit-log-lost") == 1
    lines = (tmp_path / "log" / "audit.log").read_text().splitlines()
    assert [json.loads(line)["result"] for line in lines] == [
        "ok", "7 lines before this one could not be written", "ok",
    ]  # fmt: skip
    assert fault(tmp_path) == ""


def test_a_log_that_can_not_be_opened_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").write_text("in the way")
    audit = Audit(tmp_path, lambda: 0.0)
    audit.note("save", "me", "here", "", "ok")
    assert [record.getMessage() for record in caplog.records].count("audit-log-lost") >= 1
    assert audit.tail(5) == []
    (tmp_path / "log").unlink()
    audit.note("save", "me", "here", "", "ok")
    assert [own["result"] for own in audit.tail(5)] == ["1 lines before this one could not be written", "ok"]
    audit.close()
