"""ReinMax: one path is drawn, and the gradient that reaches its probabilities is right to second order.

Source: Liu, Dong, Liu, Yu & Gao, "Bridging discrete and backpropagation: straight-through and beyond", NeurIPS 2023,
    section 4.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="reinmax")
