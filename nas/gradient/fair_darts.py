"""FairDARTS: each option has a sigmoid of its own, so that skips have no unfair advantage, driven to 0 or 1.

Source: Chu, Zhou, Zhang & Li, "Fair DARTS: eliminating unfair advantages in differentiable architecture search", ECCV
    2020, section 4.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="sigmoid")
