"""Surrogates: each is one file here that defines `SURROGATE(x, y, rng)`, see `nas.surrogates.protocol.Fit`."""
