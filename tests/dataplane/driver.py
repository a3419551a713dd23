"""A plane in a process, obeying JSON lines on its standard input: each an expression, answered by its value."""

import json
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from culvert import change
from culvert.dataplane.userspace.plane import UserspacePlane
from tests.dataplane import sites


def main() -> None:
    plane = UserspacePlane(
        Path(sys.argv[1]), random=os.urandom, clock=time.time, log=lambda text: print(text, file=sys.stderr)
    )
    names = {**vars(change), **vars(sites), "plane": plane, "time": time}
    for line in sys.stdin:
        try:
            answer = {"value": eval(json.loads(line), names)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer, default=repr), flush=True)


if __name__ == "__main__":
    main()
