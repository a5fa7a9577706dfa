"""Speed and memory of mmlska beside the published modules, measured in one interleaved run: what tools/benchmark.py calls."""
