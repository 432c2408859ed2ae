"""The command line: one file for each command. It parses, calls the packages, and prints; it decides nothing.

Importing it imports nothing heavy: `hwnas --help` answers at once.
"""
