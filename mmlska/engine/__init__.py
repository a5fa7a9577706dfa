"""Parts for MMEngine's Runner; importing this registers them."""

from . import (  # noqa: F401
    band_preprocessor,
    checkpoints,
    fsdp,
    hooks,
    layer_decay,
    loops,
    loss_guard,
    precision,
    samples,
    tile_assigner,
    tiled_loops,
    zero1,
)
