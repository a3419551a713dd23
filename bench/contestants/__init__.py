"""Who performs. A contestant says whether it can run here and why not, and sets itself up on a stage."""

from bench.contestants import culvert, plain, secgw, strongswan, wireguard
from bench.contestants.contestant import Contestant

# In the order of the table; the first is what all others are compared with.
CONTESTANTS: tuple[Contestant, ...] = (
    plain.PLAIN, *culvert.ALL, strongswan.STRONGSWAN, *wireguard.ALL, *secgw.ALL,
)
