"""The command line: one module per verb, each a thin layer over the rooms below. Starts without NumPy or torch."""

from hftrainer.cli.entry import main

__all__ = ["main"]
