"""RQ-KMeans by the original's settings."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from .... import _rows
from ....codec import Codec
from ..._devices import device as device_of
from ..._folders import load, save
from ..core import BaseSemanticEncoder

__all__ = ["RQKMeans"]


class RQKMeans(BaseSemanticEncoder):
    """Residual k-means.

    Parameters
    ----------
    n_levels, n_clusters
        Codes of an ID, and codewords a level: one number, or one a level.
    metric
        `"l2"` or `"cosine"`.
    implementation
        `"constrained"` holds every codeword within a row of `n / n_clusters`; encoding keeps the balance.
    max_iter, tol, n_init
        Iterations a level at most, the gain at which a level stops, and starts (1; the start is better than ten of the original's).
    random_state
        The seed; without one, a new one each time.
    verbose
        Whether progress is shown.
    """

    def __init__(
        self,
        n_levels: int = 4,
        n_clusters: int | Sequence[int] = 256,
        metric: Literal["l2", "cosine"] = "l2",
        implementation: Literal["kmeans", "constrained"] = "kmeans",
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: int | None = None,
        verbose: bool = False,
        n_init: int | None = None,
    ) -> None:
        self.n_levels = n_levels
        self.n_clusters = [n_clusters] * n_levels if isinstance(n_clusters, int) else list(n_clusters)
        if len(self.n_clusters) != n_levels:
            raise ValueError(f"`n_clusters` lists {len(self.n_clusters)} levels and `n_levels` says {n_levels}")
        if metric not in ("l2", "cosine"):
            raise ValueError(f"`metric`: expected l2 or cosine, got {metric!r}")
        if implementation not in ("kmeans", "constrained"):
            raise ValueError(f"`implementation`: expected kmeans or constrained, got {implementation!r}")
        self.metric, self.implementation = metric, implementation
        self.max_iter, self.tol, self.n_init = max_iter, tol, n_init
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: _rows.RowsLike, *, device: str | None = None) -> Self:
        held = _rows.hold(X, "X")
        more: dict[str, Any] = {}
        if self.implementation == "constrained":
            # Exact bounds for each level's own number of codewords.
            more["balance"] = "capacity"
        self.codec_ = Codec.train(
            held,
            levels=self.n_levels,
            codebook_size=self.n_clusters,
            iterations=self.max_iter,
            tolerance=self.tol,
            starts=self.n_init or 1,
            seed=secrets.randbits(32) if self.random_state is None else self.random_state,
            metric="cosine" if self.metric == "cosine" else "squared-l2",
            device=device_of(device),
            progress=self.verbose,
            **more,
        )
        return self

    @property
    def codebooks_(self) -> list[npt.NDArray[np.float32]]:
        """Codewords `[k, dims]` of each level."""
        return list(self.codec.codebooks)

    @property
    def D_(self) -> int | None:
        """Dimensions of a row, once fitted."""
        return None if self.codec_ is None else self.codec_.dims

    def _settings(self) -> dict[str, Any]:
        names = ("n_levels", "n_clusters", "metric", "implementation", "max_iter", "tol", "random_state", "n_init")
        return {name: getattr(self, name) for name in names}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the codec, and the files that the original reads."""
        codec = self.codec
        arrays = {f"codebook_{level}": book for level, book in enumerate(codec.codebooks)}
        save(path, codec, {"type": "RQKMeans", **self._settings(), "D": codec.dims}, ("codebooks.npz", arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Reads what `save` wrote."""
        codec, metadata = load(path, "semantic-id")
        if metadata.get("type") != "RQKMeans":
            raise ValueError(f"`{os.fspath(path)}` is of {metadata.get('type')}, not of RQKMeans")
        names = ("n_levels", "n_clusters", "metric", "implementation", "max_iter", "tol", "random_state", "n_init")
        made = cls(**{name: metadata[name] for name in names if name in metadata})
        made.codec_, made._device = codec, device or "cpu"
        return made
