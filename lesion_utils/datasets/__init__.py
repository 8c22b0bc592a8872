"""Data sets: one module per layout, each with a reader that makes the case table of ``case_table.py``."""

from lesion_utils.datasets.registry import LAYOUTS, Layout, read_any

__all__ = ["LAYOUTS", "Layout", "read_any"]
