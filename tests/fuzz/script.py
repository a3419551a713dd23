"""A sequence of steps as octets: `kind (1) | seconds / 8 (1) | length (2) | octets`, and in front which scenario.

Any octets are a script: a length that is too long ends with the input. The mutator works on steps, so that what the
fuzzer has learnt about one packet stays together when another one is put before it.
"""

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

_STEP = struct.Struct("!BBH")
STEPS_MAX = 24
Mutate = Callable[[bytes, int], bytes]


class Step(NamedTuple):
    kind: int
    eighths: int
    octets: bytes


def parse(data: bytes) -> tuple[int, list[Step]]:
    """Number of the scenario, and the steps."""
    steps, at = [], 1
    while at + _STEP.size <= len(data) and len(steps) < STEPS_MAX:
        kind, eighths, octets = _STEP.unpack_from(data, at)
        at += _STEP.size
        steps.append(Step(kind, eighths, data[at : at + octets]))
        at += octets
    return (data[0] if data else 0), steps


def emit(scenario: int, steps: list[Step]) -> bytes:
    return bytes((scenario,)) + b"".join(
        _STEP.pack(step.kind, step.eighths, len(step.octets)) + step.octets for step in steps
    )


def mutate(data: bytes, octets_max: int, seed: int, change: Mutate) -> bytes:
    """Another script; `change` is the fuzzer's own mutation of octets."""
    chance = random.Random(seed)
    scenario, steps = parse(data)
    what = chance.randrange(10)
    if what == 0:
        return emit(chance.randrange(256), steps)[:octets_max]
    if not steps:
        steps = [Step(chance.randrange(256), 0, bytes(40))]
    at = chance.randrange(len(steps))
    step = steps[at]
    if what == 1:
        steps.insert(at, step)
    elif what == 2:
        del steps[at]
    elif what == 3:
        other = chance.randrange(len(steps))
        steps[at], steps[other] = steps[other], steps[at]
    elif what == 4:
        steps[at] = step._replace(kind=chance.randrange(256))
    elif what == 5:
        steps[at] = step._replace(eighths=chance.randrange(256))
    else:
        room = max(1, min(octets_max - len(data), 0xFFFF - len(step.octets)) + len(step.octets))
        steps[at] = step._replace(octets=change(step.octets, room)[:0xFFFF])
    return emit(scenario, steps)[:octets_max]
