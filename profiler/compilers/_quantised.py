"""Models in fewer bits, made of ONNX by ONNX Runtime's own tools: static int8 with calibration, and fp16."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel
from profiler.compilers.protocol import Calibration
from profiler.runtimes import _host

#: Sets of inputs that are drawn where none are given.
DRAWN = 4


def int8(model: Path, made: Path, calibration: Calibration | None) -> Path:
    """Write a model with weights and activations in int8, as pairs of QuantizeLinear and DequantizeLinear.

    Weights have a scale for each channel; scales of activations are the least and largest values seen in calibration.

    Args:
        model: an ONNX file in fp32.
        made: where the quantised model goes.
        calibration: sets of inputs; `DRAWN` seeded normal ones if None.

    Raises:
        InvalidModel: it cannot be quantised, with the tool's words.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, sets: Iterator[Mapping[str, NDArray[Any]]]) -> None:
            self._sets = sets

        def get_next(self) -> Mapping[str, NDArray[Any]] | None:
            return next(self._sets, None)

    folded = made.with_name(f"{made.stem}.folded.onnx")
    try:
        with _quiet():
            quant_pre_process(str(model), str(folded), skip_symbolic_shape=True)
            quantize_static(
                str(folded),
                str(made),
                Reader(iter(calibration or drawn(model))),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    except Exception as error:  # the tool raises whatever onnx, onnxruntime and itself do
        raise InvalidModel(
            f"{model.name} cannot be quantised: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            hint="Measure it in fp32, or quantise it with the tools of its framework.",
        ) from error
    finally:
        folded.unlink(missing_ok=True)
    return made


def fp16(model: Path, made: Path) -> Path:
    """Write a model whose weights and operators are fp16; inputs and outputs stay as they are.

    Raises:
        InvalidModel: it cannot be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with _quiet():
            proto = convert_float_to_float16(onnx.load(model), keep_io_types=True)
            onnx.save(proto, made)
    except Exception as error:  # as above
        raise InvalidModel(
            f"{model.name} cannot be brought to fp16: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            hint="Measure it in fp32.",
        ) from error
    return made


@contextlib.contextmanager
def stacked(model: Path, calibration: Calibration | None) -> Iterator[Path]:
    """Calibration as a file for converters: an `.npz` with each input's sets stacked along a new first axis.

    Args:
        model: an ONNX file.
        calibration: sets of inputs; `DRAWN` seeded normal ones if None.
    """
    sets = calibration or drawn(model)
    with tempfile.TemporaryDirectory(prefix="hwnas-calibration-") as place:
        path = Path(place) / "calibration.npz"
        with path.open("wb") as file:
            arrays: dict[str, Any] = {name: np.stack([one[name] for one in sets]) for name in sets[0]}
            np.savez(file, **arrays)
        yield path


def drawn(model: Path) -> list[dict[str, NDArray[Any]]]:
    """Seeded inputs: normal floats, and 0 and 1.

    Raises:
        InvalidModel: the file cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    rng = np.random.default_rng(0)
    try:
        proto = onnx.load(model, load_external_data=False)
    except DecodeError as error:
        raise InvalidModel(f"{model.name} is not an ONNX model: {error}", hint="Export it again.") from error
    constants = {weight.name for weight in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]

    def one(value: Any) -> NDArray[Any]:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or 1 for dim in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        return np.asarray(_host.drawn(rng, shape, dtype))

    return [{value.name: one(value) for value in inputs} for _ in range(DRAWN)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tools print, and warn by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
