"""Our own default: surrogates chosen by evidence, where hardware costs are known and only accuracy is dear."""

from nas.strategies.auto.strategy import STRATEGY

__all__ = ["STRATEGY"]
