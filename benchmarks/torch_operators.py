"""Which of ONNX's operators run under `local-torch`, by the node tests that come with the package onnx.

Each test is a small model with inputs and the outputs that ONNX defines. The runtime must give these, or refuse the
model by the name of its operator and file.

Run: `python -m benchmarks.torch_operators` prints the counts; `--write` also writes the page of the reference.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import UnsupportedOperator
from profiler import runtimes
from profiler.runtimes.protocol import RuntimeOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "torch-operators.md"
#: Relative differences that types of 16 bits leave: two units in their last place.
TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
#: Name of the file that each test is read from.
FILE = "model.onnx"
#: Runs of each model: the second shows whether the first left something behind.
RUNS = 2


@dataclass(frozen=True)
class Verdict:
    """What the runtime made of one node test.

    Attributes:
        test: its name.
        operators: of its nodes, those of branches and loops included.
        expanded: whether ONNX wrote the operator out as others.
        refusal: the message of the refusal; empty if it ran.
        difference: how its outputs differ from those that are defined; empty if they agree.
    """

    test: str
    operators: tuple[str, ...]
    expanded: bool
    refusal: str = ""
    difference: str = ""


def node_tests() -> list[Any]:
    """The node tests of the installed package."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests overflow on purpose
        return list(load_model_tests(kind="node"))


def judge(test: Any, folder: Path, *, constants_from: int | None = None) -> Iterator[Verdict]:
    """Run a node test under the runtime `torch`.

    Args:
        test: one of `node_tests`.
        folder: where its file is written.
        constants_from: inputs from this one on become weights of the file; none if it is None.

    Returns:
        A verdict for each set of inputs; none if inputs cannot be weights.
    """
    from onnx import ModelProto, TensorProto

    from profiler.runtimes._torch.graph import kinds

    runtime: Any = runtimes.load("torch")
    operators = tuple(sorted(kinds(test.model.graph)))
    expanded = "_expanded" in test.name
    for given, expected in test.data_sets:
        model = ModelProto.FromString(test.model.SerializeToString())
        names = [value.name for value in model.graph.input]
        inputs = dict(zip(names, map(_array, given), strict=False))
        if constants_from is not None:
            moved = names[constants_from:]
            if not moved or not all(isinstance(value, (np.ndarray, TensorProto)) for value in given):
                return
            for name in moved:
                model.graph.initializer.append(_message(inputs.pop(name), name))
        path = folder / FILE
        path.write_bytes(model.SerializeToString())
        try:
            session = runtime.load(path, RuntimeOptions(), inputs)
        except UnsupportedOperator as error:
            yield Verdict(test.name, operators, expanded, refusal=error.message)
            continue
        for _ in range(RUNS):
            difference = _difference(session.outputs(), [_array(value) for value in expected], test)
            if difference:
                break
        yield Verdict(test.name, operators, expanded, difference=difference)


def _array(value: Any) -> Any:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _message(array: Any, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array), name)


def _difference(got: Sequence[Any], expected: Sequence[Any], test: Any) -> str:
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    for mine, defined in zip(got, expected, strict=True):
        wanted = np.asarray(defined)
        if (mine.dtype, mine.shape) != (wanted.dtype, wanted.shape):
            return f"{mine.dtype} {mine.shape}, not {wanted.dtype} {wanted.shape}"
        relative = max(test.rtol, TOLERANCE.get(wanted.dtype.name, 0.0))
        try:
            np.testing.assert_allclose(mine.astype(float), wanted.astype(float), relative, max(test.atol, 1e-7))
        except AssertionError as error:
            return " ".join(str(error).split())
    return ""


def all_verdicts(*, constants_from: int | None = None) -> list[Verdict]:
    """Verdicts of all node tests."""
    with tempfile.TemporaryDirectory() as place:
        return [verdict for test in node_tests() for verdict in judge(test, Path(place), constants_from=constants_from)]


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many agree, are refused, and are wrong."""
    return {
        "agree": sum(not verdict.refusal and not verdict.difference for verdict in verdicts),
        "refused": sum(bool(verdict.refusal) for verdict in verdicts),
        "wrong": sum(bool(verdict.difference) for verdict in verdicts),
    }


def page(verdicts: Sequence[Verdict]) -> str:
    """The page of the reference."""
    import onnx

    from profiler.runtimes._torch.control import BUILDERS as CONTROL
    from profiler.runtimes._torch.operators import BUILDERS

    known = {*BUILDERS, *CONTROL}
    of_operator = defaultdict(list)
    for verdict in verdicts:
        for kind in () if verdict.expanded else verdict.operators:
            of_operator[kind].append(verdict)
    total = counts(verdicts)
    lines = [
        "# Operators of `local-torch`",
        "",
        "Written by `python -m benchmarks.torch_operators --write`, and held by a test.",
        "",
        f"Of the {len(verdicts)} node tests of onnx {onnx.__version__}, {total['agree']} agree with the outputs that",
        f"ONNX defines, {total['refused']} are refused by the name of the operator and the file, and {total['wrong']}",
        "are wrong. A model with an operator, an attribute or a type that torch has no function for is refused;",
        "nothing is approximated. Functions of the model itself are written out before. Operators of other domains are",
        "refused.",
        "",
        "The middle column counts the node tests of the operator that agree; `-` where there is none.",
        "",
        "| operator | node tests | refused |",
        "|---|---|---|",
    ]
    for kind in sorted(known, key=str.lower):
        found = of_operator.get(kind, [])
        agree = counts(found)["agree"]
        shown = f"{agree} of {len(found)}" if found else "-"
        lines.append(f"| `{kind}` | {shown} | {_reasons(found)} |")
    schemas = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated}
    missing = ", ".join(f"`{name}`" for name in sorted(schemas - known, key=str.lower))
    return (
        "\n".join([*lines, "", "## Refused", "", *_wrapped(f"These operators of ONNX are refused: {missing}.")]) + "\n"
    )


def _reasons(verdicts: Sequence[Verdict]) -> str:
    """What was refused, in short."""
    found = dict[str, None]()
    for verdict in verdicts:
        if not verdict.refusal:
            continue
        reason = verdict.refusal.removeprefix("the runtime torch cannot run ")
        typed = re.search(r"the type (\w+)", reason) or re.search(r"not implemented for '(\w+)'?", reason)
        if typed:
            found[f"{typed.group(1).upper()}"] = None
        elif "): " in reason:
            found[re.sub(r"[\[(][\d, ]+[\])]|'|\b\d+(\.\d+)?$", "", reason.partition("): ")[2]).strip()] = None
        else:
            found[f"beside {reason.partition(' of ')[0]}"] = None
    return "; ".join(sorted(found))


def _wrapped(text: str, width: int = 120) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Run, print, and write the page if asked to."""
    verdicts = all_verdicts()
    print(json.dumps({"benchmark": "torch operators", **counts(verdicts)}, indent=1))
    for verdict in verdicts:
        if verdict.difference:
            print(verdict.test, verdict.difference, file=sys.stderr)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(verdicts), encoding="utf-8")


if __name__ == "__main__":
    main()
