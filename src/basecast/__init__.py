"""Basecast turns DNA sequence into function."""

__version__ = "0.1.0"
