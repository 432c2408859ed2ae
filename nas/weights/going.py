"""Files of a training that is going on: everything that the next step needs, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.errors import InvalidData

if TYPE_CHECKING:
    from torch import Tensor, nn

Score = tuple[float, float, float]
"""Value, and the ends of its interval."""


@dataclass(frozen=True)
class Best:
    """The best weights so far.

    Attributes:
        weights: by name; empty where only the score is wanted.
        score: on the validation examples.
        epoch: after which they were kept.
    """

    weights: Mapping[str, Tensor]
    score: Score
    epoch: int


@dataclass(frozen=True)
class Files:
    """The checkpoint of a training and, until it has ended, what is needed to go on.

    Attributes:
        checkpoint: for the best weights in the end.
        identity: of the training.
    """

    checkpoint: Path
    identity: str

    @property
    def state(self) -> Path:
        """What is needed to go on."""
        return self.checkpoint.with_suffix(".going")

    def save(self, network: nn.Module, optimiser: Any, step: int, best: Best | None) -> None:
        """Write weights, the optimiser's state and the best weights after a step."""
        tensors = {f"weights.{name}": tensor for name, tensor in network.state_dict().items()}
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": tensor for key, tensor in state.items() if tensor is not None}
        facts = {"step": str(step)}
        if best is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in best.weights.items()}
            facts["best"] = json.dumps([best.score, best.epoch])
        write(self.state, tensors, {"identity": self.identity, **facts})

    def restore(self, network: nn.Module, optimiser: Any) -> tuple[int, Best | None]:
        """Steps that are done, with weights and the optimiser's state in place, and the best so far."""
        found = read(self.state, self.identity)
        if found is None:
            return 0, None
        tensors, facts = found
        try:
            network.load_state_dict(below("weights", tensors))
            whole = optimiser.state_dict()
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in below("optimiser", tensors).items():
                number, _, key = name.partition(".")
                states.setdefault(int(number), {})[key] = tensor
            optimiser.load_state_dict({**whole, "state": states})
            best = None
            if "best" in facts:
                score, epoch = json.loads(facts["best"])
                best = Best(below("best", tensors), tuple(score), int(epoch))
            return int(facts["step"]), best
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.state, error) from error

    def finish(self, best: Best) -> None:
        """Keep the best weights, and nothing else."""
        about = {"identity": self.identity, "best": json.dumps([best.score, best.epoch])}
        write(self.checkpoint, dict(best.weights), about)
        self.remove()

    def remove(self) -> None:
        """Nothing is left to go on with."""
        self.state.unlink(missing_ok=True)


def finished(checkpoint: Path, identity: str) -> Best | None:
    """Score and epoch of a training that has ended; None where there is none of that identity.

    Raises:
        InvalidData: the file is damaged.
    """
    if not checkpoint.exists():
        return None
    found, best = ended(checkpoint)
    return best if found == identity else None


def ended(checkpoint: Path) -> tuple[str, Best]:
    """Identity, score and epoch of a training that has ended, without its weights.

    Raises:
        InvalidData: the file is damaged.
    """
    said = facts(checkpoint)
    try:
        score, epoch = json.loads(said["best"])
        return said["identity"], Best({}, tuple(score), int(epoch))
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(checkpoint, error) from error


def load(network: nn.Module, weights: Path) -> nn.Module:
    """A network with kept weights, in eval mode.

    Raises:
        InvalidData: the file is damaged, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise damaged(weights, error) from error
    return network.eval()


def facts(path: Path) -> dict[str, str]:
    """What a file says beside its tensors.

    Raises:
        InvalidData: it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(path, error) from error


def read(path: Path, identity: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and facts of a file; None where there is none of that identity.

    Raises:
        InvalidData: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.exists():
        return None
    said = facts(path)
    if said.get("identity") != identity:
        return None
    try:
        return load_file(path), said
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(path, error) from error


def write(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str]) -> None:
    """Write tensors and facts, whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".partial")
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary, facts)
    temporary.replace(path)


def below(head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with a word and a dot, under the rest of their names."""
    return {name.removeprefix(f"{head}."): one for name, one in tensors.items() if name.startswith(f"{head}.")}


def damaged(path: Path, error: Exception) -> InvalidData:
    """What is said of a checkpoint that cannot be used."""
    return InvalidData(f"the checkpoint {path} is damaged: {error}", hint="Remove it to train anew.")
