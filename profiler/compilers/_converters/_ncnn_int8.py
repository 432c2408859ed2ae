"""int8 for ncnn: what `ncnn2table` and `ncnn2int8` do, which are in no package.

A convolution or product with fixed weights has these in 8 bits, with a scale for each output channel (for each group of
a depthwise one), and a scale for what it reads: 127 over the largest magnitude that calibration showed. What
convolutions give to nothing but convolutions stays in 8 bits in between. The format is that of ncnn's
`src/layer/*.cpp` (`load_param`, `load_model`), `src/modelbin.cpp` and `tools/quantize/ncnn2int8.cpp`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel
from profiler.runtimes._ncnn import IN_INT8, SCALES, Layer, layers

#: How scales of weights are given, for each group or output channel; and what is added where the output stays whole.
_BY_GROUP, _BY_CHANNEL, _STAYS = 1, 2, 100
#: What comes before weights of a file: nothing special, and 8 bits.
_PLAIN, _EIGHT_BITS = b"\0\0\0\0", (0x000D4B38).to_bytes(4, "little")
_LEVELS = 127.0
#: Layers of vectors: the parameter that is their length, how many there are, and the one that may say there are none.
_VECTORS: dict[str, tuple[int, int, int | None]] = {
    "BatchNorm": (0, 4, None), "LayerNorm": (0, 2, 2), "InstanceNorm": (0, 2, 2), "GroupNorm": (1, 2, 3),
    "RMSNorm": (0, 1, 2), "PReLU": (0, 1, None), "Scale": (0, 1, None), "Bias": (0, 1, None), "Normalize": (3, 1, None),
}  # fmt: skip
#: Of weights and of biases.
_GATES = {"LSTM": (4, 4), "GRU": (3, 4)}


def quantise(param: str, weights: bytes, magnitudes: Mapping[str, float]) -> tuple[str, bytes]:
    """A model of ncnn in int8.

    Args:
        param: the text of its `.param`.
        weights: its `.bin`, in fp32.
        magnitudes: the largest of each value that calibration showed, by name.

    Returns:
        Text and bytes of the model in int8; layers that ncnn has in floating point alone stay as they are.

    Raises:
        InvalidModel: the weights are not those of the layers.
    """
    known = layers(param)
    chosen = {layer.name for layer in known if layer.kind in IN_INT8 and _sizes(layer)}
    stays = _staying(known, chosen)
    lines, content = [], bytearray()
    for layer, parts in _weights(known, weights):
        added = 0
        if layer.name in chosen:
            added = _BY_GROUP if layer.kind == "ConvolutionDepthWise" else _BY_CHANNEL
            content += _in_eight_bits(layer, parts, magnitudes[layer.reads[0]])
            if layer.writes[0] in stays:
                added += _STAYS
                content += _scale(magnitudes[layer.writes[0]])
        else:
            content += b"".join(part.content for part in parts)
        lines.append(added)
    first, counts, *rest = [line for line in param.splitlines() if line.strip()]
    told = [f"{line} {SCALES}={added}" if added else line for line, added in zip(rest, lines, strict=True)]
    return "\n".join([first, counts, *told]) + "\n", bytes(content)


def _staying(known: Sequence[Layer], chosen: Iterable[str]) -> set[str]:
    """Values that convolutions in 8 bits write, and nothing but such convolutions reads; products have no such form."""
    chosen = {layer.name for layer in known if layer.kind.startswith("Convolution")} & set(chosen)
    readers: dict[str, list[Layer]] = {}
    for layer in known:
        for name in layer.reads:
            readers.setdefault(name, []).append(layer)

    def all_in_eight(name: str) -> bool:
        found = readers.get(name, [])
        return bool(found) and all(
            all(map(all_in_eight, layer.writes)) if layer.kind == "Split" else layer.name in chosen for layer in found
        )

    return {layer.writes[0] for layer in known if layer.name in chosen and all_in_eight(layer.writes[0])}


@dataclass(frozen=True)
class _Part:
    """Numbers of a layer in a file.

    Attributes:
        content: their bytes, with what comes before them.
        tagged: whether four bytes say in which form they are.
    """

    content: bytes
    tagged: bool

    @property
    def array(self) -> NDArray[np.float32]:
        """The numbers."""
        return np.frombuffer(self.content, np.float32)[1 if self.tagged else 0 :]


def _weights(known: Sequence[Layer], weights: bytes) -> Iterator[tuple[Layer, list[_Part]]]:
    """Each layer with its part of a file in fp32."""
    start = 0
    for layer in known:
        parts = []
        for count, tagged in _sizes(layer):
            size = 4 * (count + tagged)
            part = _Part(weights[start : start + size], tagged)
            if len(part.content) != size or (tagged and not part.content.startswith(_PLAIN)):
                raise InvalidModel(f"weights of {layer.kind} {layer.name} are not where ncnn has them")
            parts.append(part)
            start += size
        yield layer, parts
    if start != len(weights):
        raise InvalidModel(f"{len(weights) - start} bytes of weights belong to no layer")


def _sizes(layer: Layer) -> list[tuple[int, bool]]:
    """How many numbers a layer has in a file, in order, and whether each are tagged."""
    number = layer.number
    if "onvolution" in layer.kind or layer.kind == "InnerProduct":
        product = layer.kind == "InnerProduct"
        bias, weights = (1, 2) if product else (5, 6)
        computed = not product and number(28 if layer.kind.startswith("Decon") else 19)
        return [] if computed else [(number(weights), True), *([(number(0), False)] if number(bias) else [])]
    if layer.kind in _GATES:
        return _recurrent(layer)
    if layer.kind == "MemoryData":
        count = 1
        for place in (0, 1, 11, 2):
            count *= number(place) or 1
        return [(count, number(21, 1) == 0)]
    if layer.kind == "Gemm":
        m, n, k = number(7), number(8), number(9)
        sums = {0: 1, 1: m, 2: m, 3: m * n, 4: n}
        sizes = (m * k if number(4) else 0, n * k if number(5) else 0, sums.get(number(10), 0) if number(6) else 0)
        return [(size, True) for size in sizes if size]
    if layer.kind == "MultiHeadAttention":
        width = number(0)
        reads = (number(2) // width, number(3, width), number(4, width))
        inner = [one for size in reads for one in ((width * size, True), (width, False))]
        return [*inner, (width * reads[0], True), (reads[0], False)]
    if layer.kind == "Embed":
        return [(number(3), True), *([(number(0), False)] if number(2) else [])]
    return [(count, False) for count in _vectors(layer) if count > 0]


def _recurrent(layer: Layer) -> list[tuple[int, bool]]:
    ways = 2 if layer.number(2) == 2 else 1
    gates, biases = _GATES[layer.kind]
    outputs = layer.number(0)
    hidden = layer.number(3, outputs) if layer.kind == "LSTM" else outputs
    sizes = [layer.number(1), hidden * biases * ways, outputs * hidden * gates * ways]
    if hidden != outputs:
        sizes.append(hidden * outputs * ways)
    return [(size, True) for size in sizes]


def _vectors(layer: Layer) -> list[int]:
    """Lengths of the vectors of a layer that has nothing else."""
    if layer.kind not in _VECTORS:
        return []
    length, count, switch = _VECTORS[layer.kind]
    if layer.kind == "Scale":
        count += layer.number(1)
    return [layer.number(length)] * (count if switch is None else count * layer.number(switch, 1))


def _in_eight_bits(layer: Layer, parts: Sequence[_Part], reads: float) -> bytes:
    """Weights, bias and scales of a layer, as ncnn loads them."""
    rows = layer.number(7, 1) if layer.kind == "ConvolutionDepthWise" else layer.number(0)
    values = parts[0].array.reshape(rows, -1)
    largest = np.abs(values).max(axis=1)
    scales = np.where(largest > 0, _LEVELS / np.where(largest > 0, largest, 1), 0).astype(np.float32)
    whole = np.clip(np.round(values * scales[:, None]), -_LEVELS, _LEVELS).astype(np.int8).tobytes()
    whole += b"\0" * (-len(whole) % 4)
    bias = b"".join(part.content for part in parts[1:])
    return _EIGHT_BITS + whole + bias + scales.tobytes() + _scale(reads)


def _scale(largest: float) -> bytes:
    return np.float32(_LEVELS / largest if largest > 0 else 1).tobytes()
