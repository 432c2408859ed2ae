"""Trainers that teach and that drop: gradients by hand, phases, rates, and what is refused."""

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.spaces.nasbench201.algebra import NONE
from nas.weights import extremes, training
from nas.weights import images as data
from nas.weights.data.tasks import IGNORED, Tokens
from nas.weights.distillation import distillation, taught
from nas.weights.trainers import distinct, path_dropout, shrinking
from nas.weights.trainers.protocol import Turn
from nas.weights.trainers.sandwich import sandwich
from nas.weights.training import TrainingPlan
from predictors.genes import numbered
from profiler.assembly import INPUT, Assembly, Block

pytestmark = pytest.mark.usefixtures("one_thread")

MOBILE = "mobilenetv3:stages=2,layers=3,width=25,resolution=24,smallest=16,step=4,classes=10"
CHAIN = "chain:layers=1,width=25,resolution=16,classes=10"


class Grades(nas.spaces.ProductSpace):
    """A linear layer of some width; of its genes one has no order."""

    name, spec, input_shape = "grades", "grades", (1, 4)

    def __init__(self, *genes):
        self.genes = genes or (nas.spaces.Gene("size", (3, 6, 9), ordered=True),)
        self.spec = f"grades{[(gene.name, gene.ordered) for gene in self.genes]}"

    def assembly(self, arch):
        width = 1 + int(np.sum(arch))
        first = Block("first", f"linear {width}", (INPUT,), lambda: torch.nn.Linear(4, width))
        second = Block("second", f"linear {width}->5", ("first",), lambda: torch.nn.Linear(width, 5))
        return Assembly((first, second), (1, 4))


