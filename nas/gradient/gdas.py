"""GDAS: sample one path by Gumbel noise, send its gradient to all probabilities, add the expected hardware cost.

Source: Dong & Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019, sections 3.2-3.3. The
    hardware term is the expected latency of ProxylessNAS (Cai et al., ICLR 2019, section 3.3), here exact over the
    whole space, swept over its weight.
"""

from nas.gradient.machine import DEFAULT_WEIGHTS, preset
from nas.gradient.machine.reading import cost_scale, most_probable
from nas.gradient.parts.samplers.gdas import gumbel_gates

__all__ = ["DEFAULT_WEIGHTS", "GRADIENT", "cost_scale", "gdas", "gumbel_gates", "most_probable"]

gdas = GRADIENT = preset(__name__, sampler="gdas", tau_first=10.0, tau_last=0.1)
