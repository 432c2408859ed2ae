"""Streams of random numbers: each use has a name, and two uses of one run never draw the same.

A run has one seed. `stream(seed, "loop.reference")` is the generator of one use; further numbers (how much was told, a
step) make generators of their own of it. Names and their numbers are the two tables below and nowhere else.

Those of `_WORDS` stand in the entropy beside the seed, as they did before there were names, so that runs of before are
replayed. There a missing word is 0: `[seed, 2]` and `[seed, 2, 0]` are one stream. What an ask draws from has no word
of its own but how many networks were told and how often. So `[seed, 2, 1]` is an ask after two networks, told at once,
and the second step of training; a search asks in tens and comes to this only if it ended at two evaluations and is
then asked for more. The same holds for `random`, which counts networks alone, after 1, 3, 6, 9 or 11 of them.

New uses are children (`SeedSequence` with a spawn key), which collide with nothing: give the next one the next number.
"""

from __future__ import annotations

import numpy as np

#: Words behind the seed.
_WORDS: dict[str, tuple[int, ...]] = {
    "strategies.ask": (),  # then: networks told, tells, a purpose
    "surrogates.archive": (),  # then: the strategy's number (2 or 3), a purpose, networks told, tells
    "weights.images": (1,),
    "weights.steps": (2,),  # then: the step
    "weights.calibration": (3,),
    "loop.reference": (6,),
    "operators.listed": (9,),
    "certainty.draws": (11,),
}
#: Numbers of children. What is named in brackets is what each drew the same as before it had its own.
_CHILDREN: dict[str, int] = {
    "auto.design": 1,  # [weights.images]
    "auto.directions": 2,  # [weights.steps, the first]
    "moead.weights": 3,  # [strategies.ask, the first]
    "scalarisation.weights": 4,  # [strategies.ask, the first]
    "surrogates.design": 5,  # then: the strategy's number [weights.steps, the first; weights.calibration]
    "gdas.run": 6,  # then: the run [the seed of the shared weights, where the search's is 0]
    "gdas.scale": 7,  # [an ask of random after four networks]
    "weights.blocks": 9,  # then: the place and the kind of block
    "weights.noise": 10,  # then: the step
    "gdas.steps": 8,  # then: the run, the step [selection of nsga3 and nsca after five networks]
    "weights.pairs": 20,
    "alone.weights": 21,  # then: the replicate
    "alone.epochs": 22,  # then: the replicate, the epoch
    "alone.steps": 23,  # then: the replicate, the step
    "alone.images": 24,  # then: the replicate, the step
    "evaluators.function": 25,  # then: the genes of an architecture
    "blockwise.references": 26,
    "blockwise.batch": 27,
    "blockwise.samples": 28,
    "enas.run": 70,  # then: the run
    "enas.batches": 71,  # then: the run, whom for (weights, controller, what is found), the step
    "enas.noise": 72,  # then: the run, the step
    "screening.archs": 40,  # then: the round
    "screening.batch": 41,  # then: the round
    "screening.changes": 47,
    "big-nas.coarse": 42,
    "big-nas.fine": 43,  # then: the round
    "once-for-all.pool": 44,
    "once-for-all.predictor": 45,
    "once-for-all.evolution": 46,  # then: the budget
    "weights.hypernetwork": 50,
}


def sequence(seed: int, name: str, *more: int) -> np.random.SeedSequence:
    """The seeds of one use.

    Args:
        seed: of the run, at least 0.
        name: of the use.
        more: numbers that set apart what one use draws, each at least 0.

    Raises:
        KeyError: no use has the name.
    """
    if name in _CHILDREN:
        return np.random.SeedSequence(seed, spawn_key=(_CHILDREN[name], *more))
    return np.random.SeedSequence([seed, *_WORDS[name], *more])


def stream(seed: int, name: str, *more: int) -> np.random.Generator:
    """The generator of one use; see `sequence`."""
    return np.random.default_rng(sequence(seed, name, *more))


def torch_seed(seed: int, name: str, *more: int) -> int:
    """A seed for `torch.Generator` of one use, in 0..2**63 - 1; see `sequence`."""
    return int(sequence(seed, name, *more).generate_state(1, np.uint64)[0] >> np.uint64(1))
