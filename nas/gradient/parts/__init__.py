"""What a differentiable search is put together from, each kind behind one protocol (`protocol`), each part one file.

| kind | what it says | a setting, such as |
|---|---|---|
| sampler | how logits become gates | `darts.sampler=gumbel` |
| step | how the architecture's gradient looks through the step of the weights | `darts.step=second` |
| hardware | how expected costs enter the loss | `darts.hardware=log-power` |
| bounds | what holds an expected cost within its bounds | `darts.bounds=lagrangian` |
| perturbation | what gates the weights are trained under | `darts.perturbation=adversarial` |
| stop | when a run ends before its steps are done | `darts.stop=curvature` |

Example:
    >>> from nas.gradient import parts
    >>> parts.STEPS.names()
    ('first', 'second', 'unrolled')
"""

from __future__ import annotations

from device_profiles.registry import Registry
from nas.gradient.parts.protocol import Hardware, MakeBounds, MakeSampler, MakeStop, Perturbation, Step

SAMPLERS: Registry[MakeSampler] = Registry("sampler", "nas.gradient.parts.samplers", attribute="SAMPLER")
STEPS: Registry[Step] = Registry("step", "nas.gradient.parts.steps", attribute="STEP")
HARDWARE: Registry[Hardware] = Registry("hardware", "nas.gradient.parts.hardware", attribute="HARDWARE")
BOUNDS: Registry[MakeBounds] = Registry("bounds", "nas.gradient.parts.bounds", attribute="BOUNDS")
PERTURBATIONS: Registry[Perturbation] = Registry(
    "perturbation", "nas.gradient.parts.perturbations", attribute="PERTURBATION"
)
STOPS: Registry[MakeStop] = Registry("stop", "nas.gradient.parts.stops", attribute="STOP")
