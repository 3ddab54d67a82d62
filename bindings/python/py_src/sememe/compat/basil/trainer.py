"""Training by the original's settings."""

from __future__ import annotations

import os
import warnings
from typing import Any, Self

from ... import _rows
from ...codec import Codec
from ..semantic_id.exceptions import NotFittedError
from .._devices import device as device_of
from .._folders import save
from .config import TrainerConfig
from .preprocess import Preprocessor

__all__ = ["BasilTrainer"]


class BasilTrainer:
    """Fits preprocessing and codebooks, and writes them to a folder."""

    def __init__(self, preprocessor: Preprocessor | None = None, cfg: TrainerConfig | None = None) -> None:
        self.preprocessor = Preprocessor() if preprocessor is None else preprocessor
        self.cfg = TrainerConfig() if cfg is None else cfg
        self.codec: Codec | None = None

    def fit(self, embeddings: _rows.RowsLike) -> Self:
        """Fits to rows `[n, dims]`."""
        held, cfg = _rows.hold(embeddings, "embeddings"), self.cfg
        size = min(cfg.k_per_level, held.shape[0])
        if size < cfg.k_per_level:
            text = f"`k_per_level` is lowered from {cfg.k_per_level} to the {size} rows that there are"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        more: dict[str, Any] = {"balance": "sinkhorn"} if cfg.size_penalty_lambda >= 1 else {}
        self.codec = Codec.train(
            held,
            levels=cfg.levels,
            codebook_size=size,
            iterations=cfg.max_iters,
            tolerance=cfg.tol,
            seed=cfg.seed,
            device="auto" if cfg.device is None else device_of(cfg.device),
            progress=None if cfg.verbose else False,
            **self.preprocessor.settings(),
            **more,
        )
        self.preprocessor.take(self.codec)
        return self

    def save(self, out_dir: str | os.PathLike[str]) -> None:
        """Writes the codec, and the files that the original reads."""
        codec = self.codec
        if codec is None:
            raise NotFittedError("nothing is trained yet; call `fit` first")
        mean, components, scales = codec._inner.preprocessing()
        arrays = {f"codebooks/C{level + 1}": book for level, book in enumerate(codec.codebooks)}
        arrays |= {"preprocess/mean": mean, "preprocess/components": components, "preprocess/scales": scales}
        metadata = {
            "levels": codec.levels,
            "k_per_level": codec.codebook_sizes[0],
            "dim_in": codec.dims,
            "dim_pca": int(components.shape[0]),
            "variance_to_keep": self.preprocessor.cfg.variance_to_keep,
            "dim_pca_max": self.preprocessor.cfg.dim_pca_max,
            "eps": self.preprocessor.cfg.eps,
            "seed": self.cfg.seed,
        }
        save(out_dir, codec, metadata, ("basil.npz", arrays))
