"""Codecs and IDs of other systems, in and out."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Literal

from . import _codes, _rows, _sememe
from ._settings import whole
from .codec import Codec

__all__ = ["Imported", "export_codec", "import_from"]


@dataclasses.dataclass(frozen=True)
class Imported:
    """What a file or folder of another system holds."""

    origin: str
    """Where it is from: `"basil"`, `"semantic-id"`, `"lc-rec"`, …"""
    codec: Codec | None
    """The codec, if it holds one."""
    codes: _codes.Codes | None
    """Codes `[n, levels]` of items, if it holds IDs."""
    keys: list[str] | None
    """The items' keys."""
    codebook_sizes: tuple[int, ...]
    """Codewords of each level."""
    notes: list[tuple[str, str]]
    """What was `"assumed"`, is `"unknown"`, or was `"left_out"`, a sentence each."""


def import_from(
    path: str | os.PathLike[str],
    *,
    from_: str | None = None,
    tensor: str | None = None,
    normalize_residuals: bool | None = None,
    beam: int | None = None,
    rows: _rows.RowsLike | None = None,
) -> Imported:
    """Reads what BASIL, semantic-id, GRID, LC-Rec, MiniOneRec, OpenOneRec, vector-quantize-pytorch, faiss, AniMind or numpy wrote.

    What it is is seen from its content. Nothing in it is run, and sizes are bounded before memory is taken.

    Parameters
    ----------
    from_
        The system, where the content does not say it.
    tensor
        Which arrays hold the codebooks.
    normalize_residuals, beam
        What the file does not say of its codec.
    rows
        Rows like those that will be encoded, for codecs with networks.

    Raises
    ------
    FileFormatError, SettingError
        For what is not known, damaged, or asked for in vain.
    """
    request = {
        "from": from_,
        "tensor": tensor,
        "normalize_residuals": normalize_residuals,
        "beam": None if beam is None else whole("beam", beam, 1),
    }
    held = None if rows is None else _rows.hold(rows)
    origin, codec, table, notes = _sememe.import_from(os.fspath(path), json.dumps(request), held)
    if codec is not None:
        made = Codec._of(codec)
        return Imported(origin, made, None, None, made.codebook_sizes, notes)
    assert table is not None
    return Imported(origin, None, table[0], table[1], tuple(table[2]), notes)


def export_codec(codec: Codec, path: str | os.PathLike[str], format: Literal["faiss", "numpy", "torch-safetensors"]) -> list[str]:
    """Writes a codec so that others load it; returns what they have to be told."""
    return _sememe.export_to(codec._inner, format, os.fspath(path))
