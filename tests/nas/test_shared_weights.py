"""Shared weights of every space, made of its blocks: paths, networks alone, gates, checkpoints, trainers."""

import numpy as np
import onnxruntime
import pytest
import torch

import nas
from device_profiles.errors import DeviceError, UnknownName, UsageError
from nas.evaluators.predicted import Predicted
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.gradient import gdas
from nas.gradient.protocol import GradientProblem
from nas.loop.checks import check_gradients
from nas.objectives import Objective
from nas.spaces._parts.mobile import Inverted, conv_norm
from nas.spaces.export import onnx_bytes
from nas.study.plan import SearchPlan
from nas.testing import check_shared_weights
from nas.testing.weights import awaken
from nas.weights import assembled, devices, supernets, trainers, training
from nas.weights import images as data
from nas.weights.cuts import CutBlock
from nas.weights.first_weights import FAINT
from nas.weights.trainers.fair import drawn
from nas.weights.training import TrainingPlan
from predictors.encoding import CostTable
from profiler.assembly import INPUT, Assembly, Block

pytestmark = pytest.mark.usefixtures("one_thread")

#: Up to three layers of a width in a row, of which each may be left out: the same network in several ways.
SKIPS = "chain:layers=3,width=25,resolution=16,classes=10" + "".join(f"@layer{n}=k3e1+skip" for n in range(1, 18))
#: Every registered space, small; and whether its networks can be mixed by gates.
SPACES = {
    "chain": (SKIPS, True),
    "darts": ("darts:layers=3,channels=4,resolution=8", True),
    "gpt": ("gpt:layers=3,length=6,vocabulary=16,width=13", True),
    "hat": ("hat:encoder_layers=3,decoder_layers=2,length=5,vocabulary=16,width=10", False),
    "hybrid": ("hybrid:stages=2,resolution=16,width=50,classes=10", True),
    "mobilenetv3": ("mobilenetv3:stages=2,layers=3,width=25,resolution=16,smallest=8,step=8,classes=10", True),
    "motifs": ("motifs:cells=1,channels=4,resolution=8", False),
    "nasbench201": ("nasbench201:cells=1,channels=4,resolution=8", True),
    "nasbot": ("nasbot", False),
    "nsganet-macro": ("nsganet-macro:channels=4,resolution=8", False),
    "nsganet-micro": ("nsganet-micro:layers=3,channels=4,resolution=8", False),
    "resnet": ("resnet:stages=2,width=50,resolution=16,smallest=8,step=8,classes=10", True),
}
CHAIN = nas.spaces.load("chain:layers=1,width=25,resolution=16,classes=10")
HYBRID = nas.spaces.load("hybrid:stages=1,resolution=16,width=50,classes=10")
PLAN = TrainingPlan(steps=12, batch=16, seed=4)


@pytest.fixture(scope="module")
def images():
    return data.load("digits", CHAIN.input_shape, seed=0, limit=300)


class Rows(nas.spaces.ProductSpace):
    name, spec, input_shape = "rows", "rows", (1, 4)
    genes = (nas.spaces.Gene("width", (4, 8)),)

    def __init__(self):
        pass

    def assembly(self, arch):
        width = self.value(arch, "width")
        first = Block("first", f"linear {width}", (INPUT,), lambda: torch.nn.Linear(4, width))
        second = Block("second", f"linear {width}->1", ("first",), lambda: torch.nn.Linear(width, 1))
        return Assembly((first, second), (1, 4))


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def gates_of(space, arch):
    rows = zip(arch.tolist(), space.choices, strict=True)
    gates = [torch.nn.functional.one_hot(torch.tensor(gene), options).float() for gene, options in rows]
    return [gate.requires_grad_() for gate in gates]


# -- every space


