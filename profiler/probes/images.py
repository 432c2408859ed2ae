"""Convolutional probes and their common blocks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several

from profiler.probes.drawing import (
    FEWEST_BLOCKS,
    MOST_BLOCKS,
    MOST_ELEMENTS,
    MOST_MACS,
    WIDTHS,
    Drawing,
    Image,
    activated,
    convolved,
)

Block = Callable[[Drawing, Image], Image]

#: Of small probes, and the most channels and common blocks that they have.
_SMALL_SIZES, _SMALL_WIDTH, _SMALL_BLOCKS = (4, 6, 8, 12, 16, 24), 32, 2
_SIZES = (4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 48, 56, 64, 96, 112)
#: Of photographs, which networks make smaller at once.
_PHOTOGRAPHS = (160, 192, 224, 320)
#: Lines of text, and spectra.
_STRIPS = ((24, 96), (32, 128), (48, 160), (12, 200), (8, 256))
_CLASSES = (10, 100, 1000)


def image_probe(drawing: Drawing, rare: Several[Block], *, small: bool = False) -> bytes:
    """A network of random common blocks, with the given rare ones in between; a small one has few, narrow ones."""
    image, first = _small_input(drawing) if small else _input(drawing)
    shape = image.shape
    fewest, most = (0, _SMALL_BLOCKS) if small else (FEWEST_BLOCKS, MOST_BLOCKS)
    common = [drawing.one_of(_COMMON) for _ in range(int(drawing.rng.integers(fewest, most + 1)))]
    blocks: list[Block] = [first, *common]
    for block in rare:
        blocks.insert(int(drawing.rng.integers(1, len(blocks) + 1)), block)
    for block in blocks:
        image = block(drawing, image)
    if drawing.chance(0.25):  # an image again, as of networks that mark or restore
        last = drawing.add("Sigmoid", image.value)
        return drawing.done(shape, last, image.shape)
    mean = drawing.reduced("ReduceMean", image.value, 2, 3, keepdims=0)
    classes = drawing.one_of(_CLASSES)
    last = drawing.add("Gemm", mean, drawing.weight(classes, image.channels), drawing.weight(classes), transB=1)
    return drawing.done(shape, last, (1, classes))


def _input(drawing: Drawing) -> tuple[Image, Block]:
    """An image and what reads it first."""
    few, photograph = drawing.chance(0.3), drawing.chance(0.5)
    size = drawing.one_of(_PHOTOGRAPHS if few and photograph else _SIZES)
    height, width = drawing.one_of(_STRIPS) if size <= _SIZES[-1] and drawing.chance(0.2) else (size, size)
    channels = 3 if few else drawing.affordable(WIDTHS, MOST_ELEMENTS / (height * width))
    return Image("input", channels, height, width), stem if size > _SIZES[-1] else convolution


def _small_input(drawing: Drawing) -> tuple[Image, Block]:
    size = drawing.one_of(_SMALL_SIZES)
    return Image("input", drawing.one_of((1, 3, 8, 16)), size, size), narrow_convolution


def narrow_convolution(drawing: Drawing, image: Image) -> Image:
    """Dense, of few channels."""
    window, out = drawing.one_of((1, 3, 3)), drawing.affordable(WIDTHS, _SMALL_WIDTH)
    made = convolved(drawing, image, out, (window, window))
    return made.but(activated(drawing, made.value))


def stem(drawing: Drawing, image: Image) -> Image:
    """The first convolution of a photograph, to a half or a quarter of its size."""
    window = drawing.one_of((3, 3, 7))
    out = drawing.affordable(WIDTHS, MOST_MACS / (image.elements / 4 * window**2))
    made = convolved(drawing, image, out, (window, window), stride=2)
    made = made.but(activated(drawing, made.value))
    return pooled(drawing, made, "MaxPool", 3, 2) if drawing.chance(0.5) else made


def convolution(drawing: Drawing, image: Image) -> Image:
    """Dense, of any width."""
    window = drawing.one_of((1, 1, 1, 3, 3, 3, 5, 7) if image.channels <= 64 else (1, 1, 3))
    stride = _stride(drawing, image)
    area = -(-image.height // stride) * -(-image.width // stride)
    if area * image.channels * window**2 * WIDTHS[0] > MOST_MACS:
        window = 1
    most = min(MOST_MACS / (area * image.channels * window**2), MOST_ELEMENTS / area)
    out = drawing.affordable(WIDTHS, most)
    made = convolved(drawing, image, out, (window, window), stride=stride)
    return made.but(activated(drawing, made.value))


def depthwise(drawing: Drawing, image: Image) -> Image:
    """A window for each channel."""
    window = drawing.one_of([extent for extent in (3, 3, 5, 7) if image.elements * extent**2 <= MOST_MACS] or [1])
    stride = _stride(drawing, image)
    made = convolved(drawing, image, image.channels, (window, window), stride=stride, groups=image.channels)
    return made.but(activated(drawing, made.value))


def residual(drawing: Drawing, image: Image) -> Image:
    """A convolution and what it reads, added up."""
    work = image.area * image.channels**2
    if work > MOST_MACS:
        return convolution(drawing, image)
    window = 3 if 9 * work < MOST_MACS else 1
    inner = convolved(drawing, image, image.channels, (window, window))
    total = drawing.add("Add", activated(drawing, inner.value, "Relu"), image.value)
    return image.but(activated(drawing, total, "Relu"))


def squeeze(drawing: Drawing, image: Image) -> Image:
    """Squeeze and excite."""
    narrow = max(8, image.channels // 4)
    if drawing.chance(0.5):
        mean = drawing.reduced("ReduceMean", image.value, 2, 3)
    else:
        mean = drawing.add("GlobalAveragePool", image.value)
    whole = image.but(mean, size=(1, 1))
    squeezed = convolved(drawing, whole, narrow, (1, 1))
    inner = squeezed.but(activated(drawing, squeezed.value))
    gate = convolved(drawing, inner, image.channels, (1, 1))
    opened = activated(drawing, gate.value, drawing.one_of(("Sigmoid", "HardSigmoid")))
    return image.but(drawing.add("Mul", image.value, opened))


def pool(drawing: Drawing, image: Image) -> Image:
    """A maximum or a mean over windows."""
    if min(image.height, image.width) < 6:
        return image
    window, stride = drawing.one_of((2, 3)), drawing.one_of((1, 2))
    return pooled(drawing, image, drawing.one_of(("MaxPool", "AveragePool")), window, stride)


def pooled(drawing: Drawing, image: Image, kind: str, window: int, stride: int) -> Image:
    """By windows of 2, or of 3 with a rim."""
    pads = [1] * 4 if window == 3 else [0, 0, 1, 1] if stride == 1 else [0] * 4
    made = drawing.add(kind, image.value, kernel_shape=[window] * 2, strides=[stride] * 2, pads=pads)
    added = pads[0] + pads[2]
    return image.but(
        made, size=((image.height + added - window) // stride + 1, (image.width + added - window) // stride + 1)
    )


def branches(drawing: Drawing, image: Image) -> Image:
    """Two convolutions beside each other."""
    most = min(MOST_MACS / (image.elements * 9), MOST_ELEMENTS / image.area / 2)
    if most < WIDTHS[0]:
        return depthwise(drawing, image)
    out = drawing.affordable(WIDTHS, most)
    parts = [activated(drawing, convolved(drawing, image, out, (window, window)).value, "Relu") for window in (1, 3)]
    return image.but(drawing.add("Concat", *parts, axis=1), 2 * out)


def _stride(drawing: Drawing, image: Image) -> int:
    return 2 if min(image.height, image.width) >= 8 and drawing.chance(0.3) else 1


_COMMON: tuple[Block, ...] = (
    *(convolution,) * 5, *(depthwise,) * 3, residual, squeeze, pool, branches,
)  # fmt: skip
