"""The targets by name."""

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz import gateways, keyed, parsers, texts, typed


class Target(NamedTuple):
    """`octets`: of the longest input. `steps`: the input is a script, and mutated as one. `words`: it is a text."""

    judge: Callable[[bytes], None]
    octets: int = 512
    steps: bool = False
    words: bool = False


TARGETS = {
    "ip": Target(parsers.judge_ip),
    "cut": Target(parsers.judge_cut, 256),
    "reassembly": Target(parsers.judge_reassembly, 420),
    "icmp": Target(parsers.judge_complaint, 256),
    "udp": Target(parsers.judge_udp, 128),
    "ipcomp": Target(parsers.judge_ipcomp),
    "esp": Target(keyed.judge_esp, 256),
    "ah": Target(keyed.judge_ah, 256),
    "inbound": Target(gateways.judge_inbound, 2048, steps=True),
    "outbound": Target(gateways.judge_outbound, 2048, steps=True),
    "gateway": Target(gateways.judge_gateway, 4096, steps=True),
    "capture": Target(texts.judge_capture, 1024),
    "tokens": Target(texts.judge_tokens, words=True),
    "draft": Target(texts.judge_draft, 1024, words=True),
    "config": Target(texts.judge_config, 2048, words=True),
    "wire": Target(texts.judge_wire, 2048, words=True),
    "command": Target(typed.judge_command, 1024, words=True),
    "completion": Target(typed.judge_completion, words=True),
    "racoonctl": Target(typed.judge_racoonctl, 128, words=True),
    "explain": Target(typed.judge_explain, 256, words=True),
}
