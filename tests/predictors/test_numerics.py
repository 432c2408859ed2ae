"""Lines, the composition, intervals and features, against what they are made to find."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors import composition, intervals
from predictors.composition import Composition
from predictors.features import LAUNCH_MS, MONOTONE, NAMES, features, matrix_sizes, roofline_ms, work_columns
from predictors.kind_lines import Lines
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.testing import convolution, samples
from profiler import work
from profiler.operators import Operator, Tensor

SAMPLES = samples()
DEVICE = DeviceFacts(flops_per_s=2e9, bytes_per_s=1e9)
IMAGE = Tensor((1, 4, 6, 6))
ADD = Operator("", "Add", (), (IMAGE, IMAGE), (IMAGE,))


def product(left, right, *, constant):
    """A matrix product of two shapes."""
    return Operator(
        "", "MatMul", (), (Tensor(left), Tensor(right, constant=constant)), (Tensor((*left[:-1], right[-1])),)
    )


def on_lines(lines):
    """The samples with times on a line for each kind."""
    columns = work_columns(SAMPLES.operators)
    ms = [column @ lines[op.kind] for column, op in zip(columns, SAMPLES.operators, strict=True)]
    return replace(SAMPLES, cost=np.array(ms))


# -- lines


def often(samples, times=40):
    """As if each kernel had been measured so often that no prior matters."""
    return samples.take(list(range(len(samples.operators))) * times)


@pytest.mark.parametrize("seed", range(8))
def test_known_lines_are_recovered(seed):
    each = np.random.default_rng(seed).uniform(0.1, 10.0, (4, 4)) * [1e-7, 1e-6, 1e-6, 1e-3]
    known = dict(zip(("Conv", "Add", "AveragePool", "Gemm"), each, strict=True))
    truth = on_lines(known).cost
    few, many = Lines.fit(on_lines(known)), Lines.fit(often(on_lines(known)))
    ms, own = few.predict(SAMPLES.operators)
    assert own.all() and np.abs(ms / truth - 1).mean() < 0.2
    assert np.abs(many.predict(SAMPLES.operators)[0] / truth - 1).mean() < 0.02
    assert np.abs(many.predict(SAMPLES.operators)[0] / truth - 1).max() < np.abs(ms / truth - 1).max()


def test_what_kernels_leave_open_is_drawn_to_the_speed_of_light():
    """Of kernels that all cost the same nothing is known of operations, yet a vast kernel is not free."""
    rows = [i for i, op in enumerate(SAMPLES.operators) if op.kind == "Conv"]
    flat = replace(SAMPLES.take(rows), cost=np.full(len(rows), 0.05))
    lines = Lines.fit(flat)
    assert lines.predict(flat.operators)[0] == pytest.approx(flat.cost, rel=0.25)
    vast = convolution(256, 256, 64)
    assert lines.predict([vast])[0][0] > 2 * 0.05


def test_no_slope_is_negative():
    rng = np.random.default_rng(0)
    lines = Lines.fit(replace(SAMPLES, cost=rng.uniform(0.1, 1.0, len(SAMPLES.cost))))
    assert (lines.lines >= 0).all()
    assert (lines.predict(SAMPLES.operators)[0] > 0).all()


def test_it_is_the_relative_error_that_is_least():
    """Where squares of relative errors are least, `sum(r * (r - 1))` is 0, `r` being predicted over measured."""
    ms = SAMPLES.cost * np.random.default_rng(0).lognormal(0.0, 0.5, len(SAMPLES.cost))
    ratio = Lines.fit(often(replace(SAMPLES, cost=ms))).predict(SAMPLES.operators)[0] / ms
    assert ratio @ (ratio - 1) == pytest.approx(0.0, abs=1e-2)
    assert abs(np.log(ratio) @ np.ones(len(ms))) > 1.0, "which is not where logs are"


def test_every_kind_that_was_seen_has_a_line_and_others_share_one():
    rows = [i for i, op in enumerate(SAMPLES.operators) if op.kind == "Conv"]
    adds = [i for i, op in enumerate(SAMPLES.operators) if op.kind == "Add"][:1]
    lines = Lines.fit(SAMPLES.take([*rows, *adds]))
    assert lines.kinds == ("Add", "Conv") and lines.lines.shape == (3, 4)
    strange = replace(ADD, op_type="Strange")
    assert lines.predict([ADD, convolution(4, 4, 4), strange])[1].tolist() == [True, True, False]


def test_two_kernels_tell_that_a_kind_is_a_hundred_times_as_slow():
    """As local response normalisation is, which squares and takes powers one element after another."""
    rows = [Tensor((1, elements)) for elements in (20_000, 60_000, 1_000_000)]
    slow = [Operator("", "LRN", (), (row,), (row,)) for row in rows]
    plain = Lines.fit(SAMPLES).predict(slow)[0]
    operators = (*SAMPLES.operators, *slow[:2])
    learned = replace(
        SAMPLES, operators=operators, cost=np.array([*SAMPLES.cost, *100 * plain[:2]]), weights=np.ones(len(operators))
    )
    found = Lines.fit(learned).predict(slow)[0]
    assert found[:2] == pytest.approx(100 * plain[:2], rel=0.1)
    assert 50 * plain[2] < found[2] < 200 * plain[2], "and of larger ones, too"


def test_windows_over_single_channels_have_a_line_of_their_own():
    def windows(channels, group):
        image, weights = Tensor((1, channels, 16, 16)), Tensor((channels, channels // group, 3, 3), constant=True)
        return Operator("", "Conv", (("group", group), ("kernel_shape", (3, 3))), (image, weights), (image,))

    sizes = (8, 16, 32, 64)
    depthwise, dense = [windows(size, size) for size in sizes], [windows(size, 1) for size in sizes]
    work_of = [2.0 * work.macs(op) for op in (*depthwise, *dense)]
    rates = np.repeat([1e-6, 1e-7], 4)  # ms an operation
    samples = KernelSamples((*depthwise, *dense), np.array(work_of) * rates, np.ones(8), SAMPLES.device)
    lines = Lines.fit(samples)
    assert lines.kinds == ("Conv", "Conv/depthwise")
    found = lines.predict([windows(256, 256), windows(256, 1)])[0]
    expected = [2.0 * work.macs(windows(256, group)) * rate for group, rate in ((256, 1e-6), (1, 1e-7))]
    assert found == pytest.approx(expected, rel=0.3)


def test_lines_come_back_from_plain_data():
    lines = Lines.fit(SAMPLES)
    back = Lines.from_plain(lines.to_plain())
    assert back.kinds == lines.kinds and (back.lines == lines.lines).all()


# -- composition

sums = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20).map(np.array)


def networks(count=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(1.0, 5.0, count), rng.integers(5, 60, count).astype(float)


@pytest.mark.parametrize(("scale", "per_kernel", "constant"), [(0.9, -0.004, 0.3), (1.3, 0.01, 0.0), (1.0, 0.0, 1.0)])
def test_scale_kernels_and_constant_are_recovered(scale, per_kernel, constant):
    sums, counts = networks()
    latency = scale * sums + per_kernel * counts + constant
    found = composition.fit(sums, counts, latency)
    assert found.scale == pytest.approx(scale, rel=0.01)
    assert found.per_kernel == pytest.approx(per_kernel, abs=5e-4)
    assert found.constant == pytest.approx(constant, abs=0.02)
    assert found.apply(sums, counts) == pytest.approx(latency, rel=2e-3)


def test_noise_of_the_networks_is_averaged():
    sums, counts = networks(400)
    latency = (0.9 * sums + 0.01 * counts + 0.2) * np.random.default_rng(1).normal(1.0, 0.02, 400)
    assert composition.fit(sums, counts, latency).apply(sums, counts) == pytest.approx(
        0.9 * sums + 0.01 * counts + 0.2, rel=0.01
    )


def test_no_network_costs_less_than_nothing_however_the_large_ones_lie():
    """A bend among networks of seconds would put the constant below 0, and small networks with it."""
    sums, counts = networks()
    found = composition.fit(sums, counts, 0.9 * sums + 0.02 * sums**2 - 0.3)
    assert found.constant == 0.0
    small = found.apply(np.array([0.01]), np.array([5.0]))
    assert small[0] > 0.001


def test_without_networks_it_is_the_plain_sum():
    assert composition.fit(np.empty(0), np.empty(0), np.empty(0)) == Composition(1.0, 0.0, 0.0)
    assert Composition().apply(np.array([3.0]), np.array([7.0])).tolist() == [3.0]


@given(sums)
def test_networks_that_are_their_sums_leave_the_plain_sum(sums):
    found = composition.fit(sums, np.arange(1.0, len(sums) + 1), sums)
    assert found.apply(sums, np.full(len(sums), 3.0)) == pytest.approx(sums, rel=1e-6)
    assert found.scale == pytest.approx(1.0)


@given(st.integers(0, 100), st.sampled_from([1e-3, 1e3]))
def test_the_unit_of_time_does_not_matter(seed, unit):
    sums, counts = networks(12, seed)
    latency = 0.8 * sums + 0.01 * counts + 0.1
    one, other = composition.fit(sums, counts, latency), composition.fit(unit * sums, counts, unit * latency)
    assert other.scale == pytest.approx(one.scale)
    assert other.per_kernel == pytest.approx(unit * one.per_kernel)
    assert other.constant == pytest.approx(unit * one.constant)


def test_one_network_moves_the_whole_but_not_to_nonsense():
    found = composition.fit(np.array([2.0]), np.array([10.0]), np.array([3.0]))
    assert found.apply(np.array([2.0]), np.array([10.0])) == pytest.approx([3.0], rel=1e-2)
    assert found.apply(np.array([4.0]), np.array([20.0]))[0] > 4.0


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), sums)
def test_no_network_takes_less_than_a_tenth_of_its_kernels(scale, per_kernel, constant, sums):
    found = Composition(scale, per_kernel, constant).apply(sums, np.full(len(sums), 5.0))
    assert (found > 0.1 * sums).all() and (found > 0).all()


# -- intervals


@pytest.mark.parametrize("count", range(9))
def test_fewer_than_nine_errors_give_no_interval(count):
    assert intervals.relative_half_width(np.linspace(0.01, 0.1, count)) is None


@pytest.mark.parametrize(("count", "rank"), [(9, 9), (10, 10), (18, 18), (19, 18), (29, 27), (100, 91)])
def test_the_rank_by_hand(count, rank):
    errors = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    assert intervals.relative_half_width(errors) == rank


def test_the_rank_is_exact_for_any_number_of_errors():
    for count in range(9, 2000):
        assert intervals.relative_half_width(np.arange(1.0, count + 1)) == math.ceil((count + 1) * Fraction(9, 10))


@pytest.mark.parametrize("count", [9, 19, 24, 60])
def test_exchangeable_errors_are_covered(count):
    draws = np.random.default_rng(count).lognormal(sigma=1.0, size=(20_000, count + 1))
    covered = np.mean([row[-1] <= intervals.relative_half_width(row[:-1]) for row in draws])
    exact = math.ceil((count + 1) * Fraction(9, 10)) / (count + 1)
    assert covered == pytest.approx(exact, abs=0.01) and exact >= 0.9


def test_intervals_widen_with_what_is_guessed():
    value, guessed = np.array([2.0, 2.0, 2.0]), np.array([0.0, 0.5, 3.0])
    low, high = intervals.around(value, 0.1, guessed)
    assert low == pytest.approx([1.8, 1.2, 0.45])
    assert high == pytest.approx([2.2, 3.2, 8.2])


@given(st.floats(0, 5), st.floats(0, 50), st.floats(1e-6, 1e3))
def test_no_interval_ends_below_zero_or_leaves_its_value_out(half_width, guessed, value):
    low, high = intervals.around(np.array([value]), half_width, np.array([guessed]))
    assert 0.0 <= low[0] <= value <= high[0]
    assert (low[0] > 0.0) == (half_width < 1.0), "a guess alone excludes nothing but 0"


def test_without_a_width_there_is_no_interval():
    assert intervals.around(np.ones(3), None, np.ones(3)) == (None, None)


# -- features


def test_features_are_those_of_the_schema():
    rows = features(SAMPLES.operators, SAMPLES.device)
    assert rows.shape == (len(SAMPLES.operators), len(NAMES)) and rows.dtype == np.float64
    assert len(set(NAMES)) == len(NAMES) and set(MONOTONE) < set(NAMES)
    assert np.isfinite(rows).all()
    assert features([], DEVICE).shape == (0, len(NAMES))


def test_the_roofline_by_hand():
    # 2 x 4 x 8 x 8 x 8 x 9 operations; 4 bytes for each of 512 + 288 + 256 numbers.
    conv = convolution(8, 4, 8)
    assert roofline_ms(conv, DEVICE) == pytest.approx(LAUNCH_MS + 1e3 * 36_864 / 2e9)
    assert roofline_ms(conv, replace(DEVICE, bytes_per_s=1e6)) == pytest.approx(LAUNCH_MS + 1e3 * 4_224 / 1e6)
    assert roofline_ms(ADD, DEVICE) == pytest.approx(LAUNCH_MS + 1e3 * 3 * 4 * 144 / 1e9)
    reshape = Operator("", "Reshape", (), (IMAGE,), (Tensor((1, 144)),))
    assert roofline_ms(reshape, DEVICE) == LAUNCH_MS


def test_work_by_hand():
    assert work_columns([convolution(8, 4, 8), ADD]).tolist() == [[36_864, 3_072, 1_152, 1], [144, 1_728, 0, 1]]
    assert work_columns([]).shape == (0, 4)


def test_features_of_a_convolution_by_hand():
    window = (("activation", "Relu"), ("group", 2), ("kernel_shape", (3, 5)), ("strides", (2, 1)))
    inputs = (Tensor((1, 8, 12, 10)), Tensor((6, 4, 3, 5), constant=True), None)
    row = features([Operator("", "Conv", window, inputs, (Tensor((1, 6, 5, 6)),))], DEVICE)[0]
    found = dict(zip(NAMES, row, strict=True))
    assert found["log_macs"] == pytest.approx(math.log1p(180 * 60))
    assert found["log_elementwise"] == pytest.approx(math.log1p(180))
    assert found["log_activation_bytes"] == pytest.approx(math.log1p(4 * (960 + 180)))
    assert found["log_weight_bytes"] == pytest.approx(math.log1p(4 * 360))
    assert found["log_intensity"] == pytest.approx(found["log_macs"] - math.log1p(4 * (960 + 180 + 360)))
    sizes = {
        "sort": 4, "log_m": math.log1p(30), "log_n": math.log1p(3), "log_k": math.log1p(60),
        "log_groups": math.log1p(2), "in_channels": 8, "out_channels": 6, "height": 12, "width": 10, "window": 15,
        "stride": 2, "inputs": 2, "log_largest_bytes": math.log1p(4 * 960),
    }  # fmt: skip
    assert {name: found[name] for name in sizes} == pytest.approx(sizes)


def test_a_fused_activation_is_seen():
    plain = convolution(8, 8, 8)
    rows = features([plain, replace(plain, attributes=(("activation", "Relu"), *plain.attributes))], DEVICE)
    differ = {name for name, one, other in zip(NAMES, *rows, strict=True) if one != other}
    assert any(name.endswith("activation") for name in differ) and not differ & {"log_macs", "sort", "in_channels"}


@pytest.mark.parametrize(
    ("operator", "sizes", "sort"),
    [
        (convolution(8, 4, 8), (64, 4, 72, 1), 3),
        (product((5, 7), (7, 3), constant=True), (5, 3, 7, 1), 3),
        (product((2, 5, 7), (7, 3), constant=True), (10, 3, 7, 1), 3),
        (product((2, 4, 5, 7), (2, 4, 7, 3), constant=False), (5, 3, 7, 8), 3),
        (ADD, (0, 0, 0, 0), 1),
        (Operator("", "MaxPool", (("kernel_shape", (3, 3)),), (IMAGE,), (IMAGE,)), (0, 0, 0, 0), 2),
        (Operator("", "Transpose", (), (IMAGE,), (IMAGE,)), (0, 0, 0, 0), 0),
    ],
    ids=["conv", "matrix", "rows-of-two", "heads", "add", "pool", "transpose"],
)
def test_work_is_described_as_matrix_products(operator, sizes, sort):
    assert matrix_sizes(operator) == sizes
    found = dict(zip(NAMES, features([operator], DEVICE)[0], strict=True))
    assert found["sort"] == sort
    assert [found[f"log_{name}"] for name in ("m", "n", "k", "groups")] == pytest.approx(np.log1p(sizes))


sizes = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 32), st.sampled_from([1, 3, 5]))


@given(sizes, st.integers(0, 3), st.integers(1, 9))
def test_more_work_lowers_none_of_the_monotone_features(size, which, more):
    larger = list(size)
    larger[which] += 2 * more if which == 3 else more
    before, after = features([convolution(*size), convolution(*larger)], DEVICE)
    for name in MONOTONE:
        assert after[NAMES.index(name)] >= before[NAMES.index(name)]


@pytest.mark.parametrize(
    "operator",
    [
        Operator("", "Constant", (), (), (Tensor(()),)),
        Operator("", "Drop", (), (IMAGE,), ()),
        Operator("", "Conv", (), (None, Tensor((4, 3, 1, 1), constant=True)), (IMAGE,)),
        Operator("", "Add", (), (Tensor((0, 3)), Tensor((0, 3))), (Tensor((0, 3)),)),
    ],
    ids=["no-inputs", "no-outputs", "input-left-out", "empty"],
)
def test_odd_operators_have_finite_features(operator):
    assert np.isfinite(features([operator], DEVICE)).all()
    assert np.isfinite(work_columns([operator])).all()


def reshape(*fused: str) -> Operator:
    """From 64x192 to 1x64x192, by a constant shape, beside a weight that what is fused to it reads."""
    read = (
        Tensor((64, 192), "float32"),
        Tensor((3,), "int64", constant=True),
        Tensor((64, 192), "float32", constant=True),
    )
    attributes = (("fused", fused),) if fused else ()
    return Operator("", "Reshape", attributes, read, (Tensor((1, 64, 192), "float32"),))


def test_work_is_never_negative_and_what_is_fused_to_a_change_of_shape_moves_its_data():
    plain, joined = work_columns([reshape(), reshape("Mul", "Add")]).tolist()
    assert plain[1] == 0.0 and joined[1] == 2 * 64 * 192 * 4
    two = [replace(reshape("Mul"), outputs=(Tensor((1, 64, width), "float32"),)) for width in (192, 384)]
    some = KernelSamples(tuple(two), np.array([0.03, 0.02]), np.ones(2), SAMPLES.device)
    assert np.isfinite(Lines.fit(some).lines).all() and (Lines.fit(some).predict(two)[0] > 0).all()
