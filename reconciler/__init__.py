"""Holdfast: keeps the models you declared in git running on the GPUs you have. Start at DESIGN.md."""

__version__ = "0.1.0"