class Tables(torch.nn.Module):
    """A supernet whose networks share nothing: a matrix for each option of the first gene. It keeps what was run."""

    def __init__(self, options, outputs=5):
        super().__init__()
        rows = torch.randn(options, 4, outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.rows = torch.nn.Parameter(rows)
        self.ran = []

    def forward_path(self, inputs, arch):
        self.ran.append(tuple(int(gene) for gene in arch))
        return inputs @ self.rows[int(arch[0])]


def turn(supernet, space, inputs, loss, *, step=0, steps=1, seed=0):
    return Turn(supernet, space, inputs, loss, step, steps, np.random.default_rng(seed))


def examples(*shape, outputs=5):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(*shape, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(outputs, shape, generator=generator)


# -- distillation


@pytest.mark.parametrize("shape", [(6,), (3, 4)], ids=["images", "sequences"])
def test_the_sandwich_has_the_gradients_of_cross_entropies_and_none_into_its_teacher(shape):
    space, supernet = Grades(), Tables(3)
    inputs, targets = examples(*shape)
    sandwich(turn(supernet, space, inputs, lambda outputs: Tokens(5).loss(outputs, targets)
                  if len(shape) > 1 else torch.nn.functional.cross_entropy(outputs, targets)))  # fmt: skip
    drawn = space.sample(2, np.random.default_rng(0))[:, 0].tolist()
    assert supernet.ran == [(2,), *((option,) for option in drawn), (0,)]
    flat, rows = inputs.reshape(-1, 4).numpy(), supernet.rows.detach().numpy()

    def shares(option):
        values = np.exp(flat @ rows[option])
        return values / values.sum(axis=1, keepdims=True)

    hard = np.eye(5)[targets.reshape(-1).numpy()]
    expected = np.zeros_like(rows)
    expected[2] += flat.T @ (shares(2) - hard) / len(flat)
    for option in (*drawn, 0):
        expected[option] += flat.T @ (shares(option) - shares(2)) / len(flat)
    np.testing.assert_allclose(supernet.rows.grad.numpy(), expected, atol=1e-12)


def test_tokens_that_only_fill_up_are_not_taught():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.tensor([[1, 2, IGNORED], [0, IGNORED, IGNORED]])
    soft = taught(logits, lambda outputs: Tokens(5).loss(outputs, targets))
    assert soft.scored.tolist() == [[1, 1, 0], [1, 0, 0]] and not soft.shares.requires_grad
    by_hand = -np.mean(
        [
            float((torch.softmax(logits[at], 0) * torch.log_softmax(others[at], 0)).sum())
            for at in ((0, 0), (0, 1), (1, 0))
        ]
    )
    assert float(distillation(others, soft)) == pytest.approx(by_hand)


def test_a_number_teaches_nothing():
    with pytest.raises(UsageError, match="tell no classes apart") as refused:
        taught(torch.zeros(4, 1), lambda outputs: outputs.square().mean())
    assert "uniform" in refused.value.hint


# -- progressive shrinking


def entered(space, share):
    """Options by the names of genes, at a share of a training of 1,000 steps."""
    found = shrinking.admitted(space, round(share * 1000), 1000)
    return {gene.name: options.tolist() for gene, options in zip(space.genes, found, strict=True)}


def test_most_of_a_phase_has_all_options_of_its_genes():
    """25 epochs without the last option of three and 120 with it, in each of three phases of 70 % of the steps."""
    space = nas.spaces.load(MOBILE)
    gene = next(at for at, gene in enumerate(space.genes) if "expansion" in gene.name and len(gene.options) == 3)
    counts = [len(shrinking.admitted(space, step, 10_000)[gene]) for step in range(7_668, 10_000)]
    assert set(counts) == {2, 3} and counts == sorted(counts)
    assert counts.count(2) / len(counts) == pytest.approx(25 / 145, abs=2e-3)


def test_phases_admit_kernels_then_depths_then_expansions():
    space = nas.spaces.load(MOBILE)
    every = list(range(3))
    names = ["none", "kernel", "depth", "expansion"]
    assert [shrinking.phase_of(space, step, 1000) for step in (0, 299, 300, 533, 534, 766, 767, 999)] == [
        0, 0, 1, 1, 2, 2, 3, 3,
    ]  # fmt: skip
    for share, phase, whole in ((0.0, 0, False), (0.29, 0, False), (0.31, 1, False), (0.53, 1, True), (0.55, 2, False),
                                (0.76, 2, True), (0.78, 3, False), (0.999, 3, True)):  # fmt: skip
        for name, options in entered(space, share).items():
            kind = next((at for at, word in enumerate(names) if word in name), None)
            count = space.choices[space.place(name)]
            if name == "resolution" or kind < phase:
                assert options == list(range(count)), (share, name)
            elif kind > phase:
                assert options == [count - 1], (share, name)
            else:
                assert options == (list(range(count)) if whole or count == 2 else every[1:]), (share, name)


def test_genes_without_such_names_enter_one_after_the_other_and_those_without_an_order_last():
    space = Grades(
        nas.spaces.Gene("this", (1, 2, 3), ordered=True),
        nas.spaces.Gene("that", (1, 2), ordered=True),
        nas.spaces.Gene("other", ("a", "b", "c")),
    )
    assert shrinking.phases(space) == ((0,), (1,), (2,))
    assert entered(space, 0.0) == {"this": [2], "that": [1], "other": [2]}
    assert entered(space, 0.31) == {"this": [1, 2], "that": [1], "other": [2]}
    assert entered(space, 0.53) == {"this": [0, 1, 2], "that": [1], "other": [2]}
    assert entered(space, 0.55) == {"this": [0, 1, 2], "that": [0, 1], "other": [2]}
    assert entered(space, 0.78) == {"this": [0, 1, 2], "that": [0, 1], "other": [0, 1, 2]}
    chain = nas.spaces.load(CHAIN)
    assert shrinking.phases(chain) == (tuple(range(len(chain.choices))),)
    largest = extremes.of(chain).largest.tolist()
    assert list(entered(chain, 0.2).values()) == [[option] for option in largest]


@pytest.mark.parametrize(("step", "networks"), [(0, 1), (40, 1), (60, 2), (80, 4)])
def test_a_minibatch_has_one_resolution_and_only_what_is_admitted(step, networks):
    class Runs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 10))
            self.ran = []

        def forward_path(self, inputs, arch):
            self.ran.append(arch.tolist())
            return inputs @ self.weight

    space = nas.spaces.load(MOBILE)
    inputs, targets = torch.randn(6, 4), torch.randint(10, (6,))
    seen = set()
    for seed in range(4):
        supernet = Runs()
        shrinking.shrinking(
            turn(supernet, space, inputs, lambda outputs: torch.nn.functional.cross_entropy(outputs, targets),
                 step=step, steps=100, seed=seed)
        )  # fmt: skip
        assert supernet.weight.grad.abs().sum() > 0
        assert len({arch[0] for arch in supernet.ran}) == 1, "one resolution"
        seen.add(supernet.ran[0][0])
        assert supernet.ran[0][1:] == extremes.of(space).largest.tolist()[1:], "the largest, as the teacher"
        students = supernet.ran[1:] if step else supernet.ran
        assert len(students) == networks
        for arch in students:
            assert all(
                gene in options for gene, options in zip(arch, shrinking.admitted(space, step, 100), strict=True)
            )
    assert len(seen) > 1, "resolutions are random from the start"


