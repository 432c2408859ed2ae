"""DrNAS: all options at once, weighted by draws of a Dirichlet distribution whose concentrations are trained.

Source: Chen, Wang, Cheng, Tang & Hsieh, "DrNAS: Dirichlet neural architecture search", ICLR 2021, sections 3.1 and 3.2.
"""

from nas.gradient.machine import preset

GRADIENT = preset(__name__, sampler="dirichlet")
