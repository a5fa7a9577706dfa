"""Fused operators of VAN-LSKA: two front doors, a reference in plain PyTorch and faster backends. Needs nothing but torch."""

from .functional import autocast_dtype, available_backends, lska_attention, mlp, stays_plain

__all__ = ['autocast_dtype', 'available_backends', 'lska_attention', 'mlp', 'stays_plain']
