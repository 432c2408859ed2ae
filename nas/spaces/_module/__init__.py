"""Spaces of modules with choices inside."""
