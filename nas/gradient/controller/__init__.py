"""A controller that draws architectures gene by gene, and learns from rewards: `enas`."""
