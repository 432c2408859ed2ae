"""HAT's transformers: the paper's space, features and sizes, layers against torch's own, masks, text; and the kit."""

import csv
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from torch import nn

import nas
from device_profiles.errors import HwnasError, UsageError
from nas import testing
from nas.spaces.hat import space as hat
from profiler import work
from profiler.capture import BlockCache, stitch
from profiler.onnx_graph import read_graph

SMALL = "hat:encoder_layers=3,decoder_layers=2,length=5,vocabulary=16,width=10"
SPACE = nas.spaces.load(SMALL)
FULL = nas.spaces.load("hat")
TEXT = "enc48(104h4+208h8+304h4) dec64x1(208h8c4a1+104h4c8a-1)"


def test_the_space_conforms():
    testing.check_space(SMALL)


# -- the paper's space


def test_the_papers_choices():
    assert FULL.genes[FULL.place("encoder_embed")].options == (512, 640)
    assert FULL.genes[FULL.place("decoder_ffn6")].options == (1024, 2048, 3072)
    assert FULL.genes[FULL.place("decoder_depth")].options == (1, 2, 3, 4, 5, 6)
    assert FULL.genes[FULL.place("arbitrary1")].options == (-1, 1, 2)
    assert FULL.size == (2 * 6**6) * (2 * 6 * 36**6)
    assert all(FULL.ordered)


def test_networks_without_their_missing_layers_are_counted_once():
    """Of two layers: 36 networks of one, 36 times 36 of two, twice, for each width."""
    fixed = {gene.name: gene.options[0] for gene in SPACE.genes if gene.name.startswith("encoder")}
    left = SPACE.restrict(fixed)
    everything = np.stack(np.unravel_index(np.arange(left.size), left.choices), axis=1)
    assert len(everything) == 2 * 2 * 36**2
    assert len(np.unique(left.canonical(everything), axis=0)) == 2 * (36 + 36**2)


def published(encoder_heads, ffn, heads, cross, arbitrary):
    """A network of width 512 with feed-forwards of 3072 in the encoder, as the authors' configurations have it."""
    values = {"encoder_embed": 512, "decoder_embed": 512, "decoder_depth": len(ffn)}
    for i, count in enumerate(encoder_heads, start=1):
        values |= {f"encoder_ffn{i}": 3072, f"encoder_heads{i}": count}
    for i in range(1, 7):
        j = min(i, len(ffn)) - 1
        values |= {f"decoder_ffn{i}": ffn[j], f"decoder_heads{i}": heads[j]}
        values |= {f"cross_heads{i}": cross[j], f"arbitrary{i}": arbitrary[j]}
    return FULL.parse(" ".join(f"{name}={value}" for name, value in values.items()))


def test_the_published_network_for_the_raspberry_pi_has_its_48_million_parameters():
    """The one of 6.9 s and BLEU 28.4; HAT counts without embeddings."""
    arch = published([8, 4, 8, 8, 8, 8], [2048, 2048, 3072, 3072, 2048], [8, 8, 8, 4, 8], [4, 8, 8, 8, 8],
                     [-1, 1, 1, 1, -1])  # fmt: skip
    with torch.device("meta"):
        module = FULL.to_module(arch)
    outside = ("source", "target", "head")
    count = sum(p.numel() for name, block in module.blocks.items() if name not in outside for p in block.parameters())
    assert round(count / 1e6) == 48
    ten = FULL.features(arch[None])[0, :10]
    assert ten == pytest.approx([512, 6, 3072, 44 / 6, 512, 5, 2457.6, 36 / 5, 36 / 5, 8 / 5])


