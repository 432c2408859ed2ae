"""DARTS of second order: the gradient of the architecture looks through one step of the weights.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, section 2.3, equations 6 to 8.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, step="second")
