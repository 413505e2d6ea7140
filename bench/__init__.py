"""Benchmarks: `python -m bench [B1|B2|B3 ...]`. Counts are compared, times are shown."""