def test_shrinking_learns_from_labels_and_its_teacher_alike():
    space, supernet = Grades(), Tables(3)
    inputs, targets = examples(6)
    trained = turn(
        supernet, space, inputs, lambda outputs: torch.nn.functional.cross_entropy(outputs, targets), step=99, steps=100
    )
    shrinking.shrinking(trained)
    assert supernet.ran[0] == (2,) and len(supernet.ran) == 2
    option = supernet.ran[1][0]
    flat, rows = inputs.numpy(), supernet.rows.detach().numpy()
    shares = [np.exp(flat @ row) / np.exp(flat @ row).sum(axis=1, keepdims=True) for row in rows]
    expected = np.zeros_like(rows)
    expected[option] = flat.T @ (2 * shares[option] - np.eye(5)[targets.numpy()] - shares[2]) / len(flat)
    np.testing.assert_allclose(supernet.rows.grad.numpy(), expected, atol=1e-12)


# -- path dropout


def test_the_rate_rises_linearly_from_nothing_to_the_root_of_r():
    for options in (1, 2, 5, 9):
        assert path_dropout.rate(options, 0, 400) == 0
        assert path_dropout.rate(options, 399, 400) == pytest.approx(0.1 ** (1 / options))
        assert path_dropout.rate(options, 133, 400) == pytest.approx(0.1 ** (1 / options) / 3)


def test_options_are_dropped_as_often_as_the_rate_says_and_what_is_left_is_averaged():
    space = nas.spaces.load(CHAIN)
    first = path_dropout.gates(turn(None, space, None, None, step=0, steps=10))
    for gate, options in zip(first, space.choices, strict=True):
        np.testing.assert_allclose(gate.numpy(), np.full(options, 1 / options), rtol=1e-6)
    rng = np.random.default_rng(0)
    left = []
    for _ in range(400):
        gates = path_dropout.gates(Turn(None, space, None, None, 9, 10, rng))
        for gate in gates:
            alive = gate[gate > 0]
            assert len(alive) and torch.allclose(alive, torch.full_like(alive, 1 / len(alive)))
        left.append([int((gate > 0).sum()) for gate in gates])
    for gene, options in enumerate(space.choices):
        expected = options * (1 - 0.1 ** (1 / options)) + 0.1  # one is drawn where all are dropped
        assert np.mean(left, axis=0)[gene] == pytest.approx(expected, rel=0.1)


