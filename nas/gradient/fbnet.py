"""FBNet: draws of the concrete distribution weigh all options; the loss is multiplied by a power of the log of costs.

Source: Wu et al., "FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search", CVPR
    2019, sections 3.2 and 3.3.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="gumbel", hardware="log-power", tau_first=5.0, tau_last=0.1)
