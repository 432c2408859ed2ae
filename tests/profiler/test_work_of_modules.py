"""Counts of modules that were exported, against formulas and against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from device_profiles.errors import InvalidModel
from profiler.capture import capture
from profiler.work import Work, graph_work


def counted(module: nn.Module, *shapes: tuple[int, ...]) -> Work:
    work = graph_work(capture(module, shapes))
    assert work.parameters == sum(parameter.numel() for parameter in module.parameters())
    return work


class SelfAttention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(size, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.attention(x, x, x, need_weights=False)[0]


class CrossAttention(SelfAttention):
    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> Any:  # type: ignore[override]
        return self.attention(x, memory, memory, need_weights=False)[0]


class Named(nn.Module):
    """Its layer has a name like those that an exporter gives to constants."""

    def __init__(self) -> None:
        super().__init__()
        self.val_proj = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.val_proj(x)


def test_attention_is_projections_scores_and_weighted_values() -> None:
    length, size = 6, 16
    work = counted(SelfAttention(size, 4), (1, length, size))
    assert work.macs == 4 * length * size * size + 2 * length * length * size


def test_attention_to_another_sequence() -> None:
    length, other, size = 6, 5, 16
    work = counted(CrossAttention(size, 2), (1, length, size), (1, other, size))
    assert work.macs == 2 * length * size * size + 2 * other * size * size + 2 * length * other * size


def test_an_encoder_layer_adds_its_feed_forward() -> None:
    length, size, wide = 7, 16, 24
    work = counted(nn.TransformerEncoderLayer(size, 4, wide, batch_first=True), (1, length, size))
    attention = 4 * length * size * size + 2 * length * length * size
    assert work.macs == attention + 2 * length * size * wide


def test_a_convolutional_network() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    work = counted(network, (1, 3, 8, 8))
    assert work.macs == 8 * 36 * 27 + 8 * 16 * 9 + 8 * 5
    assert work.weight_bytes == 4 * work.parameters


def test_defaults_that_an_exporter_adds_are_no_parameters() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)
    )
    assert counted(network, (1, 4, 6, 6)).macs == 4 * 16 * 36


def test_a_module_may_be_named_as_exporters_name_constants() -> None:
    assert counted(Named(), (1, 6, 8)).macs == 6 * 8 * 4


def test_a_module_that_cannot_be_exported_is_refused() -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InvalidModel, match="cannot export Undecided"):
        capture(Undecided(), (1, 4))
    with pytest.raises(InvalidModel, match="no shapes"):
        capture(nn.ReLU())
