"""Parts of the runtime `torch-compile`: archives, compilations that are kept, and what inductor made of a program."""
