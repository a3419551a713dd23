"""`make test-api`: whether the description of the API is true, and whether anything that it allows breaks the server.

A lab gateway, and schemathesis making requests out of /mgmt/shared/openapi.json for as long as is asked for. No fault
of the server's, no request without an answer, no status or body that the description doesn't have.

    python -m tests.rest.api [--minutes 30] [--short]
"""

import argparse
import secrets
import subprocess
import sys
from pathlib import Path

from tests.rest.gateways import Gateway
from tests.rest.wire import Wire, alone, basic

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".build" / "api" / "bin" / "schemathesis"
DESCRIPTION = "/mgmt/shared/openapi.json"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
# A stream has no end to wait for; who logs in by mistake is locked out; and health answers 503 on purpose.
LEFT_OUT = ("/mgmt/shared/events", "/mgmt/shared/authn/login", "/health")
ANSWER_SECONDS = 10.0


def main() -> int:
    """The exit status: 0 when all of it holds."""
    parser = argparse.ArgumentParser(prog="make test-api")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to ask (%(default)g)")
    parser.add_argument("--short", action="store_true", help="one minute")
    parser.add_argument("--seed", type=int, default=None, help="ask the same again")
    options = parser.parse_args()
    with alone("rapi") as gateway:
        # A minute is not enough for every edge of every address, so the short form takes some at random.
        phases = "fuzzing" if options.short else "examples,coverage,fuzzing"
        status = _ask(gateway, 60.0 if options.short else options.minutes * 60, phases, options.seed)
        with Wire(gateway) as wire:
            reply = wire.ask("GET", "/mgmt/tm/sys/version", basic("admin", gateway.password))
        if reply.status != 200:
            print(f"after all this an administrator is answered {reply.status}; of users:", file=sys.stderr)
            audit = (gateway.lab.directory / gateway.node / "log" / "audit.log").read_text().splitlines()
            print(*(line for line in audit if "auth user" in line or "load" in line), sep="\n", file=sys.stderr)
            return 1
    return status


def _ask(gateway: Gateway, seconds: float, phases: str, seed: int | None) -> int:
    with Wire(gateway) as wire:
        described = wire.ask("GET", DESCRIPTION, basic("admin", gateway.password))
        # Its own administrator: sooner or later it gives `admin` another password, and all that follows would be 401.
        name, password = f"asker-{secrets.token_hex(8)}", secrets.token_hex(16)
        person = {"name": name, "password": password, "partitionAccess": [{"name": "all-partitions", "role": "admin"}]}
        made = wire.ask("POST", "/mgmt/tm/auth/user", basic("admin", gateway.password), body=person)
        if made.status != 200:
            raise SystemExit(f"no administrator to ask as: {made.status}")
    path = gateway.lab.directory / "openapi.json"
    path.write_bytes(described.body)
    words = [str(PROGRAM), "run", str(path), "--url", gateway.url, "--tls-verify", "false"]
    words += ["--auth", f"{name}:{password}", "--checks", ",".join(CHECKS), "--workers", "2"]
    words += ["--phases", phases, "--max-time", str(int(seconds)), "--continue-on-failure"]
    words += ["--request-timeout", str(ANSWER_SECONDS), "--max-response-time", str(ANSWER_SECONDS), "--no-color"]
    words += ["--suppress-health-check", "all", "--warnings", "off"]
    words += ["--seed", str(seed)] if seed is not None else []
    for left_out in LEFT_OUT:
        words += ["--exclude-path", left_out]
    return subprocess.run(gateway.command(words), cwd=gateway.lab.directory, timeout=seconds * 2 + 120).returncode


if __name__ == "__main__":
    sys.exit(main())
