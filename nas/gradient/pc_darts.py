"""PC-DARTS: as DARTS, with a quarter of the channels through what is mixed, drawn anew at each place and pass.

Source: Xu et al., "PC-DARTS: partial channel connections for memory-efficient architecture search", ICLR 2020, section
    3.2.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, channels=0.25)