def test_every_registered_space_is_here():
    assert set(nas.spaces.names()) == set(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_weights_are_shared_by_all_networks_of_a_space(name):
    spec, mixes = SPACES[name]
    check_shared_weights(spec, mixed=mixes)


def test_a_restricted_space_and_one_of_choices_share_weights():
    check_shared_weights(nas.spaces.load(SPACES["darts"][0]).restrict({"normal2_op1": ["sep3", "skip"]}))
    check_shared_weights(CHAIN.restrict({"layer1": ["k3e1", "skip"]}))


def test_a_network_leaves_with_its_weights_as_onnx():
    space = Rows()
    arch = np.array([1])
    supernet = supernets.of(space).eval()
    inputs = torch.randn(space.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = supernet.forward_path(inputs, arch)
    session = onnxruntime.InferenceSession(onnx_bytes(space, arch, module=supernet.subnet(arch)))
    assert np.allclose(session.run(None, {"input": inputs.numpy()})[0], wanted.numpy(), atol=1e-4)


# -- weights are made when they are needed


def test_the_order_of_use_does_not_matter():
    archs = CHAIN.sample(4, np.random.default_rng(0))
    inputs = torch.randn(2, *CHAIN.input_shape[1:], generator=torch.Generator().manual_seed(0))
    outputs = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        torch.manual_seed(order[0])
        supernet = supernets.of(CHAIN, seed=3).eval()
        with torch.no_grad():
            found = {place: supernet.forward_path(inputs, archs[place]) for place in order}
        outputs.append(torch.stack([found[place] for place in range(4)]))
    assert torch.equal(*outputs)
    other = supernets.of(CHAIN, seed=4).eval()
    with torch.no_grad():
        assert not torch.equal(other.forward_path(inputs, archs[0]), outputs[0][0])


def test_making_weights_leaves_random_numbers_as_they_are():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    arch = CHAIN.sample(1, np.random.default_rng(0))[0]
    supernets.of(CHAIN).forward_path(torch.zeros(2, *CHAIN.input_shape[1:]), arch)
    assert torch.equal(torch.rand(3), wanted)


def test_only_what_is_run_is_kept():
    first, other = CHAIN.sample(2, np.random.default_rng(0))
    supernet = supernets.of(CHAIN)
    supernet.forward_path(torch.zeros(2, *CHAIN.input_shape[1:]), first)
    blocks = CHAIN.assembly(first).blocks
    wider = {(block.name, block.cut().key) for block in blocks if block.cut}
    assert len(supernet.blocks) == len(wider | {(block.name, block.key) for block in blocks})
    before = weights(supernet)
    alone = supernet.subnet(other)
    assert equal(weights(supernet), before), "a network that leaves brings nothing"
    supernet.forward_path(torch.zeros(2, *CHAIN.input_shape[1:]), other)
    fresh = dict(supernet.subnet(other).named_parameters())
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in alone.named_parameters())


def test_weights_are_made_where_the_supernet_is():
    arch = CHAIN.sample(1, np.random.default_rng(0))[0]
    supernet = supernets.of(CHAIN).to("meta")
    supernet.set_extra_state(torch.tensor([arch.tolist()]))
    assert {parameter.device.type for parameter in supernet.parameters()} == {"meta"}
    assert {parameter.device.type for parameter in supernet.subnet(arch).parameters()} == {"meta"}


def test_too_many_weights_are_refused(monkeypatch):
    monkeypatch.setattr(assembled, "MOST_PARAMETERS", 2000)
    with pytest.raises(UsageError, match="more than 2,000 parameters") as caught:
        supernets.of(CHAIN).forward_path(torch.zeros(2, *CHAIN.input_shape[1:]), np.zeros(len(CHAIN.choices), int))
    assert "width" in caught.value.hint


# -- weights that are cut out of those of a wider block


def test_narrower_and_smaller_is_the_first_channels_and_the_middle():
    wide, narrow = Inverted(4, 6, 12, 5, squeeze=True), Inverted(4, 6, 8, 3, squeeze=True)
    whole = wide.build()
    block = CutBlock(narrow.build(), whole, narrow.shared(wide, "").take)
    cut = block.state_alone()
    assert torch.equal(cut["depthwise.0.weight"], whole.depthwise[0].weight[:8, :, 1:4, 1:4])
    assert torch.equal(cut["expand.0.weight"], whole.expand[0].weight[:8])
    assert torch.equal(cut["project.0.weight"], whole.project[0].weight[:, :8])
    assert torch.equal(cut["squeeze.weigh.3.bias"], whole.squeeze.weigh[3].bias[:8])
    alone = narrow.build()
    alone.load_state_dict(cut)
    inputs = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(inputs), alone(inputs))
    assert not list(block.parameters()), "it has no weights of its own"


