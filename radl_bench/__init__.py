"""Benchmark suite for layout-to-image generation of several instances."""

__version__ = "0.1.0"
