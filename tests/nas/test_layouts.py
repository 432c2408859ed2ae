"""Channels last where a training is faster so, and nowhere where it would write beyond its memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import nas
from nas.weights import supernets
from nas.weights.devices import laid_out

#: Trains a convolution whose kernel's gradient oneDNN writes beyond its memory when channels are last.
_TRAINED = """
import sys, torch
from nas.weights.devices import laid_out
torch.set_num_threads(1)
channels, further, side = map(int, sys.argv[1:])
convolution = laid_out(torch.nn.Sequential(torch.nn.Conv2d(channels, further, 1, 2, bias=False)))
for _ in range(8):
    image = torch.randn(16, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
    convolution(image).square().sum().backward()
print(torch.isfinite(convolution[0].weight.grad).all().item())
"""


@pytest.mark.parametrize(("channels", "further", "side"), [(3, 8, 64), (8, 8, 48), (8, 16, 56)])
def test_few_channels_that_are_strided_are_trained(channels, further, side):
    words = [sys.executable, "-c", _TRAINED, *map(str, (channels, further, side))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_gradients_are_those_of_channels_first():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.Conv2d(8, 16, 1, 2), torch.nn.ReLU())
    laid = laid_out(laid_out(torch.nn.Sequential(*plain)))  # twice, as a block and within a supernet
    image = torch.randn(4, 8, 48, 48)
    found = []
    for network in (plain, laid):
        network.zero_grad()
        network(image).square().sum().backward()
        found.append([one.grad.clone() for one in network.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*found, strict=True))
    assert len(laid[1]._forward_pre_hooks) == 1
    assert laid[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_what_leaves_is_as_it_was_built():
    space = nas.spaces.load("chain:resolution=32,width=25,classes=10")
    supernet, archs = supernets.of(space), space.sample(20, np.random.default_rng(0))
    for arch in archs:
        supernet.forward_path(torch.zeros(2, *space.input_shape[1:]), arch)
    assert any(part._forward_pre_hooks for part in supernet.modules())
    assert not any(part._forward_pre_hooks for arch in archs for part in supernet.subnet(arch).modules())