def test_what_cannot_be_mixed_is_refused_at_the_first_minibatch_or_before(tmp_path):
    space = nas.spaces.load(MOBILE)
    images = data.load("digits", space.input_shape, seed=0, limit=50)
    plan = TrainingPlan(steps=2, batch=4, trainer="path-dropout")
    with pytest.raises(UsageError, match=r"path-dropout .* 'mobilenetv3' .*cannot be mixed") as refused:
        training.train(space, images, plan, checkpoint=tmp_path / "w.safetensors")
    assert "trainer=uniform" in refused.value.hint and not list(tmp_path.iterdir())
    macro = nas.spaces.load("nsganet-macro:channels=4,resolution=8")
    context = Context(macro, tmp_path, store=None, data="digits", settings={"trainer": "path-dropout"})
    with pytest.raises(UsageError, match="'nsganet-macro' cannot be mixed") as refused:
        EVALUATOR.open("accuracy", "accuracy", context)
    assert "trainer=uniform" in refused.value.hint


# -- all of them


@pytest.mark.parametrize(
    "trainer", ["sandwich", *(pytest.param(name, marks=pytest.mark.slow) for name in ("shrinking", "path-dropout"))]
)
def test_each_learns_to_tell_digits_apart(trainer, tmp_path):
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    images = data.load("digits", space.input_shape, seed=0, limit=300)
    plan = TrainingPlan(steps=60, batch=32, trainer=trainer)
    learned = training.train(space, images, plan, checkpoint=tmp_path / "w.safetensors")
    network = training.inherit(learned, extremes.of(space).largest, images)
    assert training.accuracy(network, images.valid) > 0.25, "chance is 0.1"


@pytest.mark.parametrize("trainer", ["sandwich", "shrinking"])
def test_transformers_are_taught_too(trainer, tmp_path):
    from nas.weights import data as kinds
    from nas.weights.data import Wanted

    space = nas.spaces.load("hat:encoder_layers=3,decoder_layers=1,length=8,vocabulary=32,width=5")
    pairs = kinds.load("pairs", Wanted.of(space), seed=0, limit=40)
    plan = TrainingPlan(steps=4, batch=8, trainer=trainer, optimiser="adamw", rate=0.001)
    learned = training.train(space, pairs, plan, checkpoint=tmp_path / "w.safetensors")
    assert all(bool(torch.isfinite(weight).all()) for weight in learned.parameters())


# -- distinct networks


def test_each_distinct_network_of_a_small_space_is_as_likely():
    space = nas.spaces.load("nasbench201")
    rng = np.random.default_rng(0)
    drawn = np.array([distinct.drawn(space, rng) for _ in range(4000)])
    assert (space.canonical(drawn) == drawn).all() and space.is_valid(drawn).all()
    every = space.canonical(numbered(np.arange(5**6), space.choices))
    every = np.unique(every[space.is_valid(every)], axis=0)
    for option in range(5):  # 4,000 draws have a standard error of 1 to 2 % of these means
        assert (drawn == option).sum(axis=1).mean() == pytest.approx((every == option).sum(axis=1).mean(), rel=0.08)


def test_copies_are_the_genomes_of_a_network_whose_depth_leaves_genes_open():
    space = nas.spaces.load("mobilenetv3:stages=1,layers=3,resolution=32,smallest=32")
    every = space.canonical(numbered(np.arange(int(np.prod(space.choices))), space.choices))
    networks, genomes = np.unique(every, axis=0, return_counts=True)
    assert (distinct.copies(space, networks) == genomes).all() and set(genomes) == {1, 9}


def test_networks_of_a_large_space_are_drawn_by_what_they_are(monkeypatch):
    """Of a listed space both ways are known: the way of large ones is close to uniform, and uniform genomes are not."""
    space, rng = nas.spaces.load("nasbench201"), np.random.default_rng(0)
    exact = np.array([distinct.drawn(space, rng) for _ in range(1500)])
    monkeypatch.setattr(distinct, "MOST_LISTED", 1)
    nearly = np.array([distinct.drawn(space, rng) for _ in range(1500)])
    genomes = space.canonical(numbered(rng.integers(5**6, size=1500), space.choices))
    genomes = genomes[space.is_valid(genomes)]
    absent = [float((archs == NONE).sum(axis=1).mean()) for archs in (exact, nearly, genomes)]
    assert abs(absent[1] - absent[0]) < 0.4 * abs(absent[2] - absent[0])
