"""Speed and memory of mmlska beside the published modules, measured in one interleaved run: what mmlska benchmark calls."""
