"""Models in fewer bits, made of ONNX by ONNX Runtime's own tools: static int8 with calibration, and fp16."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel
from profiler.compilers.protocol import Calibration
from profiler.runtimes import _host

#: Sets of inputs that are drawn where none are given.
DRAWN = 4
#: The first operator set in which weights may have a scale for each channel.
OF_CHANNELS = 13
#: Operators that compute products: these alone must run in int8.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def int8(model: Path, made: Path, calibration: Calibration | None) -> Path:
    """Write a model with weights and activations in int8, as pairs of QuantizeLinear and DequantizeLinear.

    Weights have a scale for each channel; scales of activations are the least and largest values seen in calibration.
    Where that makes a model that cannot be loaded, less is asked of the tool, as `_ATTEMPTS` says.

    Args:
        model: an ONNX file in fp32.
        made: where the quantised model goes.
        calibration: sets of inputs; `DRAWN` seeded normal ones if None.

    Raises:
        InvalidModel: it cannot be quantised, with the tool's words.
    """
    import onnxruntime

    sets = calibration or drawn(model)
    first: Exception | None = None
    for attempt in _ATTEMPTS:
        try:
            with _quiet():
                _quantise(model, made, sets, attempt)
                settings = onnxruntime.SessionOptions()
                settings.log_severity_level = 4
                onnxruntime.InferenceSession(str(made), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # the tool raises whatever onnx, onnxruntime and itself do
            first = first or error
        else:
            return made
    made.unlink(missing_ok=True)
    raise InvalidModel(
        f"{model.name} cannot be quantised: {type(first).__name__}: {' '.join(str(first).split())[:300]}",
        hint="Measure it in fp32, or quantise it with the tools of its framework.",
    ) from first


@dataclass(frozen=True)
class _Attempt:
    """What is asked of the tool.

    Attributes:
        kinds: operators that are quantised; all that can be if None.
        folded: batch norms and constants are folded before.
        newer: older models are brought to an operator set that has scales for each channel.
    """

    kinds: tuple[str, ...] | None = None
    folded: bool = True
    newer: bool = True


_ATTEMPTS = (
    _Attempt(),
    _Attempt(PRODUCTS),
    _Attempt(PRODUCTS, folded=False),
    _Attempt(PRODUCTS, folded=False, newer=False),
)


def _quantise(model: Path, made: Path, sets: Calibration, attempt: _Attempt) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, sets: Iterator[Mapping[str, NDArray[Any]]]) -> None:
            self._sets = sets

        def get_next(self) -> Mapping[str, NDArray[Any]] | None:
            return next(self._sets, None)

    newer = made.with_name(f"{made.stem}.newer.onnx")
    folded = made.with_name(f"{made.stem}.folded.onnx")
    try:
        source, channels = _brought(model, newer, anew=attempt.newer)
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True, skip_optimization=not attempt.folded)
        quantize_static(
            str(folded),
            str(made),
            Reader(iter(sets)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=attempt.kinds,
            per_channel=channels,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        newer.unlink(missing_ok=True)
        folded.unlink(missing_ok=True)


def _brought(model: Path, made: Path, *, anew: bool) -> tuple[Path, bool]:
    """A file of the model in an operator set that has scales for each channel, or the model, and whether it has."""
    import onnx
    from onnx import version_converter

    proto = onnx.load(model)
    version = next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 1)
    if version >= OF_CHANNELS or not anew:
        return model, version >= OF_CHANNELS
    try:
        onnx.save(version_converter.convert_version(proto, OF_CHANNELS), made)
    except Exception:  # operators of others, or whatever the converter does not know: scales of whole tensors
        return model, False
    return made, True


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
