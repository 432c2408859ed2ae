"""Quicker exports are the exports of torch: made with what it makes anew each time, and where it has other names."""

import contextlib

import pytest
import torch
from torch import nn

from profiler import capture, exporting


class Attention(nn.Module):
    """Composite operators of torch."""

    def __init__(self):
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(8), nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.heads(self.norm(x)).unsqueeze(1).chunk(3, dim=-1)
        return nn.functional.scaled_dot_product_attention(q, k, v)[:, 0] + nn.functional.gelu(x)


class Mixed(nn.Module):
    """Strides, pooling, changes in place and views."""

    def __init__(self):
        super().__init__()
        self.c, self.b = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        x = nn.functional.relu_(self.b(self.c(x)))
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear").flatten(1).softmax(dim=-1)


MODULES = {"attention": (Attention, (1, 5, 8)), "mixed": (Mixed, (2, 3, 9, 9))}


def made(name):
    make, shape = MODULES[name]
    torch.manual_seed(0)
    return capture.capture_module(make(), shape).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", MODULES)
def test_an_export_is_the_one_that_torch_makes_by_itself(name, monkeypatch):
    quick, again = made(name), made(name)
    monkeypatch.setattr(capture, "quicker", contextlib.nullcontext)
    assert quick == again == made(name)


def test_where_torch_has_other_names_it_exports_as_before(monkeypatch):
    def gone():
        raise ImportError("no such module")

    before = made("mixed")
    monkeypatch.setattr(exporting, "_registry", gone)
    monkeypatch.setattr(
        exporting, "_decompositions", lambda: exporting._replaced(torch, "no_such_name", lambda old: old)
    )
    assert made("mixed") == before


def test_nothing_of_torch_is_left_changed():
    from torch.onnx._internal.exporter import _decomp, _registration

    names = [(torch._ops, "Callable"), (_decomp, "create_onnx_friendly_decomposition_table")]
    names.append((_registration.ONNXRegistry, "from_torchlib"))
    before = [owner.__dict__[name] for owner, name in names]
    with exporting.quicker():
        assert all(owner.__dict__[name] is not old for (owner, name), old in zip(names, before, strict=True))
    assert [owner.__dict__[name] for owner, name in names] == before


def test_operators_that_a_library_brings_later_are_seen():
    counted = []

    def count():
        counted.append(None)
        return {len(counted)}

    assert exporting._operators(count, exporting._registrations()) == {1}
    library = torch.library.Library("hwnas_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + x, "CompositeImplicitAutograd")
    assert exporting._operators(count, exporting._registrations()) == {2}
    assert exporting._operators(count, exporting._registrations()) == {2}
