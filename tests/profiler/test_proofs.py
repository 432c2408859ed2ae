"""What ran is proved: a kernel in another precision is no number."""

import numpy as np
import pytest

import device_profiles
import nas
from device_profiles.errors import WrongPrecision
from nas.spaces.export import subject
from profiler import Budget, Store, measure
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.proofs import precision_of, require_precision

SHAPE, WEIGHTS = (1, 4, 8, 8), (4, 4, 1, 1)


def graph(*precisions: str | None, dtype: str = "float32") -> OperatorGraph:
    """Convolutions, each of which says in which precision it runs, or nothing."""
    tensor = Tensor(SHAPE, dtype)
    nodes = []
    for place, said in enumerate(precisions):
        attributes = () if said is None else (("precision", said),)
        operator = Operator("", "Conv", attributes, (tensor, Tensor(WEIGHTS, dtype, constant=True)), (tensor,))
        nodes.append(Node(operator, (f"v{place}", "w"), (f"v{place + 1}",)))
    return OperatorGraph(tuple(nodes), (("v0", tensor),), (f"v{len(precisions)}",))


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16"), ("int8", "int8"), ("uint8", "int8")],
)
def test_the_type_tells_where_the_runtime_does_not(dtype: str, precision: str) -> None:
    assert precision_of(graph(None, dtype=dtype).operators[0]) == precision
    assert precision_of(graph("bf16", dtype=dtype).operators[0]) == "bf16"


def test_a_kernel_in_another_precision_is_refused() -> None:
    with pytest.raises(WrongPrecision, match="2 of 3 computing kernels of m run in bf16, not in fp32") as caught:
        require_precision(graph(None, "bf16", "bf16"), "fp32", graph(None), "m")
    assert caught.value.hint
    require_precision(graph("bf16", "bf16"), "bf16", graph(None), "m")


def test_a_model_keeps_its_own_lower_precisions() -> None:
    require_precision(graph(None, dtype="int8"), "fp32", graph(None, dtype="int8"), "m")
    with pytest.raises(WrongPrecision):
        require_precision(graph(None, dtype="float32"), "int8", graph(None, dtype="float32"), "m")


def test_what_computes_no_products_may_run_in_any() -> None:
    tensor = Tensor(SHAPE)
    relu = Node(Operator("", "Relu", (("precision", "fp16"),), (tensor,), (tensor,)), ("x",), ("y",))
    require_precision(OperatorGraph((relu,), (("x", tensor),), ("y",)), "fp32", graph(None), "m")


def test_fp16_without_kernels_of_it_is_a_failure_and_not_a_number(tmp_path) -> None:
    target = device_profiles.load("local-onnxruntime")
    target = target.model_copy(update={"runtime": target.runtime.model_copy(update={"precision": "fp16"})})
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    arch = space.sample(1, np.random.default_rng(0))[0]
    with Store(tmp_path / "a.db") as store:
        outcome = measure([subject(space, arch)], target=target, store=store, budget=Budget(device_s=1.0))
    if outcome.measurements:
        pytest.skip("this CPU has kernels of fp16 under ONNX Runtime")
    assert outcome.failures[0].kind == "WrongPrecision" and "not in fp16" in outcome.failures[0].reason
