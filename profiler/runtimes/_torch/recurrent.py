"""LSTM, GRU and RNN.

torch's own functions run what they define: usual activations, all sequences of full length, no peepholes, no clipping,
and a GRU whose reset comes behind the product (`linear_before_reset`, as torch exports it). The rest runs step by step,
as the definitions of ONNX read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from profiler.runtimes._torch.node import Builder, Call, Node

#: Where torch's gates are among ONNX's: ONNX has iofc and zrh, torch ifco and rzh.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
#: Positions of the inputs.
_WEIGHT, _RECURRENCE, _BIAS, _LENGTHS, _HIDDEN, _CELL, _PEEPHOLES = range(1, 8)

Activation = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _build(node: Node) -> Call:
    if node.get("direction", "forward") not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"direction {node.get('direction')!r}")
    call = _native(node) if _is_native(node) else _stepwise(node)
    if not node.get("layout", 0):
        return call if node.wanted > 1 else lambda *tensors: call(*tensors)[0]

    def turned(data: Tensor, *rest: Tensor | None) -> Any:
        """The batch is the first axis of everything."""
        states = [None if tensor is None else tensor.transpose(0, 1) for tensor in rest[_HIDDEN - 1 : _CELL]]
        rest = (*rest[: _HIDDEN - 1], *states, *rest[_CELL:])
        whole, *last = call(data.transpose(0, 1), *rest)
        results = (whole.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last))
        return results if node.wanted > 1 else results[0]

    return turned


def _directions(node: Node) -> int:
    return 2 if node.get("direction", "forward") == "bidirectional" else 1


def _extents(node: Node) -> tuple[int, int]:
    """Steps and batch."""
    steps, batch = node.shape[:2]
    return (batch, steps) if node.get("layout", 0) else (steps, batch)


def _activations(node: Node) -> list[str]:
    return list(node.get("activations") or _USUAL[node.op_type] * _directions(node))


def _is_native(node: Node) -> bool:
    """Whether torch's own function computes this."""
    kind, names = node.op_type, [name.lower() for name in _activations(node)]
    usual = [name.lower() for name in _USUAL[kind]] * _directions(node)
    plain = names == usual or (kind == "RNN" and set(names) == {"relu"})
    full = not node.has(_LENGTHS) or set(node.integers(_LENGTHS)) == {_extents(node)[0]}
    clipped, coupled = node.get("clip") is not None, bool(node.get("input_forget", 0))
    rest = not clipped and not coupled and not node.has(_PEEPHOLES)
    fits = kind != "GRU" or bool(node.get("linear_before_reset", 0))
    return plain and full and rest and fits and 0 not in node.shape


def _native(node: Node) -> Call:
    kind, both = node.op_type, _directions(node) == 2
    backward = node.get("direction", "forward") == "reverse"
    biased = node.has(_BIAS)
    relu = kind == "RNN" and _activations(node)[0].lower() == "relu"
    run: Any = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN": torch.rnn_relu if relu else torch.rnn_tanh}[kind]

    def arranged(weight: Tensor, recurrence: Tensor, bias: Tensor | None) -> list[Tensor]:
        """Weights as torch takes them."""
        flat = []
        for way in range(2 if both else 1):
            parts = [weight[way], recurrence[way]]
            if bias is not None:
                parts += bias[way].chunk(2)
            for part in parts:
                gates = part.chunk(len(_ORDER[kind]))
                flat.append(torch.cat([gates[gate] for gate in _ORDER[kind]]).contiguous())
        return flat

    fixed = all(node.constant[i] for i in (_WEIGHT, _RECURRENCE, *((_BIAS,) if biased else ())))
    stored = arranged(node.tensor(1), node.tensor(2), node.tensor(3) if biased else None) if fixed else None
    ways, hidden = (2 if both else 1), node.tensor(_RECURRENCE).shape[-1]

    def call(
        data: Tensor,
        weight: Tensor,
        recurrence: Tensor,
        bias: Tensor | None = None,
        _: Tensor | None = None,
        state: Tensor | None = None,
        cell: Tensor | None = None,
        *_none: None,
    ) -> Any:
        weights = arranged(weight, recurrence, bias) if stored is None else stored
        batch = data.shape[1]
        state = data.new_zeros(ways, batch, hidden) if state is None else state
        start: Any = state
        if kind == "LSTM":
            start = (state, data.new_zeros(ways, batch, hidden) if cell is None else cell)
        data = data.flip(0) if backward else data
        whole, *last = run(data, start, weights, biased, 1, 0.0, False, both, False)
        whole = whole.flip(0) if backward else whole
        return (whole.unflatten(-1, (ways, hidden)).transpose(1, 2), *last)

    return call


