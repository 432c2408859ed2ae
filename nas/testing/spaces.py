"""The conformance kit for spaces."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from device_profiles.errors import ConstantNetwork, UsageError
from nas import spaces
from nas.arrays import Archs
from nas.spaces.protocol import SharesWeights, Space
from nas.testing.rules import close, inputs_of, require, shapes
from nas.testing.weights import check_shared_weights
from predictors import genes
from predictors.encodings.tallied import TallyingSpace

#: Spaces up to this size are enumerated to count their networks.
_ENUMERABLE = 100_000


def check_space(space: Space | str) -> None:
    """Hold a space to `nas.spaces.protocol.Space`, and to `SharesWeights` if its networks share weights.

    Args:
        space: a registered space, or its spec; small options (`cells=1`) make the check fast.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    space = spaces.load(space) if isinstance(space, str) else space
    rng = np.random.default_rng(0)
    require(isinstance(space, Space), "protocol", f"{type(space).__name__} lacks members of nas.spaces.protocol.Space")
    require(
        len(space.choices) > 0 and min(space.choices) >= 1 and space.size == prod(space.choices),
        "choices",
        f"they must be 1 or more and multiply to the size, got {space.choices} and {space.size}",
    )
    reloaded = spaces.load(space.spec)
    require(
        reloaded == space and reloaded.spec == space.spec and space.spec.partition(":")[0] == space.name,
        "spec",
        f"nas.spaces.load({space.spec!r}) makes a space that is not equal",
    )
    genomes = rng.integers(0, space.choices, size=(2000, len(space.choices)))
    _check_sample(space)
    _check_canonical(space, genomes)
    _check_text(space, genomes[:200])
    _check_neighbours(space, genomes[:5])
    _check_tally(space, genomes)
    _check_restriction(space)
    _check_networks(space, genomes)
    if isinstance(space, SharesWeights):
        check_shared_weights(space)


def _check_sample(space: Space) -> None:
    distinct = 200
    if space.size <= _ENUMERABLE:
        everything = genes.numbered(np.arange(space.size), space.choices)
        distinct = len(np.unique(space.canonical(everything[space.is_valid(everything)]), axis=0))
    for count in (0, 1, 7, 200):
        rows = space.sample(count, np.random.default_rng(1))
        require(
            rows.shape == (count, len(space.choices)) and np.issubdtype(rows.dtype, np.integer),
            "sample",
            f"sample({count}) must be integers ({count}, {len(space.choices)}), got {rows.shape} of {rows.dtype}",
        )
        require(
            bool(((rows >= 0) & (rows < np.array(space.choices))).all()), "sample", "a gene is outside of the choices"
        )
        require(space.is_valid(rows).all(), "sample", "an architecture without a function was drawn")
        found = len(np.unique(space.canonical(rows), axis=0))
        require(
            found >= min(count, distinct),
            "sample",
            f"{count} rows are {found} networks, the space has {distinct} or more",
        )
        again = space.sample(count, np.random.default_rng(1))
        require(np.array_equal(rows, again), "sample", "equal generators gave different rows")
    other = space.sample(200, np.random.default_rng(2))
    require(distinct < 2 or not np.array_equal(rows, other), "sample", "it does not use the generator")


def _check_canonical(space: Space, genomes: Archs) -> None:
    canonical = space.canonical(genomes)
    require(canonical.shape == genomes.shape, "canonical", f"(n, d) becomes {canonical.shape}")
    require(np.array_equal(space.canonical(canonical), canonical), "canonical", "it is not idempotent")
    require(
        np.array_equal(space.is_valid(canonical), space.is_valid(genomes)),
        "is_valid",
        "an architecture and its representative differ",
    )
    features = space.features(genomes)
    require(
        features.ndim == 2 and len(features) == len(genomes) and features.dtype == np.float64,
        "features",
        f"they must be float64 (n, f), got {features.shape} of {features.dtype}",
    )
    require(np.isfinite(features).all(), "features", "they must be finite")
    require(
        np.array_equal(space.features(canonical), features),
        "features",
        "an architecture and its representative have different ones",
    )
    none = genomes[:0]
    shapes = (space.canonical(none).shape, space.features(none).shape, space.is_valid(none).shape)
    require(
        shapes == (none.shape, (0, features.shape[1]), (0,)), "no rows", f"of no rows come the shapes {shapes} instead"
    )


