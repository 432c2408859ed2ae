"""Hypernetworks: modules that give the weights of any network of a space, from what the network is.

`tracing` reads a block, `graphs` joins blocks to the graph of a network, `graph_network` and `transformer` walk over
it, `encoding` makes an image of it, `decoding` and `convolutional` make weights, `scaling` brings them to the size that
an operator needs, and `generated` runs networks with them. `nas.weights.kinds` puts them together.
"""