def _stepwise(node: Node) -> Call:
    """The definitions, step by step."""
    kind, hidden = node.op_type, node.tensor(_RECURRENCE).shape[-1]
    ways = _directions(node)
    names = _activations(node)
    scales = (list(node.get("activation_alpha") or ()), list(node.get("activation_beta") or ()))
    functions = [_activation(name, *scales) for name in names]
    per_way = len(functions) // ways
    count = _extents(node)[0]
    clip = node.get("clip")
    bounded: Activation = (lambda data: data.clamp(-clip, clip)) if clip is not None else (lambda data: data)
    cells: dict[str, Callable[..., Step]] = {"LSTM": _lstm_cell, "GRU": _gru_cell, "RNN": _rnn_cell}
    backward = [node.get("direction", "forward") == "reverse", True][:ways]

    def call(data: Tensor, weight: Tensor, recurrence: Tensor, *rest: Tensor | None) -> Any:
        bias, lengths, state, cell, peepholes = (*rest, *(None,) * 5)[:5]
        batch = data.shape[1]
        starts = [state, cell] if kind == "LSTM" else [state]
        wholes, lasts = [], []
        for way in range(ways):
            step = cells[kind](
                node,
                functions[way * per_way : (way + 1) * per_way],
                bounded,
                recurrence[way],
                bias[way] if bias is not None else data.new_zeros(2 * weight.shape[1]),
                peepholes[way] if peepholes is not None else None,
            )
            now = tuple(data.new_zeros(batch, hidden) if start is None else start[way] for start in starts)
            projected = functional.linear(data, weight[way])
            outputs = [data.new_zeros(batch, hidden)] * count
            for at in reversed(range(count)) if backward[way] else range(count):
                new = step(projected[at], now)
                outputs[at] = new[0]
                if lengths is not None:
                    alive = (at < lengths).unsqueeze(1)
                    outputs[at] = torch.where(alive, new[0], torch.zeros_like(new[0]))
                    new = tuple(torch.where(alive, fresh, old) for fresh, old in zip(new, now, strict=True))
                now = new
            wholes.append(torch.stack(outputs))
            lasts.append(now)
        return (torch.stack(wholes, 1), *(torch.stack(states) for states in zip(*lasts, strict=True)))

    return call


def _lstm_cell(
    node: Node, functions: Sequence[Activation], bounded: Activation, recurrence: Tensor, bias: Tensor, peep: Any
) -> Step:
    gate, middle, final = functions
    total = bias[: len(bias) // 2] + bias[len(bias) // 2 :]
    peeps = peep.chunk(3) if peep is not None else (0.0, 0.0, 0.0)
    coupled = bool(node.get("input_forget", 0))

    def step(data: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, cell = state
        into, out, forget, new = (data + functional.linear(hidden, recurrence, total)).chunk(4, -1)
        opened = gate(bounded(into + peeps[0] * cell))
        kept = 1 - opened if coupled else gate(bounded(forget + peeps[2] * cell))
        cell = kept * cell + opened * middle(bounded(new))
        return gate(bounded(out + peeps[1] * cell)) * final(cell), cell

    return step


def _gru_cell(
    node: Node, functions: Sequence[Activation], bounded: Activation, recurrence: Tensor, bias: Tensor, _: Any
) -> Step:
    gate, middle = functions
    ahead, behind = bias.chunk(2)
    size = len(ahead) // 3
    late = bool(node.get("linear_before_reset", 0))

    def step(data: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = state
        data = data + ahead
        gates = data[:, : 2 * size] + functional.linear(hidden, recurrence[: 2 * size], behind[: 2 * size])
        update, reset = gate(bounded(gates)).chunk(2, -1)
        inner = recurrence[2 * size :]
        if late:
            new = reset * functional.linear(hidden, inner, behind[2 * size :])
        else:
            new = functional.linear(reset * hidden, inner, behind[2 * size :])
        new = middle(bounded(data[:, 2 * size :] + new))
        return ((1 - update) * new + update * hidden,)

    return step


def _rnn_cell(
    node: Node, functions: Sequence[Activation], bounded: Activation, recurrence: Tensor, bias: Tensor, _: Any
) -> Step:
    total = bias[: len(bias) // 2] + bias[len(bias) // 2 :]
    return lambda data, state: (functions[0](bounded(data + functional.linear(state[0], recurrence, total))),)


def _activation(name: str, alphas: list[float], betas: list[float]) -> Activation:
    """An activation by its ONNX name; those with numbers take the next of the node's lists."""

    def number(numbers: list[float], usual: float) -> float:
        return numbers.pop(0) if numbers else usual

    plain: dict[str, Activation] = {
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "softsign": functional.softsign,
        "softplus": functional.softplus,
    }  # fmt: skip
    kind = name.lower()
    if kind in plain:
        return plain[kind]
    if kind == "leakyrelu":
        return partial(functional.leaky_relu, negative_slope=number(alphas, 0.01))
    if kind == "elu":
        return partial(functional.elu, alpha=number(alphas, 1.0))
    if kind == "thresholdedrelu":
        return partial(functional.threshold, threshold=number(alphas, 1.0), value=0.0)
    if kind == "hardsigmoid":
        alpha, beta = number(alphas, 0.2), number(betas, 0.5)
        return lambda data: (data * alpha + beta).clamp(0.0, 1.0)
    if kind == "affine":
        alpha, beta = number(alphas, 1.0), number(betas, 0.0)
        return lambda data: data * alpha + beta
    raise NotImplementedError(f"the activation {name!r}")


BUILDERS: dict[str, Builder] = dict.fromkeys(("GRU", "LSTM", "RNN"), _build)
