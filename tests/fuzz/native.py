"""`make fuzz-engine`: libFuzzer and AddressSanitizer at the native engine; see `engine/fuzz/`.

What a run learns stays in .build/fuzz-engine/, so that the next one begins there. It begins with ordinary packets of
every kind that the gateways of `engine/fuzz/src/targets/world.rs` protect. A finding is an input file in
.build/fuzz-engine/findings/.
"""

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from culvert.ipsec.ip import NextHeader
from tests.fuzz.run import INPUT_SECONDS_MAX, SHORT_SECONDS, Outcome

ROOT = Path(__file__).parents[2]
LEARNT = ROOT / ".build" / "fuzz-engine"
FINDINGS = LEARNT / "findings"
PAIRS = 10
"""SAs of the two gateways."""
MEMORY_MEGABYTES_MAX = 2048

TCP4, TCP6, UDP = 1, 4, 5
"""Kinds of super-packets, as the virtio header names them."""


def udp(octets: int) -> bytes:
    return struct.pack("!HHHH", 1000, 53, 8 + octets, 0) + bytes(octets)


def tcp(octets: int) -> bytes:
    """With a maximum segment size."""
    return struct.pack("!HHIIBBHHHBBH", 1000, 80, 1, 1, 0x60, 2, 1000, 0, 0, 2, 4, 1460) + bytes(octets)


def ipv4(pair: int, protocol: NextHeader, payload: bytes, place: int = 0x4000) -> bytes:
    """From anywhere to the network of that pair; `place`: flags and offset."""
    ends = bytes((10, 99, 0, 1, 10, pair, 0, 9))
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, place, 64, protocol, 0) + ends + payload


def ipv6(pair: int, protocol: NextHeader, payload: bytes) -> bytes:
    ends = bytes((0xFD, 99, *[0] * 13, 1, 0xFD, pair, *[0] * 13, 9))
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload


def packets(pair: int) -> list[bytes]:
    """What is special about them: nothing; an option to clamp; too large, with DF and without; a fragment."""
    return [
        ipv4(pair, NextHeader.UDP, udp(40)),
        ipv4(pair, NextHeader.TCP, tcp(700)),
        ipv4(pair, NextHeader.UDP, udp(1460)),
        ipv4(pair, NextHeader.UDP, udp(1460), 0),
        ipv4(pair, NextHeader.UDP, udp(80), 0x2000),
        ipv6(pair, NextHeader.UDP, udp(300)),
    ]


def script(items: list[bytes]) -> bytes:
    """Each with its length in front."""
    return b"".join(struct.pack("!H", len(item)) + item for item in items)


def _super(kind: int, packet: bytes) -> bytes:
    return struct.pack("<BBHHH", 1, kind, 1000, 20, 16) + packet


def seeds() -> dict[str, list[bytes]]:
    """By target."""
    each = [packets(pair) for pair in range(PAIRS)]
    supers = [(TCP4, ipv4(1, NextHeader.TCP, tcp(3000))), (TCP6, ipv6(1, NextHeader.TCP, tcp(3000)))]
    supers.append((UDP, ipv4(1, NextHeader.UDP, udp(3000))))
    fates = (0, 0, 1, 40, 77, 0, 200)
    return {
        "headers": [packet for own in each for packet in own],
        "words": [b'{"reset": true}', b'{"apply": [], "slots": []}', b'{"end": true}'],
        "pieces": [_super(kind, packet) for kind, packet in supers],
        "ipcomp": [bytes(300), b"\x04\0\0\2" + bytes(range(200))],
        "outbound": [script(own) for own in each],
        "inbound": [
            script([bytes((fate,)) + packet for fate, packet in zip(fates, [*own, own[0]], strict=True)])
            for own in each
        ],
    }


def build() -> Path:
    """The fuzzer. Ends the run where it can't be built: the compiler has said why."""
    missing = [program for program in ("cargo", "c++") if not shutil.which(program)]
    if missing:
        sys.exit(f"make fuzz-engine: {' and '.join(missing)} missing: install a Rust toolchain and a C++ compiler")
    print("  engine    building the fuzzer; some minutes the first time", flush=True)
    built = subprocess.run(
        [ROOT / "tools" / "engine", "fuzz"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if built.returncode:
        sys.exit("make fuzz-engine: the fuzzer could not be built: see above")
    return Path(built.stdout.strip().splitlines()[-1])


def run(fuzzer: Path, name: str, seconds: int) -> Outcome:
    """One target, in a process of its own."""
    learnt = LEARNT / name
    for directory in (learnt, FINDINGS):
        directory.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds()[name]):
        (learnt / f"seed-{number}").write_bytes(octets)
    arguments = [
        f"-max_total_time={seconds}", "-print_final_stats=1", f"-timeout={INPUT_SECONDS_MAX}", "-max_len=16384",
        f"-rss_limit_mb={MEMORY_MEGABYTES_MAX}", f"-artifact_prefix={FINDINGS}/{name}-", str(learnt),
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(
        [fuzzer, *arguments],
        env={**os.environ, "CULVERT_FUZZ_TARGET": name},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    output = done.stderr + done.stdout
    executed = re.search(r"number_of_executed_units: (\d+)", output)
    corpus = re.findall(r"corp: (\d+)", output)
    return Outcome(
        name,
        int(executed.group(1)) if executed else 0,
        time.monotonic() - started,
        int(corpus[-1]) if corpus else 0,
        output,
        done.returncode == 0 and executed is not None,
    )


def outcomes(fuzzer: Path, names: list[str], seconds: int, jobs: int) -> Iterator[Outcome]:
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda name: run(fuzzer, name, seconds), names)


def main() -> int:
    names = list(seeds())
    parser = argparse.ArgumentParser(
        prog="make fuzz-engine ARGS=...", description="hostile octets at the native engine"
    )
    parser.add_argument("--target", action="append", choices=names, help="only this one; may be given again")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_SECONDS} seconds of each target, for CI")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    options = parser.parse_args()
    chosen = options.target or names
    failed = 0
    for outcome in outcomes(build(), chosen, SHORT_SECONDS if options.short else options.seconds, options.jobs):
        print(outcome, flush=True)
        if not outcome.passed:
            failed += 1
            print("\n".join(line[:300] for line in outcome.output.splitlines()[-40:]), flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
