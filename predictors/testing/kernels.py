"""The conformance kit for kernel models, and made-up kernels to learn from."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.models.protocol import DeviceFacts, KernelModel, KernelPrediction, KernelSamples, MakeKernelModel
from predictors.testing.files import check_damage, require, saved
from profiler import work
from profiler.operators import Operator, Tensor

#: Names of a predictor's own files, which a model must leave alone.
_TAKEN = ("card.json", "network.json", "table.safetensors")


def convolution(channels_in: int, channels_out: int, resolution: int, kernel: int = 3) -> Operator:
    """A square convolution of stride 1 that keeps the resolution, in fp32, batch 1."""
    pads = (kernel // 2,) * 4
    return Operator(
        domain="",
        op_type="Conv",
        attributes=(("dilations", (1, 1)), ("group", 1), ("kernel_shape", (kernel,) * 2), ("pads", pads)),
        inputs=(
            Tensor((1, channels_in, resolution, resolution)),
            Tensor((channels_out, channels_in, kernel, kernel), constant=True),
        ),
        outputs=(Tensor((1, channels_out, resolution, resolution)),),
    )


def samples() -> KernelSamples:
    """Kernels of four kinds on a made-up device whose times are lines in operations and bytes: 0.004 ms and up."""
    operators = [
        convolution(channels, channels * wider, resolution, kernel)
        for channels in (4, 8, 16, 32)
        for wider in (1, 2)
        for resolution in (8, 16)
        for kernel in (1, 3)
    ]
    for channels in (4, 8, 16, 32):
        image = Tensor((1, channels, 16, 16))
        operators.append(Operator("", "Add", (), (image, image), (image,)))
        window = (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1)), ("strides", (1, 1)))
        operators.append(Operator("", "AveragePool", window, (image,), (image,)))
        weights, row = Tensor((channels, 10), constant=True), Tensor((1, channels))
        operators.append(Operator("", "Gemm", (), (row, weights), (Tensor((1, 10)),)))
    ms = [0.004 + 1e3 * (2 * work.macs(op) / 4e9 + work.bytes_moved(op) / 8e9) for op in operators]
    facts = DeviceFacts(flops_per_s=2e10, bytes_per_s=1e10)
    return KernelSamples(tuple(operators), np.array(ms), np.ones(len(ms)), facts)


def check_kernel_model(make: MakeKernelModel) -> None:
    """Hold a kernel model to `predictors.models.protocol`.

    Args:
        make: the model's class, as `MODEL` of its module.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    learned = samples()
    model = make.fit(learned)
    require(isinstance(model.composed, bool), "composed", f"it must be a bool, got {model.composed!r}")
    strange = Operator("com.example", "Strange", (), (Tensor((1, 7, 5, 5)),), (Tensor((1, 7, 5, 5)),))
    asked = (*learned.operators, strange, convolution(24, 24, 12))
    found = _predicted(model, asked)
    require(found.known[: len(learned.operators)].all(), "known", "a kernel that it was fitted on is not known to it")
    _check_samples(make, learned, knows_all=bool(found.known.all()))
    _check_order(model, asked, found)
    require(_equal(found, _predicted(make.fit(learned), asked)), "fit", "the same samples give another model")
    with tempfile.TemporaryDirectory() as place:
        _check_files(make, model, asked, found, Path(place))


def _predicted(model: KernelModel, operators: Sequence[Operator]) -> KernelPrediction:
    """A prediction of the right shapes and types, with costs above 0."""
    found = model.predict(operators)
    wanted = (len(operators),)
    require(
        found.cost.shape == wanted and found.cost.dtype == np.float64,
        "predict",
        f"cost must be float64 {wanted}, got {found.cost.shape} of {found.cost.dtype}",
    )
    require(
        found.known.shape == wanted and found.known.dtype == np.bool_,
        "predict",
        f"known must be bool {wanted}, got {found.known.shape} of {found.known.dtype}",
    )
    bad = ~(np.isfinite(found.cost) & (found.cost > 0))
    require(
        not bad.any(), "predict", f"costs must be above 0 and finite, got {found.cost[bad][:1]}: never a silent zero"
    )
    spread = np.ones(wanted) if found.spread is None else found.spread
    require(
        spread.shape == wanted and bool((np.isfinite(spread) & (spread > 0)).all()),
        "predict",
        f"spread must be above 0 and {wanted}, got {spread.shape} down to {spread.min(initial=np.inf)}",
    )
    return found


def _equal(left: KernelPrediction, right: KernelPrediction) -> bool:
    return np.allclose(left.cost, right.cost, rtol=1e-9, atol=0.0) and np.array_equal(left.known, right.known)


def _check_samples(make: MakeKernelModel, learned: KernelSamples, *, knows_all: bool) -> None:
    """A model that learns refuses what nothing can be learned from, and says of a strange kernel that it guesses."""
    try:
        make.fit(learned.take([]))
    except InvalidTable:
        require(not knows_all, "known", "it learns from samples, yet it knows a kernel of a kind that it never saw")
    else:
        require(knows_all, "fit", "no samples must be refused with InvalidTable by a model that learns from them")
        return
    for value in (0.0, -1.0, np.nan, np.inf):
        ms = learned.cost.copy()
        ms[5] = value
        try:
            make.fit(replace(learned, cost=ms))
        except InvalidTable:
            continue
        raise AssertionError(f"fit: a time of {value} ms must be refused with InvalidTable")


def _check_order(model: KernelModel, asked: tuple[Operator, ...], found: KernelPrediction) -> None:
    """Each kernel's answer is its own, whatever it is asked with."""
    back = _predicted(model, asked[::-1])
    require(
        _equal(KernelPrediction(back.cost[::-1], back.known[::-1]), found), "predict", "the answers are not in order"
    )
    _predicted(model, ())
    for row in (0, len(asked) - 1):
        one = _predicted(model, (asked[row], asked[row]))
        require(
            np.allclose(one.cost, found.cost[row], rtol=1e-12) and (one.known == found.known[row]).all(),
            "predict",
            f"{asked[row]} alone is {one.cost[0]} ms, and {found.cost[row]} ms among others",
        )


def _check_files(
    make: MakeKernelModel, model: KernelModel, asked: tuple[Operator, ...], found: KernelPrediction, place: Path
) -> None:
    """What is saved is loaded as it was; what is missing, damaged or of another schema is refused."""
    folder = saved(model.save, place, _TAKEN)
    require(
        _equal(_predicted(make.load(folder), asked), found), "load", "it predicts something else than what was saved"
    )
    check_damage(make.load, folder)
