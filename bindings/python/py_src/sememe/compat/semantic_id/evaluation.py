"""Measures by the original's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _rows, evaluation
from ..._codes import CodesLike, read
from .core import BaseSemanticEncoder

__all__ = ["evaluate"]


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks, equal values sharing the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: npt.NDArray[np.float64] = (ends - (counts - 1) / 2)[group]
    return means


def _correlation(rows: npt.NDArray[Any], codes: npt.NDArray[np.uint32], pairs: int, seed: int) -> float:
    """Spearman's correlation between the distances of rows and how early their codes part."""
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, len(rows), (2, pairs))
    first, second = first[first != second], second[first != second]
    if not len(first):
        return 0.0
    far = np.linalg.norm(rows[first].astype(np.float64) - rows[second], axis=1)
    # Levels from the first on which they differ.
    apart = codes.shape[1] - np.cumprod(codes[first] == codes[second], axis=1).sum(axis=1)
    a, b = _ranks(far), _ranks(apart.astype(np.float64))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def evaluate(
    X: _rows.RowsLike, codes: CodesLike, encoder: BaseSemanticEncoder | None = None, k: int = 10, n_pairs: int = 2000, seed: int = 42
) -> dict[str, Any]:
    """Measures of codes `[n, levels]` of rows `[n, dims]`; `sememe.evaluate` has more of them."""
    table = read(codes)
    found = _rows.as_array(X, "X")
    rows = np.asarray(X if found is None else found, dtype=np.float32)
    codec = None if encoder is None else encoder.codec
    measured = evaluation.evaluate(
        table, rows, codec=codec, queries=min(1000, len(rows)), neighbours=min(k, max(1, len(rows) - 1)), seed=seed, progress=False
    ).measures
    levels = measured["levels"]
    entropies = []
    for level in range(table.shape[1]):
        shares = np.bincount(table[:, level]) / len(table)
        shares = shares[shares > 0]
        entropies.append(float(-(shares * np.log(shares)).sum()))
    result: dict[str, Any] = {
        "n_samples": measured["rows"],
        "n_unique_codes": measured["unique_ids"],
        "collision_rate": measured["collision_rate"],
        "collision_rate_per_level": [level["prefix_collision_rate"] for level in levels],
        f"recall_at_{k}": measured.get(f"recall_at_{k}"),
        f"ndcg_at_{k}": measured.get(f"ndcg_at_{k}"),
        "distance_correlation": _correlation(rows, table, n_pairs, seed),
        "code_utilization_per_level": [level["utilisation"] for level in levels],
        "code_entropy_per_level": entropies,
    }
    if measured.get("mse") is not None:
        result["quantization_mse"] = measured["mse"]
    return result
