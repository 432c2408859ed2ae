"""What two processes of `test_training_together` do: train the same weights, and say with what they end."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import nas
from device_profiles.errors import HwnasError
from nas.testing import gradients as kit
from nas.weights import data, images, processes, trainers, training
from nas.weights.data import Wanted
from nas.weights.diverged import Diverged
from nas.weights.training import TrainingPlan

CHAIN = "chain:layers=1,width=25,resolution=16,classes=10"
GPT = "gpt:layers=3,length=16,vocabulary=32,width=13"


class Rows:
    """Rows and classes; one row that the minibatches of some steps have, is no number."""

    name, digest = "rows", "0"

    def __init__(self, broken: bool = False) -> None:
        self.train = kit._data().train
        if broken:
            inputs = self.train.inputs.clone()
            inputs[17] = float("nan")
            self.train = replace(self.train, inputs=inputs)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets)


@cache
def cases() -> dict:
    """Space, data and plan, by name."""
    gpt, chain = nas.spaces.load(GPT), nas.spaces.load(CHAIN)
    text = data.load("text", Wanted.of(gpt), seed=0, limit=60)
    digits = images.load("digits", chain.input_shape, seed=0, limit=100)
    return {
        "gpt": (gpt, text, TrainingPlan(steps=4, batch=6)),
        "uneven": (kit._space(), Rows(), TrainingPlan(steps=6, batch=7, trainer="fair")),
        "broken": (kit._space(), Rows(broken=True), TrainingPlan(steps=12, batch=16)),
        "bf16": (kit._space(), Rows(), TrainingPlan(steps=4, batch=8, precision="bf16")),
        "norm": (chain, digits, TrainingPlan(steps=3, batch=16)),
    }


def trained(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """Weights and statistics in the end."""
    space, examples, plan = cases()[name]
    supernet = training.train(space, examples, plan, checkpoint=folder / f"{name}.safetensors")
    return {key: tensor.clone() for key, tensor in supernet.state_dict().items() if torch.is_tensor(tensor)}


def refused(plan: TrainingPlan, folder: Path, examples: Rows) -> str:
    """What is said of a training."""
    try:
        training.train(kit._space(), examples, plan, checkpoint=folder / "refused.safetensors")
    except (HwnasError, Diverged) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(folder: Path) -> None:
    """All cases, then what is refused."""
    torch.set_num_threads(1)
    rank = processes.rank()

    def apart(turn: trainers.Turn) -> None:
        arch = np.full(3, 1 + rank)
        turn.loss(turn.supernet.forward_path(turn.inputs, arch)).backward()

    trainers.REGISTRY.register("apart", apart)
    for name in cases():
        ends = {key: tensor.contiguous() for key, tensor in trained(name, folder).items()}
        save_file(ends, folder / f"{name}.{rank}.end")
    nothing = Rows()
    nothing.loss = lambda outputs, targets: outputs.sum() * float("nan" if rank else 1)  # type: ignore[method-assign]
    said = [
        refused(TrainingPlan(steps=1, batch=8, trainer="apart"), folder, Rows()),
        refused(TrainingPlan(steps=1, batch=1), folder, Rows()),
        refused(TrainingPlan(steps=20, batch=8), folder, nothing),
    ]
    (folder / f"said.{rank}").write_text("\n".join(said))
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
