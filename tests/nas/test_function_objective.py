"""An objective that is a function of the user: of a module or of an architecture, under a budget, a part of the run."""

import numpy as np
import pytest
import torch
from torch import nn

import hwnas
import nas
from device_profiles.errors import ConditionMismatch, UsageError
from nas.evaluators.protocol import Budget, takes_budget
from nas.nn import Choice, Option


def factory():
    width = Option("width", (2, 4, 6))
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="act"),
        nn.Flatten(),
        nn.Linear(36 * width, 2),
    )


@pytest.fixture(scope="module")
def space():
    return nas.spaces.from_module(factory, (1, 1, 8, 8))


def search(space, *objectives, folder, **more):
    return hwnas.search(space, objectives=objectives, folder=folder, strategy="random", evaluations=6, **more)


def score(module, budget):
    return sum(parameter.numel() for parameter in module.parameters()) / 1000 + (budget.epochs or 0)


def test_a_function_of_a_module_is_searched_beside_a_function_of_an_architecture(space, tmp_path):
    size = nas.objective("size", score, unit="thousands")
    bits = nas.objective("bits", lambda arch: float(arch.sum()), maximise=True)
    result = search(space, size, bits, folder=tmp_path / "run")
    assert result.evaluations == 6 and not result.failures
    for point in result.front:
        module = space.to_module(np.array(point.arch))
        assert point.result["size"][0] == sum(p.numel() for p in module.parameters()) / 1000
        assert point.result["bits"][0] == sum(point.arch)
    about = result.study.objectives()
    assert [(one.name, one.unit, one.maximise, one.source) for one in about] == [
        ("size", "thousands", False, "function"),
        ("bits", "", True, "function"),
    ]
    assert result.study.space() is space
    assert "size" in result.report(tmp_path / "page.html").read_text()


def test_weights_are_those_of_the_seed(space, tmp_path):
    def weight(module):
        return float(module.blocks["0"].weight.sum()) + float(torch.rand(1))

    values = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        state = torch.random.get_rng_state()
        result = search(space, nas.objective("weight", weight), folder=tmp_path / name, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        values.append({trial.arch: trial.result["weight"][0] for trial in result.study.trials()})
    assert values[0] == values[1]
    assert all(values[2].get(arch) != value for arch, value in values[0].items())


def test_a_network_is_judged_once(space, tmp_path):
    seen = []

    def count(arch):
        seen.append(tuple(arch))
        return 1.0 * len(seen)

    evaluator = nas.evaluators.function.FunctionKind()
    one = nas.objective("count", count)
    context = nas.evaluators.Context(space, tmp_path, store=None)
    opened = evaluator.open("count", nas.evaluators.function.keep(one).partition("=")[2], context)
    archs = np.array([[0, 0], [0, 0], [1, 0]])
    assert opened.evaluate(archs).value.tolist() == [1.0, 1.0, 2.0]
    assert len(seen) == 2 and not takes_budget(opened)


def test_the_budget_is_told(space, tmp_path):
    result = search(space, nas.objective("size", score), folder=tmp_path, settings={"budget": "epochs=100"})
    assert all(trial.result["size"][0] > 100 for trial in result.study.trials())
    with pytest.raises(UsageError, match="budget"):
        one = nas.objective("bits", lambda arch: 1.0)
        search(space, one, folder=tmp_path / "other", settings={"budget": "epochs=2"})


def test_a_run_goes_on_with_the_same_source_and_with_no_other(space, tmp_path):
    def made(text):
        around = {}
        exec(text, around)
        return around["f"]

    text = "def f(arch):\n    return float(arch.sum())"
    first = search(space, nas.objective("bits", made(text)), folder=tmp_path)
    again = search(space, nas.objective("bits", made(text)), folder=tmp_path)
    assert len(again.study.trials()) == len(first.study.trials())
    with pytest.raises(ConditionMismatch):
        search(space, nas.objective("bits", made(text.replace("sum", "max"))), folder=tmp_path)
    with pytest.raises(ConditionMismatch):
        other = nas.spaces.from_module(lambda: nn.Sequential(factory(), nn.Sigmoid()), (1, 1, 8, 8))
        search(other, nas.objective("bits", made(text)), folder=tmp_path)


def test_an_error_and_no_number_cost_their_architecture(space, tmp_path):
    def odd(arch):
        if arch[0] == 0:
            raise RuntimeError("too narrow")
        return float("nan") if arch[0] == 1 else float("inf") if arch[1] else 1.0

    result = search(space, nas.objective("odd", odd), folder=tmp_path)
    assert set(result.failures.values()) == {
        "odd: RuntimeError: too narrow",
        "odd: no finite value",
    }
    assert len(result.failures) == 5 and [point.arch for point in result.front] == [(2, 0)]


@pytest.mark.parametrize("said", ["0.9", None, True, [0.9], torch.ones(2), 1j], ids=repr)
def test_what_is_no_number_ends_the_search(space, tmp_path, said):
    with pytest.raises(UsageError, match="it must give a number") as refused:
        search(space, nas.objective("odd", lambda arch: said), folder=tmp_path)
    assert "odd" in refused.value.message and "float" in refused.value.hint


@pytest.mark.parametrize("said", [1, np.float32(0.5), torch.tensor(0.5), np.array(2)], ids=repr)
def test_numbers_of_libraries_are_numbers(space, tmp_path, said):
    result = search(space, nas.objective("fine", lambda arch: said), folder=tmp_path)
    assert result.front[0].result["fine"][0] == float(said)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nas.objective("a b", lambda arch: 1.0), "has a name"),
        (lambda: nas.objective("a", lambda arch: 1.0, source="Trained!"), "has a name"),
        (lambda: nas.objective("a", 3), "needs a function"),
        (lambda: nas.objective("a", lambda: 1.0), "takes 0 arguments"),
        (lambda: nas.objective("a", lambda module, budget, more: 1.0), "takes 3 arguments"),
        (lambda: nas.objective("a", lambda x: 1.0), "may be a module or an architecture"),
    ],
)
def test_what_is_no_objective_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_the_first_argument_says_what_is_wanted():
    def noted(x: nn.Module) -> float:
        return 1.0

    def rows(x: "np.ndarray") -> float:
        return 1.0

    def limited(net, budget: Budget | None = None) -> float:
        return 1.0

    found = [nas.objective("a", one) for one in (noted, rows, limited, lambda model, seed=0: 1.0)]
    assert [one.of_module for one in found] == [True, False, True, True]
    assert [one.budgeted for one in found] == [False, False, True, False]


def test_a_text_of_a_function_that_nobody_gave_says_what_to_do(space, tmp_path):
    with pytest.raises(UsageError, match="no text makes it") as refused:
        search(space, "function:accuracy-0123456789abcdef", folder=tmp_path)
    assert "nas.objective" in refused.value.hint


def test_a_space_of_no_name_is_searched_as_an_object(tmp_path):
    from nas.spaces import Gene, ProductSpace

    class Mine(ProductSpace):
        name = "mine-alone"
        genes = (Gene("a", (1, 2)), Gene("b", (1, 2, 3)))
        input_shape = (1, 1)
        spec = "mine-alone"

        def __post_init__(self):
            pass

        def assembly(self, arch):
            raise NotImplementedError

    result = search(Mine(), nas.objective("bits", lambda arch: float(arch.sum())), folder=tmp_path)
    assert result.front[0].arch == (0, 0) and isinstance(result.study.space(), Mine)
