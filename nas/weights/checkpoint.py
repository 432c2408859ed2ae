"""The checkpoint of a training of shared weights: weights, what the optimiser knows of each, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_profiles.errors import UsageError
from nas.weights import going

#: What an optimiser's tensors are called in a checkpoint, where that is not as torch calls them.
_KEPT = {"momentum_buffer": "momentum"}


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: minibatches that are done.
        skipped: those that were left out, since their loss or gradient was no number.
        scaler: state of what scales gradients; empty without one.
    """

    step: int = 0
    skipped: int = 0
    scaler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, str]:
        """As metadata; what is as ever is not named."""
        more = {"skipped": str(self.skipped)} if self.skipped else {}
        return {"step": str(self.step), **more, **({"scaler": json.dumps(self.scaler)} if self.scaler else {})}


@dataclass(frozen=True)
class Checkpoint:
    """The file, and the training that it is of.

    Attributes:
        path: a `.safetensors` file.
        identity: of the training.
    """

    path: Path
    identity: str

    def save(self, supernet: Any, optimiser: Any, progress: Progress) -> None:
        """Write weights and what the optimiser knows of each, whole or not at all."""
        tensors = {f"weights.{name}": tensor for name, tensor in supernet.state_dict().items()}
        for number, parameter in enumerate(supernet.parameters()):
            for name, tensor in optimiser.state.get(parameter, {}).items():
                if tensor is not None:
                    tensors[f"{_KEPT.get(name, name)}.{number}"] = tensor
        going.write(self.path, tensors, {"identity": self.identity, **progress.facts})

    def restore(self, supernet: Any, optimiser: Any, adopt: Callable[[Any, Any], int]) -> Progress:
        """How far this very training is, with weights and momentum in place; not begun if there is no such checkpoint.

        Args:
            supernet: takes the weights.
            optimiser: takes what was known of each.
            adopt: gives it the parameters that were made for them.

        Raises:
            InvalidData: the file is damaged.
        """
        found = going.read(self.path, self.identity)
        if found is None:
            return Progress()
        tensors, facts = found
        try:
            progress = Progress(int(facts["step"]), int(facts.get("skipped", 0)), json.loads(facts.get("scaler", "{}")))
            supernet.load_state_dict(going.below("weights", tensors))
            adopt(optimiser, supernet)
            for number, parameter in enumerate(supernet.parameters()):
                for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step"):
                    kept = tensors.get(f"{_KEPT.get(name, name)}.{number}")
                    if kept is not None:  # a count stays on the CPU, as torch keeps it
                        optimiser.state[parameter][name] = kept if name == "step" else kept.to(parameter.device)
        except (RuntimeError, ValueError, KeyError, UsageError) as error:
            raise going.damaged(self.path, error) from error
        return progress
