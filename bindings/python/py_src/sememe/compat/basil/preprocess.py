"""Centring, PCA and whitening."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ... import _rows
from ...codec import Codec
from ..semantic_id.exceptions import NotFittedError
from .config import PreprocessConfig

__all__ = ["Preprocessor"]

Rows = npt.NDArray[np.float32]


class Preprocessor:
    """The steps before the first level. `BasilTrainer` fits it."""

    def __init__(self, cfg: PreprocessConfig | None = None) -> None:
        self.cfg = PreprocessConfig() if cfg is None else cfg
        self.mean: Rows | None = None
        self.components: Rows | None = None
        self.scales: Rows | None = None

    def settings(self) -> dict[str, Any]:
        """Them, as `Codec.train` has them."""
        return {"center": True, "pca": self.cfg.variance_to_keep, "pca_dims": self.cfg.dim_pca_max, "whiten": True}

    def take(self, codec: Codec) -> Self:
        """Takes the steps over from a codec."""
        self.mean, self.components, self.scales = codec._inner.preprocessing()
        return self

    def fit(self, X: _rows.RowsLike) -> Self:
        """Learns the steps from rows `[n, dims]`."""
        # A codec of one codeword has nothing but its preprocessing.
        return self.take(Codec.train(X, levels=1, codebook_size=1, iterations=1, progress=False, **self.settings()))

    def _fitted(self) -> tuple[Rows, Rows, Rows]:
        if self.mean is None or self.components is None or self.scales is None:
            raise NotFittedError("the preprocessor is not fitted yet; call `fit` first")
        return self.mean, self.components, self.scales

    def transform(self, X: npt.ArrayLike) -> Rows:
        """`[n, dims]` to `[n, dims_pca]`."""
        mean, components, scales = self._fitted()
        rows = np.asarray(X, dtype=np.float32)
        return np.asarray(((rows - mean) @ components.T) * scales, dtype=np.float32)

    def inverse_transform(self, X: npt.ArrayLike) -> Rows:
        """`[n, dims_pca]` to `[n, dims]`."""
        mean, components, scales = self._fitted()
        rows = np.asarray(X, dtype=np.float32)
        return np.asarray((rows / scales) @ components + mean, dtype=np.float32)

    def fit_transform(self, X: _rows.RowsLike) -> Rows:
        """`fit`, then `transform`."""
        self.fit(X)
        found = _rows.as_array(X, "X")
        return self.transform(np.asarray(X) if found is None else found)
