"""One target under the fuzzer: `python -m tests.fuzz.engine NAME LIBFUZZER-ARGUMENTS...`; `run.py` starts it.

What every input is held to, besides the target's own judgement: no exception, no more than CPU_SECONDS_MAX of work,
and, looked at now and then, no more objects alive than there were after the warm-up.
"""

import gc
import sys
import time
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["culvert"]):
    from tests.fuzz import script
    from tests.fuzz.targets import TARGETS

CPU_SECONDS_MAX = 2.0
LOOK_EVERY = 1 << 15
WARM_UP_LOOKS = 2
BLOCKS_MAX = 60_000
"""Objects more than after the warm-up: what Python and the fuzzer's own bookkeeping come to, with room."""


class _Watch:
    """The judge, with an eye on time and memory."""

    def __init__(self, judge: Callable[[bytes], None]) -> None:
        self._judge = judge
        self._inputs = self._looks = self._blocks = 0

    def __call__(self, data: bytes) -> None:
        started = time.process_time()
        self._judge(data)
        assert time.process_time() - started < CPU_SECONDS_MAX, "too much work for one input"
        self._inputs += 1
        if not self._inputs % LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        gc.collect()
        blocks = sys.getallocatedblocks()
        self._looks += 1
        if self._looks <= WARM_UP_LOOKS:
            self._blocks = max(blocks, self._blocks)
        assert blocks < self._blocks + BLOCKS_MAX, f"{blocks - self._blocks} objects more than after the warm-up"


def main() -> None:
    target = TARGETS[sys.argv[1]]
    arguments = [sys.argv[0], f"-max_len={target.octets}", *sys.argv[2:]]

    def change(data: bytes, octets_max: int, seed: int) -> bytes:
        return script.mutate(data, octets_max, seed, lambda octets, room: bytes(atheris.Mutate(octets, room)))

    extra = {"custom_mutator": change} if target.steps else {}
    atheris.Setup(arguments, _Watch(target.judge), **extra)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