def from_averages(space, row):
    """A genome with the averages of a row of HAT's measurements."""
    depth = int(row[5])
    values = {"encoder_embed": int(row[0]), "decoder_embed": int(row[4]), "decoder_depth": depth}
    columns = {"encoder_ffn": (row[2], 6), "encoder_heads": (row[3], 6)}
    columns |= {"decoder_ffn": (row[6], depth), "decoder_heads": (row[7], depth), "cross_heads": (row[8], depth)}
    columns |= {"arbitrary": (row[9], depth)}
    for name, (mean, layers) in columns.items():
        options = space.genes[space.place(f"{name}1")].options
        meant = dict(zip((1, 2, 3), options, strict=True)) if name == "arbitrary" else {one: one for one in options}
        sums = {sum(all_of): all_of for all_of in combinations_with_replacement(meant, layers)}
        found = [*sums[round(mean * layers)], *[min(meant)] * (6 - layers)]
        values |= {f"{name}{i}": meant[one] for i, one in enumerate(found, start=1)}
    return [gene.options.index(values[gene.name]) for gene in space.genes]


@pytest.mark.parametrize("device", ["cpu_xeon", "gpu_titanxp"])
def test_the_first_ten_features_are_those_of_hats_measurements(data, device, monkeypatch):
    """Their networks were drawn from a space that has feed-forwards of 512 and attention of 2 heads besides."""
    monkeypatch.setattr(hat, "_FFN", (512, 1024, 2048, 3072))
    monkeypatch.setattr(hat, "_HEADS", (2, 4, 8))
    space = hat.Hat()
    with (data / f"hat.wmt14ende.{device}.csv").open() as file:
        rows = np.array([[float(x) for x in list(row)[:10]] for row in list(csv.reader(file))[1:]])
    found = space.features(np.array([from_averages(space, row) for row in rows]))[:, :10]
    assert len(rows) == 2000
    assert np.abs(found - rows).max() < 1e-9


# -- layers


def copied(own, other):
    """Weights of our blocks, in the order of torch's own layer."""
    other.load_state_dict(dict(zip(other.state_dict(), own, strict=True)))
    return other.eval()


def test_layers_are_those_of_torch():
    """In one width for all, so that torch has them: an encoder layer, and a decoder layer that reads two of them."""
    torch.manual_seed(0)
    arch = SPACE.parse("enc48(104h4+208h8+304h4) dec48x1(208h8c4a1+104h4c8a-1)")
    blocks = SPACE.to_module(arch).eval().blocks
    e1a, e1f = blocks["e1attention"], blocks["e1feed"]
    state = [*e1a.core.state_dict().values(), *e1f.core.state_dict().values()]
    state += [*e1a.norm.state_dict().values(), *e1f.norm.state_dict().values()]
    encoder = copied(state, nn.TransformerEncoderLayer(48, 4, 104, batch_first=True))
    x, source = torch.randn(1, 5, 48), torch.randn(1, 5, 48)
    last, before = torch.randn(1, 5, 48), torch.randn(1, 5, 48)
    with torch.no_grad():
        assert torch.allclose(e1f(e1a(x)), encoder(x), atol=1e-5)
    parts = [blocks[f"d1{name}"] for name in ("attention", "cross", "feed")]
    cross = parts[1].core
    joint = [torch.cat([cross.query.weight, cross.memory.weight]), torch.cat([cross.query.bias, cross.memory.bias])]
    state = [*parts[0].core.state_dict().values(), *joint, cross.out.weight, cross.out.bias]
    state += [*parts[2].core.state_dict().values(), *(w for part in parts for w in part.norm.state_dict().values())]
    decoder = nn.TransformerDecoderLayer(48, 8, 208, batch_first=True)
    decoder.multihead_attn = nn.MultiheadAttention(48, 4, batch_first=True)
    decoder = copied([w.detach() for w in state], decoder)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    with torch.no_grad():
        found = parts[2](parts[1](parts[0](source), last, before))
        assert torch.allclose(found, decoder(source, torch.cat([last, before], dim=1), tgt_mask=causal), atol=1e-5)


def test_decoder_layers_read_the_encoder_layers_that_their_genes_say():
    blocks = {block.name: block for block in SPACE.assembly(SPACE.parse(TEXT)).blocks}
    assert blocks["d1cross"].inputs == ("d1attention", "e3feed", "e2feed")
    assert "d2cross" not in blocks
    text = TEXT.replace("x1(", "x2(").replace("a1+", "a2+")
    blocks = {block.name: block for block in SPACE.assembly(SPACE.parse(text)).blocks}
    assert blocks["d1cross"].inputs == ("d1attention", "e3feed", "e2feed", "e1feed")
    assert blocks["d2cross"].inputs == ("d2attention", "e3feed")