def test_groups_are_the_dense_block_without_what_they_do_not_connect():
    """So that each channel between means the same, though groups are shuffled."""
    wide, dense, grouped = Inverted(8, 12, 48, 5), Inverted(8, 12, 8, 3), Inverted(8, 12, 8, 3, groups=2)
    whole = wide.build().eval()
    connected = CutBlock(dense.build(), whole, dense.shared(wide, "").take).state_alone()
    # Channel 2 i + g of the shuffled ones was the i-th of group g, which reads the inputs of group g.
    reads = torch.tensor([[channel % 2 == read // 4 for read in range(8)] for channel in range(8)])
    gives = torch.tensor([[out // 6 == channel // 4 for channel in range(8)] for out in range(12)])
    alone = dense.build().eval()
    alone.load_state_dict(
        connected
        | {
            "expand.0.weight": connected["expand.0.weight"] * reads[..., None, None],
            "project.0.weight": connected["project.0.weight"] * gives[..., None, None],
        }
    )
    inputs = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    found = CutBlock(grouped.build(), whole, grouped.shared(wide, "").take).eval()(inputs)
    assert found.std() > 0.01 and torch.allclose(found, alone(inputs), atol=1e-6)


def test_what_one_operator_learns_the_others_of_its_layer_know():
    supernet = supernets.of(CHAIN)
    inputs = torch.randn(2, *CHAIN.input_shape[1:], generator=torch.Generator().manual_seed(0))
    small, large = (CHAIN.parse(" ".join([name] * 7)) for name in ("k3e1", "k5e6"))
    supernet.forward_path(inputs, small).square().sum().backward()
    supernet.forward_path(inputs, large)
    reached = {
        name: float((parameter.grad != 0).float().mean())
        for name, parameter in supernet.named_parameters()
        if name.endswith("depthwise.0.weight")
    }
    assert len(reached) == 7, "one of a layer, for both operators"
    assert all(0 < share <= 9 / 25 / 6 + 1e-6 for share in reached.values()), "the middle of the first sixth"


def test_a_projection_is_the_widest_block_without_what_bends_it():
    wide = Inverted(4, 6, 12, 5, stride=2, activation="Identity")
    whole = wide.build().eval()
    with torch.no_grad():
        edges = torch.ones(5, 5)
        edges[2, 2] = 0
        whole.depthwise[0].weight *= 1 - edges
    project = CutBlock(conv_norm(4, 6, stride=2, activation=None), whole, wide.straight("").take).eval()
    inputs = torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(0))
    assert whole(inputs).std() > 0.01 and torch.allclose(project(inputs), whole(inputs), atol=1e-3)
    skips = CHAIN.parse(" ".join(["k3e1", *["skip"] * 6]))
    blocks = [block for block in CHAIN.assembly(skips).blocks if "projection" in block.key]
    assert blocks and all(block.cut().key.startswith("chain inverted") for block in blocks)


def test_a_cut_of_another_shape_is_a_fault():
    wide, narrow = Inverted(4, 6, 12, 5), Inverted(4, 6, 8, 3)
    with pytest.raises(ValueError, match="cut out for it"):
        CutBlock(Inverted(4, 6, 8, 5).build(), wide.build(), narrow.shared(wide, "").take)


def test_residuals_begin_faint():
    """Else paths of random blocks have so little in common that none of them learns."""
    space = nas.spaces.load("chain:layers=2,width=25,resolution=16,classes=10")
    supernet = supernets.of(space)
    inputs = torch.randn(4, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    for arch in space.sample(4, np.random.default_rng(0)):
        supernet.forward_path(inputs, arch)
    norms = [module.core.project[1].weight for module in supernet.modules() if hasattr(module, "core")]
    own = [weight for weight in norms if weight is not None]
    assert own and all((weight == FAINT).all() for weight in own)


# -- gates


@pytest.mark.parametrize("name", ["chain", "darts", "hybrid", "mobilenetv3", "resnet"])
def test_gradients_reach_the_gate_of_every_gene_that_matters(name):
    space = nas.spaces.load(SPACES[name][0])
    supernet = supernets.of(space).eval()
    inputs = torch.randn(4, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    for arch in space.canonical(space.sample(2, np.random.default_rng(7))):
        gates = gates_of(space, arch)
        supernet.forward_mixed(inputs, gates).square().sum().backward()
        for gene in np.flatnonzero(space.active(arch[None])[0]):
            reached = gates[gene].grad is not None and gates[gene].grad[arch[gene]] != 0
            assert reached or space.choices[gene] == 1, space.genes[gene].name


@pytest.mark.parametrize("name", ["chain", "darts"])
def test_the_gradient_of_a_gate_is_that_of_a_finite_difference(name):
    space = nas.spaces.load(SPACES[name][0])
    supernet = supernets.of(space).eval()
    inputs = torch.randn(2, *space.input_shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arch = space.sample(1, np.random.default_rng(2))[0]
    awaken(supernet, inputs.float(), arch)
    supernet.double()
    gates = [gate.detach().double().requires_grad_() for gate in gates_of(space, arch)]
    supernet.forward_mixed(inputs, gates).sum().backward()
    for gene in range(0, len(arch), 5):
        values = []
        for step in (1e-6, -1e-6):
            moved = [gate.detach().clone() for gate in gates]
            moved[gene][arch[gene]] += step
            with torch.no_grad():
                values.append(float(supernet.forward_mixed(inputs, moved).sum()))
        slope = float(gates[gene].grad[arch[gene]])
        assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["chain", "darts", "hybrid"])
def test_soft_gates_lie_between(name):
    """Half and half of two operators is neither, and gradients reach the gates of both."""
    space = nas.spaces.load(SPACES[name][0])
    gene = next(g for g, one in enumerate(space.genes) if not one.ordered and "from" not in one.name)
    supernet = supernets.of(space).eval()
    inputs = torch.randn(2, *space.input_shape[1:], generator=torch.Generator().manual_seed(0))
    gates = [gate.detach() for gate in gates_of(space, np.zeros(len(space.choices), dtype=np.int64))]
    gates[gene][:2] = 0.5
    gates[gene].requires_grad_()
    for option in (0, 1):
        awaken(supernet, inputs, np.array([0] * gene + [option] + [0] * (len(gates) - gene - 1)))
    mixed = supernet.forward_mixed(inputs, gates)
    mixed.square().sum().backward()
    assert (gates[gene].grad[:2] != 0).all()
    ends = [supernet.forward_path(inputs, np.array([0] * gene + [o] + [0] * (len(gates) - gene - 1))) for o in (0, 1)]
    assert not any(torch.allclose(mixed, end) for end in ends)


@pytest.mark.parametrize(("name", "gene"), [("mobilenetv3", "resolution"), ("resnet", "width1"), ("gpt", "embed")])
def test_options_of_different_shapes_are_not_mixed(name, gene):
    space = nas.spaces.load(SPACES[name][0])
    gates = [gate.detach() for gate in gates_of(space, np.zeros(len(space.choices), dtype=np.int64))]
    place = space.place(gene)
    gates[place] = torch.full((space.choices[place],), 1.0 / space.choices[place])
    inputs = torch.zeros(space.input_shape, dtype=torch.int64 if name == "gpt" else torch.float32)
    with pytest.raises(UsageError, match=f"options of gene {gene} cannot be mixed"):
        supernets.of(space).forward_mixed(inputs, gates)


@pytest.mark.parametrize("name", [name for name, (_, mixes) in SPACES.items() if not mixes])
def test_spaces_that_cannot_be_mixed_say_so(name):
    with pytest.raises(UsageError, match=rf"'{name}' cannot be mixed by gates"):
        supernets.require_mixed(nas.spaces.load(SPACES[name][0]))


def test_gdas_runs_on_weights_that_are_made_when_needed(images):
    prices = [np.arange(1.0, options + 1) for options in CHAIN.choices]
    table = CostTable(CHAIN.choices, tuple((gene,) for gene in range(len(CHAIN.choices))), tuple(prices))
    supernet = supernets.of(CHAIN)
    problem = GradientProblem(
        space=CHAIN, supernet=lambda: supernet, data=lambda: images, cost=table.differentiable(), budget=4, seed=0
    )
    runs = [list(gdas.gdas(problem, weights=(0.0, 5.0), steps=8, batch=8, rate=0.5)) for _ in range(2)]
    assert [run.archs.tolist() for run in runs[0]] == [run.archs.tolist() for run in runs[1]]
    free, dear = (table.predict(run.archs).mean() for run in runs[0])
    assert dear < free, "the hardware term is descended"


# -- training


def train(images, plan, path, **options):
    return training.train(CHAIN, images, plan, checkpoint=path / "w.safetensors", **options)


@pytest.mark.parametrize("trainer", trainers.names())
def test_an_interrupted_training_ends_with_the_same_weights(images, tmp_path, monkeypatch, trainer):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    plan = TrainingPlan(steps=4, batch=8, seed=4, trainer=trainer)
    whole = weights(train(images, plan, tmp_path / "whole"))

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, plan, tmp_path / "cut", progress=stop)
    torch.manual_seed(99)
    assert equal(weights(train(images, plan, tmp_path / "cut")), whole)
    assert equal(weights(train(images, plan, tmp_path / "cut")), whole), "read, and not trained again"


def test_another_trainer_is_another_training(images, tmp_path):
    taken = []
    for trainer in ("uniform", "fair"):
        plan = TrainingPlan(steps=1, batch=8, trainer=trainer)
        train(images, plan, tmp_path, progress=lambda done, total: taken.append(done))
    assert taken == [0, 1, 0, 1]


def test_training_learns_to_tell_digits_apart(images, tmp_path):
    plan = TrainingPlan(steps=100, batch=32)
    learned = training.train(HYBRID, images, plan, checkpoint=tmp_path / "w.safetensors")
    before = weights(learned)
    means = []
    for supernet in (learned, supernets.of(HYBRID)):
        archs = HYBRID.sample(4, np.random.default_rng(1))
        networks = [training.inherit(supernet, arch, images) for arch in archs]
        means.append(np.mean([training.accuracy(network, images.valid) for network in networks]))
    assert means[0] > 0.25 and means[0] > means[1] + 0.1, "chance is 0.1"
    assert equal(weights(learned), before)


def test_fair_rounds_have_every_option_equally_often():
    space = nas.spaces.load("mobilenetv3:stages=1,layers=3,width=25,resolution=16,smallest=8,step=8")
    for seed in range(5):
        rows = drawn(space, np.random.default_rng(seed))
        assert len(rows) == max(space.choices)
        for gene, options in enumerate(space.choices):
            counts = np.bincount(rows[:, gene], minlength=options)
            assert counts.max() - counts.min() <= (len(rows) % options > 0)
    assert not np.array_equal(rows, drawn(space, np.random.default_rng(0)))


def test_fair_rounds_have_networks_with_a_function_alone():
    space = nas.spaces.load(SPACES["nasbench201"][0])
    rounds = [drawn(space, np.random.default_rng(seed)) for seed in range(10)]
    assert all(space.is_valid(rows).all() for rows in rounds)
    assert all(len(rows) >= 3 for rows in rounds)


def test_a_trainer_of_ones_own_is_found_by_name(images, tmp_path):
    seen = []

    def fixed(turn):
        seen.append((turn.step, turn.steps))
        arch = np.array(turn.space.choices) - 2
        turn.loss(turn.supernet.forward_path(turn.inputs, arch)).backward()

    trainers.REGISTRY.register("fixed", fixed)
    try:
        train(images, TrainingPlan(steps=2, batch=8, trainer="fixed"), tmp_path)
    finally:
        trainers.REGISTRY._registered.pop("fixed")
    assert seen == [(0, 2), (1, 2)]


def test_dropout_is_the_same_after_an_interruption(images, tmp_path, monkeypatch):
    class Dropping(type(CHAIN)):
        def assembly(self, arch):
            blocks = super().assembly(arch).blocks
            drop = Block("drop", "drop half", (blocks[-2].name,), lambda: torch.nn.Dropout(0.5))
            head = Block("head", blocks[-1].key, ("drop",), blocks[-1].build)
            return Assembly((*blocks[:-1], drop, head), self.input_shape)

    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    space = Dropping(layers=1, width=25, resolution=16, classes=10)
    plan = TrainingPlan(steps=3, batch=8)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(space, images, plan, checkpoint=tmp_path / "cut.safetensors", progress=stop)
    torch.manual_seed(99)
    cut = training.train(space, images, plan, checkpoint=tmp_path / "cut.safetensors")
    whole = training.train(space, images, plan, checkpoint=tmp_path / "whole.safetensors")
    assert equal(weights(cut), weights(whole))


class Numbers:
    """Data that are no images: whether a row's sum is above 0, with a loss of its own."""

    name, digest = "numbers", "0"
    asked = 0

    class train:
        inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        targets = (inputs.sum(dim=1, keepdim=True) > 0).float()

        def __len__(self):
            return 40

    train = train()

    @classmethod
    def loss(cls, outputs, targets):
        cls.asked += 1
        return (outputs - targets).square().mean()


def test_other_data_bring_their_own_loss(tmp_path):
    space = Rows()
    learned = training.train(space, Numbers, TrainingPlan(steps=40, rate=0.1), checkpoint=tmp_path / "w.safetensors")
    assert Numbers.asked == 40
    with torch.no_grad():
        after = float(Numbers.loss(learned.forward_path(Numbers.train.inputs, [1]), Numbers.train.targets))
    assert after < 0.2, "guessing one half costs a quarter"


# -- the objective


def context(tmp_path, space=CHAIN, **settings):
    return Context(space, tmp_path, store=None, data="digits", settings={"train_steps": 3, "images": 100, **settings})


def test_accuracy_judges_networks_of_a_space_without_a_supernet_of_its_own(tmp_path):
    judge = EVALUATOR.open("accuracy", "accuracy", context(tmp_path, trainer="fair", device="auto"))
    archs = CHAIN.sample(3, np.random.default_rng(0))
    values = judge.evaluate(archs)
    assert ((values.low < values.value) & (values.value < values.high)).all()
    assert (judge.evaluate(archs[::-1]).value == values.value[::-1]).all()
    again = EVALUATOR.open("accuracy", "accuracy", context(tmp_path, trainer="fair"))
    assert (again.evaluate(archs).value == values.value).all()
    judge.require_mixed()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"trainer": "fairly"}, UnknownName, "fair"),
        ({"device": "gpu"}, UnknownName, "gpu"),
        ({"trainer": 3}, UnknownName, "3"),
    ],
)
def test_settings_that_are_none_are_refused(tmp_path, settings, error, said):
    with pytest.raises(error, match=said):
        EVALUATOR.open("accuracy", "accuracy", context(tmp_path, **settings))


def test_networks_that_read_no_images_are_refused(tmp_path):
    with pytest.raises(UsageError, match="those of 'gpt' read"):
        EVALUATOR.open("accuracy", "accuracy", context(tmp_path, nas.spaces.load(SPACES["gpt"][0])))


def test_gdas_on_networks_that_cannot_be_mixed_is_refused_before_anything_is_trained(tmp_path):
    space = nas.spaces.load(SPACES["nsganet-macro"][0])
    judge = EVALUATOR.open("accuracy", "accuracy", context(tmp_path, space))
    predicted = Predicted(Objective("latency", "ms", False, "predicted", "latency"), None, "")
    plan = SearchPlan(space.spec, ("accuracy", "latency"), strategies=("gdas",))
    with pytest.raises(UsageError, match="'nsganet-macro' cannot be mixed by gates"):
        check_gradients(plan, (judge, predicted), ())
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no GPU here"):
        devices.device("cuda")
    assert devices.device("auto").type == devices.device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [devices.device(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    with pytest.raises(UnknownName, match="tpu"):
        devices.device("tpu")


def test_checkpoints_grow_with_what_is_used(images, tmp_path):
    for steps in (1, 4):
        train(images, TrainingPlan(steps=steps, batch=8), tmp_path / str(steps))
    small, large = ((tmp_path / str(steps) / "w.safetensors").stat().st_size for steps in (1, 4))
    assert small < large
