"""Decoder-only transformers: the published sizes, layers against torch's own, masks, text, runtimes; and the kit."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import nas
import profiler
from device_profiles.errors import HwnasError, UsageError
from nas import testing
from nas.spaces.export import onnx_bytes, subject
from profiler import runtimes, work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph
from profiler.runtimes.protocol import RuntimeOptions

SMALL = "gpt:layers=3,length=6,vocabulary=16,width=13"
SPACE = nas.spaces.load(SMALL)
FULL = nas.spaces.load("gpt:length=1024,vocabulary=50257")
TEXT = "48x2-bias(4h12+2h4+3h8)"


def test_the_space_conforms():
    testing.check_space(SMALL)


# -- the published space


def test_the_benchmarks_choices():
    assert FULL.genes[0].options == (192, 384, 768)
    assert FULL.genes[1].options == (10, 11, 12)
    assert FULL.genes[2].options == ("off", "on")
    assert FULL.genes[FULL.place("mlp12")].options == (2, 3, 4)
    assert FULL.genes[FULL.place("heads12")].options == (4, 8, 12)
    assert FULL.size == 3 * 3 * 2 * 9**12
    assert [gene.name for gene in FULL.genes if not gene.ordered] == ["bias"]


def test_networks_without_their_missing_layers_are_counted_once():
    everything = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.choices), axis=1)
    assert len(everything) == 3 * 3 * 2 * 9**3
    assert len(np.unique(SPACE.canonical(everything), axis=0)) == 3 * 2 * (9 + 9**2 + 9**3)


def test_the_largest_has_the_parameters_of_gpt_2():
    """124,439,808 with a head that is its embedding; ours has one of its own, 50,257 x 768."""
    arch = FULL.parse("768x12-bias(" + "+".join(["4h12"] * 12) + ")")
    with torch.device("meta"):
        module = FULL.to_module(arch)
    assert sum(p.numel() for p in module.parameters()) == 124_439_808 + 50_257 * 768


# -- layers


def test_layers_are_those_of_torch():
    torch.manual_seed(0)
    blocks = SPACE.to_module(SPACE.parse(TEXT)).eval().blocks
    first, second = blocks["l1attention"], blocks["l1feed"]
    layer = nn.TransformerEncoderLayer(48, 12, 192, activation="gelu", norm_first=True, batch_first=True)
    state = [w for part in (first.core, second.core, first.norm, second.norm) for w in part.state_dict().values()]
    layer.load_state_dict(dict(zip(layer.state_dict(), state, strict=True)))
    layer.eval()
    x = torch.randn(1, 6, 48)
    causal = nn.Transformer.generate_square_subsequent_mask(6)
    with torch.no_grad():
        assert torch.allclose(second(first(x)), layer(x, src_mask=causal), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_biases_are_there_where_their_gene_says_so(bias):
    module = SPACE.to_module(SPACE.parse(TEXT if bias else TEXT.replace("-bias", "")))
    names = {name for name, _ in module.named_parameters() if name.endswith("bias")}
    assert len(names) == ((4 + 2) * 2 + 1 if bias else 0)


def test_logits_see_nothing_behind_them():
    module = SPACE.to_module(SPACE.parse(TEXT)).eval()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = tokens.clone()
    other[0, 3] = 0
    with torch.no_grad():
        logits, later = module(tokens), module(other)
    assert logits.shape == (1, 6, 16)
    assert torch.equal(logits[:, :3], later[:, :3]) and not torch.allclose(logits[:, 3:], later[:, 3:])
    swapped = tokens.clone()
    swapped[0, :2] = tokens[0, [1, 0]]
    with torch.no_grad():
        assert not torch.allclose(module(swapped)[:, 2:], logits[:, 2:]), "places matter"


@pytest.mark.slow
def test_counts_of_the_features_are_exact():
    for text in (TEXT, TEXT.replace("-bias", ""), "24x3(2h4+3h4+3h4)"):
        arch = SPACE.parse(text)
        assembly = SPACE.assembly(arch)
        module = assembly.to_module()
        outside = [module.blocks[name] for name in ("embedding", "head")]
        own = sum(p.numel() for p in module.parameters()) - sum(p.numel() for b in outside for p in b.parameters())
        graph = read_graph(stitch(assembly, BlockCache.default(), shared=True))
        assert np.exp(SPACE.features(arch[None])[0, -2:]) == pytest.approx([own, work.graph_macs(graph)])
        assert work.parameters(graph) > own, "weights of one key are shared in this graph, masks are no weights"


def test_a_network_has_no_more_parameters_in_its_graph_than_in_its_module():
    arch = SPACE.parse(TEXT)
    own = sum(p.numel() for p in SPACE.to_module(arch).parameters())
    assert work.parameters(read_graph(onnx_bytes(SPACE, arch))) == own


def test_sums_by_hand():
    found = SPACE.features(SPACE.parse(TEXT)[None])[0, -8:-2]
    assert found.tolist() == [48, 2, 3, 6, 8, 16]


# -- runtimes


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_runtimes_draw_tokens_and_compute_what_onnxruntime_does(tmp_path, name):
    path = tmp_path / "model.onnx"
    arch = SPACE.parse(TEXT.replace("-bias", ""))
    path.write_bytes(onnx_bytes(SPACE, arch))
    tokens = np.random.default_rng(0).integers(0, 2, SPACE.input_shape)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": tokens})[0]
    loaded = runtimes.load(name).load(path, RuntimeOptions())
    loaded.run()
    assert np.allclose(loaded.outputs()[0], expected, atol=1e-4)
    loaded.close()


@pytest.mark.slow
def test_networks_of_tokens_are_measured(tmp_path, fake):
    archs = SPACE.sample(3, np.random.default_rng(0))
    budget = profiler.Budget(max_processes=3, rounds=5, profile_runs=2, memory=False, spread=1.0)
    with profiler.Store(tmp_path / "measured.db") as store:
        found = profiler.measure([subject(SPACE, arch) for arch in archs], target=fake, store=store, budget=budget)
    assert len(found.measurements) == 3 and not found.failures


# -- masks, text, options


def test_layers_left_out_are_inactive():
    arch = SPACE.parse(TEXT)
    off = [SPACE.genes[i].name for i in np.flatnonzero(~SPACE.active(arch[None])[0])]
    assert off == ["mlp3", "heads3"]
    assert SPACE.active(SPACE.parse(TEXT.replace("x2", "x3"))[None]).all()


def test_text_by_hand():
    arch = SPACE.parse(TEXT)
    assert arch.tolist() == [1, 1, 1, 2, 2, 0, 0, 1, 1]
    assert SPACE.format(arch) == TEXT
    assert SPACE.format(SPACE.parse("0,0,0,0,0,0,0,0,0")) == "24x1(2h4+2h4+2h4)"


@pytest.mark.parametrize(
    "bad",
    [
        TEXT[:-1],
        "",
        TEXT.replace("48", "50"),
        TEXT.replace("x2", "x4"),
        TEXT.replace("h12", "h6"),
        TEXT.replace("+3h8", ""),
        TEXT.replace("-bias", "-biased"),
        TEXT + "(2h4)",
    ],
)
def test_other_text_is_refused(bad):
    assert bad != TEXT
    with pytest.raises(HwnasError):
        SPACE.parse(bad)


@pytest.mark.parametrize("options", ["layers=2", "vocabulary=7", "width=6", "length=0"])
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"gpt:{options}")


def test_many_samples_are_distinct_networks():
    rows = FULL.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FULL.canonical(rows), axis=0)) == 10_000