def test_logits_see_all_of_the_source_and_nothing_of_the_target_behind_them():
    module = SPACE.to_module(SPACE.parse(TEXT)).eval()
    tokens = torch.tensor([[[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]])
    other, source = tokens.clone(), tokens.clone()
    other[0, 1, 3] = 0
    source[0, 0, 4] = 0
    with torch.no_grad():
        logits, later, elsewhere = module(tokens), module(other), module(source)
    assert logits.shape == (1, 5, 16)
    assert torch.equal(logits[:, :3], later[:, :3]) and not torch.allclose(logits[:, 3:], later[:, 3:])
    assert all(not torch.allclose(logits[:, i], elsewhere[:, i]) for i in range(5))


def test_counts_of_the_features_are_exact():
    """Parameters of layers, and multiply-accumulates, against the module and the exported graph."""
    arch = SPACE.parse("enc64(104h4+104h4+104h4) dec48x2(304h4c8a2+304h4c8a-1)")
    assembly = SPACE.assembly(arch)
    module = assembly.to_module()
    outside = [module.blocks[name] for name in ("source", "target", "head")]
    own = sum(p.numel() for p in module.parameters()) - sum(p.numel() for b in outside for p in b.parameters())
    graph = read_graph(stitch(assembly, BlockCache.default(), shared=True))
    logs = SPACE.features(arch[None])[0, -6:-2]
    assert np.exp(logs[[0, 3]]) == pytest.approx([own, work.graph_macs(graph)])
    assert np.exp(logs[1]) + np.exp(logs[2]) == pytest.approx(work.graph_macs(graph))


# -- masks, text, options


def test_layers_left_out_are_inactive():
    arch = SPACE.parse(TEXT)
    off = [SPACE.genes[i].name for i in np.flatnonzero(~SPACE.active(arch[None])[0])]
    assert off == ["decoder_ffn2", "decoder_heads2", "cross_heads2", "arbitrary2"]
    two = SPACE.parse(TEXT.replace("x1(", "x2("))
    assert SPACE.active(two[None]).all()


def test_text_by_hand():
    arch = SPACE.parse(TEXT)
    values = SPACE.values(arch)
    assert SPACE.format(arch) == TEXT
    assert (values["encoder_embed"], values["encoder_ffn2"], values["encoder_heads2"]) == (48, 208, 8)
    assert (values["decoder_embed"], values["decoder_depth"], values["arbitrary1"], values["arbitrary2"]) == (
        64, 1, 1, -1,
    )  # fmt: skip
    assert (values["decoder_ffn1"], values["decoder_heads1"], values["cross_heads1"]) == (208, 8, 4)


@pytest.mark.parametrize(
    "bad",
    [
        TEXT[:-1],
        TEXT.replace("48(", "50("),
        TEXT.replace("304h4", "304h6"),
        TEXT.replace("+304h4", ""),
        TEXT.replace("x1", "x3"),
        TEXT.replace("a1+", "a0+"),
        TEXT.replace("c4", ""),
        TEXT + " dec48x1(208h8c4a1+104h4c8a-1)",
    ],
)
def test_other_text_is_refused(bad):
    assert bad != TEXT
    with pytest.raises(HwnasError):
        SPACE.parse(bad)


@pytest.mark.parametrize(
    "options", ["encoder_layers=2", "vocabulary=7", "width=1", "width=0", "length=0", "decoder_layers=0"]
)
def test_options_that_make_no_space_are_refused(options):
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        nas.spaces.load(f"hat:{options}")


def test_many_samples_are_distinct_networks():
    rows = FULL.sample(10_000, np.random.default_rng(0))
    assert len(np.unique(FULL.canonical(rows), axis=0)) == 10_000
    depths = np.bincount(rows[:, FULL.place("decoder_depth")], minlength=6)
    assert depths.min() > 1400 and depths.max() < 1950