def _check_text(space: Space, genomes: Archs) -> None:
    for genome in genomes:
        for text in (space.format(genome), ",".join(map(str, genome)), ", ".join(map(str, genome)) + "\n"):
            parsed = space.parse(text)
            require(
                np.array_equal(parsed, genome) and np.issubdtype(parsed.dtype, np.integer),
                "parse",
                f"{text!r} is {genome.tolist()}, and was read as {parsed.tolist()}",
            )
    texts = {space.format(genome) for genome in genomes}
    require(len(texts) == len(np.unique(genomes, axis=0)), "format", "two genomes have one text")
    first = ",".join(map(str, genomes[0]))
    rest = first.partition(",")[2]
    bad = ["", "no architecture", first + ",0", first + ",", f"{space.choices[0]},{rest}", f"-1,{rest}"]
    bad += ["9" * 40 + "," + rest, f"0.0,{rest}", space.format(genomes[0])[:-2]]
    for text in bad:
        read: Any
        try:
            read = space.parse(text)
        except UsageError:
            continue
        except Exception as error:  # whatever else comes out is the finding
            read = error
        raise AssertionError(f"parse: {text!r} must be refused with UsageError, and was read as {read!r}")


def _check_neighbours(space: Space, genomes: Archs) -> None:
    wanted = (sum(space.choices) - len(space.choices), len(space.choices))
    for genome in genomes:
        found = space.neighbours(genome)
        require(found.shape == wanted, "neighbours", f"their shape must be {wanted}, got {found.shape}")
        near = (found != genome).sum(axis=1) == 1
        inside = ((found >= 0) & (found < np.array(space.choices))).all(axis=1)
        require(bool((near & inside).all()), "neighbours", f"one of {genome.tolist()} is not one step away")
        require(len(np.unique(found, axis=0)) == len(found), "neighbours", f"one of {genome.tolist()} is there twice")


def _check_tally(space: Space, genomes: Archs) -> None:
    """What a space says of the parts of networks, if it does: numbers that it has, of each row by itself."""
    if not isinstance(space, TallyingSpace):
        return
    (numbers, times), (alone, often) = space.tally(genomes), space.tally(genomes[-1:])
    fits = numbers.ndim == 2 and numbers.shape[1] == len(genomes)
    require(fits, "tally", f"numbers must be (slots, {len(genomes)}), got {numbers.shape}")
    inside = bool((numbers >= 0).all() and (numbers < space.tallied).all())
    require(inside, "tally", f"parts are 0..{space.tallied - 1}, got {numbers.min()}..{numbers.max()}")
    counts = times is None or (times.shape == numbers.shape and bool((times >= 0).all()))
    require(counts, "tally", "how often parts are there must be told of each, and be 0 or more")
    same = np.array_equal(alone, numbers[:, -1:]) and (
        times is None or often is None or np.array_equal(often, times[:, -1:])
    )
    require(same, "tally", "a genome alone has other parts than among others")


