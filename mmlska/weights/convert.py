"""From one weight file to another: layout, format, and the backbone out of a whole model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..files import file_sha256
from ..outputs import check_outputs
from .checkpoint_file import CheckpointFile, check_finite, save_weights
from .inspection import inspect_parsed
from .layouts import OURS, WeightsError, check_written, convert_state_dict, layout_text, parse
from .load import read_location
from .mmengine_reader import safe_reading


def convert_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    to: str = OURS,
    extract_backbone: bool = False,
    ema: bool = False,
    publish: bool = False,
    overwrite: bool = False,
    trust: bool = False,
) -> Path:
    """Write the backbone's weights of a file in another layout or format.

    Args:
        source: A checkpoint of any published layout: a path, a URL, or 'mmlska://NAME' with a name from the manifest.
        target: Where to: .pth, .pt or .safetensors.
        to: The names, one of :func:`mmlska.weights.layouts.written_layouts`.
        extract_backbone: Leave out the other parts of a whole model; without it, a file that has them is refused.
        ema: Take the averaged weights of a file that has both.
        publish: Put the first eight digits of the SHA-256 into the name, as OpenMMLab does.
        overwrite: Replace an existing file.
        trust: Let the source run code; only for files whose maker you know.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: If there is no source.
        FileExistsError: If the target is the source, or exists and ``overwrite`` is not set.
        WeightsError: If the source can't be read or converted.
        ValueError: If ``to`` or the target's suffix is unknown.
    """
    check_written(to)
    target = Path(target).expanduser()
    if target.exists() and not overwrite:
        raise FileExistsError(f'{target} exists; choose another name or add --overwrite')
    file = read_source(source, trust=trust)
    check_outputs([target], inputs=[file.path], overwrite=True)
    try:
        parsed = parse(file.content, ema=ema)
        info = inspect_parsed(parsed)
        if info.parts and not extract_backbone:
            parts = ', '.join(info.parts)
            raise WeightsError(f'holds {parts} as well; add --extract-backbone to keep the backbone alone')
        check_finite(parsed.tensors, 'the file')
    except WeightsError as error:
        raise WeightsError(f'{file.path}: {error}') from error
    tensors = convert_state_dict(parsed.tensors, to=to)
    facts = {name: str(getattr(info, name)) for name in ('arch', 'k_size', 'attention')}
    metadata = dict(layout=to, **facts, source=file.sha256)
    if not publish:
        return save_weights(tensors, target, metadata=metadata)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.new-') as folder:
        written = save_weights(tensors, Path(folder, target.name), metadata=metadata)
        published = target.with_name(f'{target.stem}-{file_sha256(written)[:8]}{target.suffix}')
        check_outputs([published], inputs=[file.path], overwrite=True)
        os.replace(written, published)
    return published


def read_source(source: str | os.PathLike, *, trust: bool = False) -> CheckpointFile:
    """Read what :func:`convert_file` takes; errors as there."""
    with safe_reading(trust):
        return read_location(source)


def describe_file(file: CheckpointFile, *, ema: bool = False) -> dict[str, str]:
    """The facts about a weight file as label and text, for a table.

    Raises:
        WeightsError: If the content is no VAN.
    """
    parsed = parse(file.content, ema=ema)
    info = inspect_parsed(parsed)
    try:
        check_finite(parsed.tensors, 'it')
        finite = 'yes'
    except WeightsError as error:
        finite = f'NO: {error}'
    rows = {
        'file': file.path,
        'sha256': file.sha256,
        'layout': f'{info.layout}: {layout_text(info.layout)}',
        'weights in': info.wrapper or 'the top level',
        'arch': info.arch,
        'k_size': info.k_size,
        'attention': info.attention,
        'in_channels': info.in_channels,
        'classes': info.num_classes,
        'parameters': f'{info.parameters:,} in {info.tensors} tensors, without classifier',
        'types': ', '.join(info.dtypes),
        'averaged (EMA)': 'yes' if info.has_ema else 'no',
        'other parts': ', '.join(info.parts),
        'finite': finite,
    }
    return {label: '-' if value in (None, '') else str(value) for label, value in rows.items()}
