"""The controller: an LSTM that says the probabilities of each gene's options, given the genes before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Weights begin uniform within so much of 0, as in the authors' program.
_SPREAD = 0.1


class Controller(nn.Module):
    """Probabilities of architectures, `p(arch) = p(gene 1) p(gene 2 | gene 1) ...`, for any numbers of options.

    Source: Pham et al., "Efficient neural architecture search via parameter sharing", ICML 2018, sections 2.2 and 3.1;
        temperature and tanh as in Bello et al., "Neural combinatorial optimization with reinforcement learning", 2017,
        appendix A.2. Here a gene's choice is an embedding of its own, and each gene has a softmax of its own: genes of
        a space mean different things.

    Args:
        choices: options of each gene, `(d,)`.
        hidden: units of the LSTM and of the embeddings.
        temperature: logits are divided by it.
        squash: then they are `squash * tanh(logits)`, within -squash..squash.
        generator: torch's, for first weights.
    """

    def __init__(
        self, choices: Sequence[int], *, hidden: int, temperature: float, squash: float, generator: Any
    ) -> None:
        super().__init__()
        self.choices = tuple(choices)
        self.temperature, self.squash = temperature, squash
        with torch.random.fork_rng(devices=[]):  # what layers draw at first is not kept
            self.read = nn.Embedding(1 + sum(self.choices), hidden)  # the first is what the first gene reads
            self.cell = nn.LSTMCell(hidden, hidden)
            self.heads = nn.ModuleList(nn.Linear(hidden, options, bias=False) for options in self.choices)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-_SPREAD, _SPREAD, generator=generator)

    def draw(self, count: int, generator: Any) -> Tensor:
        """`(count, d)` architectures by their probabilities, int64; `generator` is torch's."""
        with torch.no_grad():
            genes: list[Tensor] = []
            state = None
            for gene in range(len(self.choices)):
                scores, state = self._step(gene, self._before(genes, count), state)
                genes.append(torch.multinomial(scores.exp(), 1, generator=generator)[:, 0])
        return torch.stack(genes, dim=1)

    def score(self, archs: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of `(n, d)` architectures, `(n,)`, and entropies of their genes given those before, summed.

        The mean of the entropies, `(n,)`, over architectures by their probabilities is the controller's own entropy.
        """
        columns = list(archs.unbind(dim=1))
        total = entropy = torch.zeros(len(archs), dtype=self.read.weight.dtype)
        state = None
        for gene, column in enumerate(columns):
            scores, state = self._step(gene, self._before(columns[:gene], len(archs)), state)
            total = total + scores.gather(1, column[:, None])[:, 0]
            entropy = entropy - (scores.exp() * scores).sum(dim=1)
        return total, entropy

    def _step(
        self, gene: int, read: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Log-probabilities of a gene's options, `(n, options)`, and the LSTM's state after it."""
        hidden, cell = self.cell(self.read(read), state)
        logits = squashed(self.heads[gene](hidden), self.temperature, self.squash)
        return torch.log_softmax(logits, dim=1), (hidden, cell)

    def _before(self, genes: Sequence[Tensor], count: int) -> Tensor:
        """Which embedding the next gene reads: of the option before it, `(count,)`."""
        if not genes:
            return torch.zeros(count, dtype=torch.int64)
        return 1 + sum(self.choices[: len(genes) - 1]) + genes[-1]


def squashed(logits: Tensor, temperature: float, squash: float) -> Tensor:
    """Logits of any shape over the temperature, within -squash..squash: no option's probability becomes 0."""
    return squash * torch.tanh(logits / temperature)


def reinforce(scores: Tensor, entropies: Tensor, rewards: Tensor, baseline: float, entropy_weight: float) -> Tensor:
    """Losses of drawn architectures, `(n,)`, whose mean gradient is that of minus the expected reward and entropy.

    Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
        Machine Learning 8, 1992. In the authors' program of ENAS the entropy is a part of the reward alone, without the
        gradient that reaches it directly; here the gradient is that of the whole sum.

    Args:
        scores: log-probabilities, `(n,)`, with gradients.
        entropies: of their genes, `(n,)`, with gradients.
        rewards: `(n,)`.
        baseline: what rewards are counted from; it changes no expected gradient.
        entropy_weight: of the entropy beside the reward.
    """
    advantage = rewards + entropy_weight * entropies.detach() - baseline
    return -(advantage * scores + entropy_weight * entropies)
