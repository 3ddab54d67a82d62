"""Semantic IDs from embeddings: short tuples of codes, coarse to fine, that name an item by what it means.

>>> import numpy as np, sememe
>>> rows = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
>>> codec = sememe.Codec.train(rows, levels=3, codebook_size=16)
>>> codec.encode(rows[:2]).shape
(2, 3)
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

# Mesa's layer for desktops with several cards complains on stderr where there is no desktop; devices are ranked by the library itself. What the
# environment says already stays.
if sys.platform == "linux" and not {"XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"} & os.environ.keys():
    os.environ.setdefault("NODEVICE_SELECT", "1")

from ._sememe import __version__, device_info, set_threads
from .codec import BadRowsWarning, Codec
from .errors import (
    CodecError,
    DataError,
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    EndpointError,
    FileFormatError,
    FileMissingError,
    FileSystemError,
    IdTextError,
    NonFiniteError,
    RowTypeError,
    SememeError,
    SettingError,
    ShapeError,
    StoreError,
)
from .evaluation import Evaluation, evaluate
from .ids import Aligned, Format, Hit, Resolved, Tokens, Trie, align, churn, resolve
from .importing import Imported, export_codec, import_from
from .recommender import Recommendation, Recommender
from .stores import Assigned, MemoryStore, RedisStore, SqliteStore, Store, assign, open_store
from .text import TextModel, run, write_dialogues

__all__ = [
    "Aligned",
    "Assigned",
    "BadRowsWarning",
    "Codec",
    "CodecError",
    "DataError",
    "DeviceError",
    "DeviceLostError",
    "DeviceMemoryError",
    "EndpointError",
    "Evaluation",
    "FileFormatError",
    "FileMissingError",
    "FileSystemError",
    "Format",
    "Hit",
    "IdTextError",
    "Imported",
    "MemoryStore",
    "NonFiniteError",
    "Recommendation",
    "Recommender",
    "RedisStore",
    "Resolved",
    "RowTypeError",
    "SememeError",
    "SettingError",
    "ShapeError",
    "SqliteStore",
    "Store",
    "StoreError",
    "TextModel",
    "Tokens",
    "Trie",
    "__version__",
    "align",
    "assign",
    "churn",
    "device_info",
    "evaluate",
    "export_codec",
    "import_from",
    "open_store",
    "resolve",
    "run",
    "set_threads",
    "write_dialogues",
]

if TYPE_CHECKING:
    from .sklearn import RQVAE as RQVAE
    from .sklearn import MiniBatchRQKMeans as MiniBatchRQKMeans
    from .sklearn import RQKMeans as RQKMeans

_ESTIMATORS = ("MiniBatchRQKMeans", "RQKMeans", "RQVAE")


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import, and most programs need none of it.
    if name in _ESTIMATORS:
        from . import sklearn

        return getattr(sklearn, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
