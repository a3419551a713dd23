"""The kernel alone: it forwards in clear, without any tunnel. What everything else is compared with."""

import platform
from dataclasses import dataclass

from bench.contestants.contestant import Contestant
from bench.proof import Wire
from bench.stage import Links, Stage


@dataclass(frozen=True)
class Plain(Contestant):
    """Two gateways that are ordinary Linux routers."""

    def version(self) -> str:
        return f"Linux {platform.release()}"

    def up(self, stage: Stage) -> None:
        stage.address_gateways()
        stage.open_wan()


PLAIN = Plain("plain", "plain forwarding", Wire.CLEAR, (Links.WHOLE, Links.SEGMENTED, Links.SINGLE))
