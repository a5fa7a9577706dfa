"""Parts for MMEngine's Runner; importing this registers them."""

from . import checkpoints, fsdp, hooks, layer_decay, loops, loss_guard, precision, samples, zero1  # noqa: F401
