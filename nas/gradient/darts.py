"""DARTS: all options at once, weighted by a softmax, with weights that are held while the architecture is trained.

Source: Liu, Simonyan & Yang, "DARTS: differentiable architecture search", ICLR 2019, sections 2.2 and 2.3
    (first order).
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__)
