"""Parts that several spaces share: blocks, counts, graphs and sizes."""
