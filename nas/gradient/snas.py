"""SNAS: all options at once, weighted by draws of the concrete distribution, which cools down to single paths.

Source: Xie, Zheng, Liu & Lin, "SNAS: stochastic neural architecture search", ICLR 2019, sections 2.3 and 2.4.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="gumbel", tau_last=0.03)
