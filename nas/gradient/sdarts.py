"""SDARTS: as DARTS, with weights that are trained under the worst gates near those of the architecture.

Source: Chen & Hsieh, "Stabilizing differentiable architecture search via perturbation-based regularization", ICML 2020,
    section 4.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, perturbation="adversarial")
