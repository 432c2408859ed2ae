from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from device_profiles.errors import InvalidModel
from profiler.assembly import INPUT, Assembly, Block


def never() -> Any:
    raise AssertionError("a description builds nothing")


A, B, C = (
    Block("a", "conv 8", (INPUT,), never),
    Block("b", "relu", ("a",), never),
    Block("c", "add", ("a", "b"), never),
)
SHAPE = (1, 3, 32, 32)


def test_the_key_holds_structure_and_no_names() -> None:
    network = Assembly((A, B, C), SHAPE)
    renamed = Assembly(
        (replace(A, name="x"), replace(B, name="y", inputs=("x",)), replace(C, name="z", inputs=("x", "y"))), SHAPE
    )
    assert network.key == renamed.key == "1x3x32x32:conv 8(0);relu(1);add(1,2)"


@pytest.mark.parametrize(
    "other",
    [
        Assembly((A, B, C), (1, 3, 16, 16)),
        Assembly((A, B), SHAPE),
        Assembly((A, B, replace(C, inputs=("b", "a"))), SHAPE),
        Assembly((A, replace(B, key="gelu"), C), SHAPE),
        Assembly((A, B, replace(C, inputs=("a", INPUT))), SHAPE),
    ],
)
def test_another_structure_has_another_key(other: Assembly) -> None:
    assert other.key != Assembly((A, B, C), SHAPE).key


@pytest.mark.parametrize(
    "blocks",
    [(B, A), (A, A), (A, replace(B, name=INPUT)), (A, replace(B, inputs=("b",))), (replace(A, inputs=("ghost",)),)],
)
def test_blocks_out_of_order_or_of_one_name_are_refused(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(InvalidModel):
        Assembly(blocks, SHAPE)


def test_the_module_runs_its_blocks_in_order() -> None:
    import torch
    from torch import nn

    class Difference(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x - y

    network = Assembly(
        (
            Block("scale", "scale", (INPUT,), lambda: nn.Linear(2, 2, bias=False)),
            Block("rest", "difference", ("scale", INPUT), Difference),
        ),
        (1, 2),
    ).to_module()
    assert [name for name, _ in network.named_parameters()] == ["blocks.scale.weight"]
    with torch.no_grad():
        network.blocks["scale"].weight.copy_(2 * torch.eye(2))
        assert network(torch.tensor([[3.0, 5.0]])).tolist() == [[3.0, 5.0]]
