"""ProxylessNAS by REINFORCE: one path is drawn and judged; no gradient passes through the network.

Source: Cai, Zhu & Han, "ProxylessNAS: direct neural architecture search on target task and hardware", ICLR 2019,
    section 3.3.2.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="reinforce", hardware="ratio")