def _check_networks(space: Space, genomes: Archs) -> None:
    """Modules run, say something about their input, and are as their representatives."""
    import torch

    valid = space.is_valid(genomes)
    for arch in genomes[valid][:300]:
        try:
            space.assembly(arch)
        except ConstantNetwork as error:
            raise AssertionError(f"is_valid: {arch.tolist()} is valid, and its assembly raised {error!r}") from error
    for arch in genomes[valid][:4]:
        assembly = space.assembly(arch)
        inputs = inputs_of(assembly)
        assembled, direct = assembly.to_module().eval(), space.to_module(arch).eval()
        require(assembly.input_shape == space.input_shape, "assembly", "its input has another shape")
        require(
            shapes(assembled) == shapes(direct), "to_module", f"{arch.tolist()} is another network than its assembly"
        )
        with torch.no_grad():
            outputs, other = direct(inputs), direct(inputs_of(assembly, seed=1))
        require(
            outputs.shape[0] == space.input_shape[0] and bool(torch.isfinite(outputs).all()),
            "to_module",
            f"{arch.tolist()} gives {tuple(outputs.shape)} for {space.input_shape}, or values that are not finite",
        )
        require(not torch.equal(outputs, other), "is_valid", f"{arch.tolist()} gives the same for different inputs")
    for arch in genomes[valid][:1]:
        _check_export(space, arch)
    different = (space.canonical(genomes) != genomes).any(axis=1)
    for arch in genomes[valid & different][:8]:
        _check_twin(space, arch)
    for arch in genomes[~valid][:5]:
        try:
            space.assembly(arch)
        except ConstantNetwork:
            continue
        raise AssertionError(f"is_valid: {arch.tolist()} is not valid, and its assembly did not raise ConstantNetwork")


def _check_export(space: Space, arch: Archs) -> None:
    """The stitched model computes what the module does, and its work can be counted."""
    import onnxruntime
    import torch

    from profiler import work
    from profiler.capture import BlockCache, stitch
    from profiler.onnx_graph import read_graph

    assembly = space.assembly(arch)
    module = assembly.to_module().eval()
    _fill(module)
    model = stitch(assembly, BlockCache.default(), module=module)
    graph = read_graph(model)
    counts = work.parameters(graph), work.graph_macs(graph)
    own = sum(parameter.numel() for parameter in module.parameters())
    require(counts[0] >= own, "export", f"{arch.tolist()} has {own} parameters, its export {counts[0]}")
    require(counts[1] > 0, "export", f"{arch.tolist()} has no work that can be counted")
    inputs = inputs_of(assembly)
    with torch.no_grad():
        wanted = module(inputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])
    require(
        got.shape == wanted.shape and bool((got - wanted).abs().max() <= 1e-3 * max(float(wanted.abs().max()), 1.0)),
        "export",
        f"ONNX Runtime computes something else than torch for {arch.tolist()}",
    )


def _check_twin(space: Space, arch: Archs) -> None:
    """A genome and its representative compute the same, where weights of one shape are the same."""
    import torch

    outputs = []
    for row in (arch, space.canonical(arch[None])[0]):
        module = space.to_module(row).eval()
        _fill(module)
        with torch.no_grad():
            outputs.append(module(inputs_of(space.assembly(row))))
    require(
        outputs[0].shape == outputs[1].shape and close(outputs[0], outputs[1]),
        "canonical",
        f"{arch.tolist()} and its representative compute different things",
    )


def _check_restriction(space: Space) -> None:
    """A space with fewer options is a space, and its networks are those of the whole one."""
    gene = int(np.argmax(space.choices))
    left = space.restrict({gene: (0, space.choices[gene] - 1) if space.choices[gene] > 2 else (0,)})
    wanted = tuple(min(2, n) if g == gene and n > 2 else (1 if g == gene else n) for g, n in enumerate(space.choices))
    require(left.choices == wanted, "restrict", f"{space.choices} became {left.choices} instead of {wanted}")
    require(spaces.load(left.spec) == left, "restrict", f"nas.spaces.load({left.spec!r}) makes another space")
    _check_sample(left)
    rows = np.random.default_rng(2).integers(0, left.choices, size=(300, len(left.choices)))
    _check_canonical(left, rows)
    for row in rows[:20]:
        text = left.format(row)
        require(np.array_equal(left.parse(text), row), "restrict", f"{text!r} is not read back as {row.tolist()}")
        whole = space.parse(text)
        require(space.format(whole) == text, "restrict", f"{text!r} is another architecture of the whole space")


def _fill(module: Any) -> None:
    """Weights that depend on nothing but their shapes; statistics of norms as they are."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            seed = sum((place + 3) * size for place, size in enumerate(parameter.shape)) + parameter.dim()
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            scale = max(parameter[0].numel(), 1) ** -0.5 if parameter.dim() > 1 else 0.5
            parameter.copy_(drawn * scale + (1.0 if parameter.dim() == 1 else 0.0))
