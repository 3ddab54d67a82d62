"""Folders that take the place of another library's: a codec, and what describes it."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np

from ..codec import Codec
from ..errors import FileFormatError, FileMissingError
from ..importing import import_from

CODEC = "codec.safetensors"


def save(folder: str | os.PathLike[str], codec: Codec, metadata: dict[str, Any], arrays: tuple[str, dict[str, Any]] | None) -> None:
    """Writes the codec, its description, and the arrays that the other library reads."""
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if arrays is not None:
        np.savez_compressed(place / arrays[0], **arrays[1])
    codec.save(place / CODEC)
    # Last, so that a folder that has it is whole.
    unfinished = place / "metadata.json.tmp"
    unfinished.write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    unfinished.replace(place / "metadata.json")


def load(folder: str | os.PathLike[str], kind: str) -> tuple[Codec, dict[str, Any]]:
    """The codec of a folder and its description, whether this library wrote it or the original."""
    place = pathlib.Path(folder)
    if not (place / "metadata.json").exists():
        raise FileMissingError(2, f"`{place}` holds no metadata.json: it is no folder of {kind}", str(place))
    try:
        metadata = json.loads((place / "metadata.json").read_text(encoding="utf-8"))
    except ValueError as problem:
        raise FileFormatError(f"`{place / 'metadata.json'}`: {problem}") from None
    if not (place / CODEC).exists():
        # The original's own folder.
        codec = import_from(place).codec
        if codec is None:
            raise FileFormatError(f"`{place}` holds no codec of {kind}")
        return codec, metadata
    return Codec.load(place / CODEC), metadata
