"""ProxylessNAS: two paths of each choice are drawn and compared, one of them runs; expected costs by their bounds.

Source: Cai, Zhu & Han, "ProxylessNAS: direct neural architecture search on target task and hardware", ICLR 2019,
    sections 3.2 and 3.3.1.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="binary", hardware="ratio")
