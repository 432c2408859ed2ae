"""How the runtime `torch` reads ONNX: graphs as lists of calls, operators as torch functions.

`graph` turns a file's messages into tensors and names, `compiling` turns those into calls, and `operators` holds what
makes the call of each operator, in families of a file each.
"""
