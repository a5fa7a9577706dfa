"""What the command lines in tools/ and scripts/ share. They need MMEngine: where it is missing, the error says what to install."""

try:
    import mmengine  # noqa: F401
except ImportError as error:
    from ..environment import import_advice

    raise ImportError(import_advice(error)) from error
