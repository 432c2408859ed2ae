"""Layouts of what runtimes and benchmarks of devices write: times of layers, of kernels and of whole models.

One file for each, found by its name like the layouts beside this folder. A row is a layer or a model, its label `unit`
is what it ran on as far as the file proves it, and `Table.stated` holds what is true of all rows. What a file does not
say, `--part` can: `threads=4,accelerator=npu`.
"""
