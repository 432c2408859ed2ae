"""Tables of costs: sums over parts, and their expectation under independent choices."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.errors import InvalidTable, UsageError
from predictors.encoding import CostTable

CHAIN = CostTable(
    choices=(2, 3, 2),
    genes=((0, 1), (1, 2), (2,)),
    costs=(
        np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]),
        np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]),
        np.array([100.0, 200.0]),
    ),
)


@st.composite
def tables(draw):
    """Any parts over up to four genes; tensors in either memory order."""
    choices = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    subsets = st.sets(st.integers(0, len(choices) - 1), min_size=1).map(lambda part: tuple(sorted(part)))
    genes = tuple(draw(st.lists(subsets, min_size=1, max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    costs = tuple(rng.normal(size=[choices[g] for g in part]) for part in genes)
    order = draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
    return CostTable(choices, genes, tuple(order(cost) for cost in costs))


def everything(table):
    return np.array(list(product(*map(range, table.choices))))


def by_definition(table, archs):
    return [sum(cost[tuple(a[list(g)])] for cost, g in zip(table.costs, table.genes, strict=True)) for a in archs]


def one_hot(table, archs, dtype=torch.float64):
    columns = torch.as_tensor(archs).T
    return [torch.nn.functional.one_hot(c, n).to(dtype) for c, n in zip(columns, table.choices, strict=True)]


def chances(table, lead=(), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(*lead, n, generator=generator, dtype=dtype).softmax(-1) for n in table.choices]


# -- rows of integers


def test_a_chain_is_the_sum_of_its_parts():
    archs = np.array([[0, 0, 0], [1, 2, 1], [0, 1, 1]])
    assert CHAIN.predict(archs) == pytest.approx([1.0 + 0.1 + 100, 32.0 + 0.6 + 200, 2.0 + 0.4 + 200])


@given(tables())
def test_predictions_are_their_definition(table):
    archs = everything(table)
    assert table.predict(archs) == pytest.approx(by_definition(table, archs), rel=1e-12, abs=1e-12)


def test_no_rows_have_no_costs():
    assert CHAIN.predict(np.empty((0, 3), dtype=np.int64)).shape == (0,)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_any_integers_are_genes(dtype):
    assert CHAIN.predict(np.array([[1, 2, 1]], dtype=dtype)) == pytest.approx([232.6])


@pytest.mark.parametrize(
    "archs",
    [
        np.zeros(3, dtype=int),
        np.zeros((2, 2), dtype=int),
        np.zeros((2, 4), dtype=int),
        np.zeros((1, 1, 3), dtype=int),
        np.zeros((2, 3), dtype=complex),
        np.zeros((2, 3), dtype=bool),
        np.array([["a", "b", "c"]]),
    ],
)
def test_what_is_no_integer_matrix_is_refused(archs):
    with pytest.raises(UsageError) as caught:
        CHAIN.predict(archs)
    assert "(n, 3)" in caught.value.message and str(archs.shape) in caught.value.message


@pytest.mark.parametrize("gene", range(3))
@pytest.mark.parametrize("beyond", [False, True])
def test_genes_outside_of_the_space_are_refused(gene, beyond):
    archs = np.zeros((4, 3), dtype=np.int64)
    archs[2, gene] = CHAIN.choices[gene] if beyond else -1
    with pytest.raises(UsageError, match=r"\(2, 3, 2\)"):
        CHAIN.predict(archs)


def test_coverage_is_looked_up_and_full_where_none_is_given():
    coverage = np.arange(12.0).reshape(2, 3, 2) / 12
    table = CostTable((2, 3, 2), ((0, 1, 2),), (np.ones((2, 3, 2)),), coverage)
    assert table.covered(np.array([[0, 0, 1], [1, 2, 1]])) == pytest.approx([1 / 12, 11 / 12])
    assert CHAIN.covered(np.zeros((2, 3), dtype=int)).tolist() == [1.0, 1.0]


def test_intervals_are_looked_up_and_there_are_none_without_both_ends():
    low = np.arange(12.0).reshape(2, 3, 2)
    whole = replace(CHAIN, low=low, high=low + 100)
    found = whole.interval(np.array([[0, 0, 1], [1, 2, 1]]))
    assert found[0].tolist() == [1.0, 11.0] and found[1].tolist() == [101.0, 111.0]
    for table in (CHAIN, replace(CHAIN, low=low), replace(CHAIN, high=low)):
        assert table.interval(np.zeros((2, 3), dtype=int)) == (None, None)


@pytest.mark.parametrize("name", ["coverage", "lacking", "low", "high"])
def test_tensors_of_other_shapes_are_refused_by_name(name):
    with pytest.raises(InvalidTable, match=f"{name} has shape"):
        replace(CHAIN, **{name: np.zeros((2, 3, 3))})


# -- probabilities


@given(tables())
def test_at_one_hot_it_is_the_discrete_prediction(table):
    archs = everything(table)
    double = table.differentiable()(one_hot(table, archs))
    assert double.numpy() == pytest.approx(table.predict(archs), abs=1e-9)


@given(tables())
def test_at_one_hot_in_single_precision_it_nearly_is(table):
    positive = CostTable(table.choices, table.genes, tuple(np.abs(cost) + 0.1 for cost in table.costs))
    archs = everything(positive)
    single = positive.differentiable()(one_hot(positive, archs, torch.float32))
    assert single.dtype == torch.float32
    assert single.numpy() == pytest.approx(positive.predict(archs), rel=1e-4)


@given(tables(), st.integers(0, 1000))
def test_it_is_the_expectation_over_all_architectures(table, seed):
    probabilities = chances(table, seed=seed)
    archs = everything(table)
    weight = np.prod([p.numpy()[archs[:, g]] for g, p in enumerate(probabilities)], axis=0)
    expected = float(weight @ table.predict(archs))
    assert float(table.differentiable()(probabilities)) == pytest.approx(expected, abs=1e-9)


@given(tables(), st.data(), st.floats(0, 1))
def test_it_is_linear_in_the_chances_of_each_gene(table, data, share):
    gene = data.draw(st.integers(0, len(table.choices) - 1))
    first, other = chances(table, seed=1), chances(table, seed=2)
    second, between = list(first), list(first)
    second[gene] = other[gene]
    between[gene] = share * first[gene] + (1 - share) * other[gene]
    cost = table.differentiable()
    mixed = share * cost(first) + (1 - share) * cost(second)
    assert float(cost(between)) == pytest.approx(float(mixed), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 1000))
def test_the_gradient_is_that_of_finite_differences(table, seed):
    probabilities = [p.requires_grad_() for p in chances(table, (2,), seed)]
    assert torch.autograd.gradcheck(lambda *p: table.differentiable()(p), probabilities)


def test_the_gradient_is_the_expected_cost_given_the_option():
    table = CostTable((2, 2), ((0, 1),), (np.array([[1.0, 2.0], [3.0, 5.0]]),))
    first = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([0.25, 0.75], dtype=torch.float64)
    table.differentiable()([first, second]).backward()
    assert first.grad.tolist() == pytest.approx([0.25 * 1 + 0.75 * 2, 0.25 * 3 + 0.75 * 5])


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (2, 1, 4)])
def test_leading_shapes_are_kept_row_by_row(lead):
    probabilities = chances(CHAIN, lead)
    cost = CHAIN.differentiable()
    found = cost(probabilities)
    assert found.shape == lead
    rows = zip(*(p.reshape(-1, p.shape[-1]) for p in probabilities), strict=True)
    assert found.reshape(-1).tolist() == pytest.approx([float(cost(list(row))) for row in rows])


@pytest.mark.parametrize("sizes", [(2, 3), (2, 3, 2, 2), (3, 2, 2), (2, 3, 1), ()])
def test_other_numbers_of_genes_or_options_are_refused(sizes):
    with pytest.raises(UsageError) as caught:
        CHAIN.differentiable()([torch.full((n,), 1 / n) for n in sizes])
    assert str(sizes) in caught.value.message and "(2, 3, 2)" in caught.value.message


@pytest.mark.parametrize("order", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_one_table_answers_in_the_precision_it_is_asked_in(order):
    cost = CHAIN.differentiable()
    assert cost.choices == (2, 3, 2)
    for dtype in order:
        found = cost(one_hot(CHAIN, everything(CHAIN), dtype))
        assert found.dtype == dtype
        error = 1e-9 if dtype == torch.float64 else 1e-4
        assert found.numpy() == pytest.approx(CHAIN.predict(everything(CHAIN)), rel=error)


def test_an_architecture_says_which_kernels_it_lacks():
    lacking = np.array([[0, 1], [2, 0]], dtype=np.int32)
    table = CostTable((2, 2), ((0, 1),), (np.ones((2, 2)),), None, lacking, ((), ("a",), ("a", "b")))
    assert table.missing_of(np.array([[0, 1], [1, 0], [1, 1]])) == (("a",), ("a", "b"), ())
    assert CostTable((2, 2), ((0, 1),), (np.ones((2, 2)),)).missing_of(np.zeros((3, 2), dtype=np.int64)) == ((),) * 3
    with pytest.raises(InvalidTable, match="lacks set 2 of 2"):
        CostTable((2, 2), ((0, 1),), (np.ones((2, 2)),), None, lacking, ((), ("a",)))
