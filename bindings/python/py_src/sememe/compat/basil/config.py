"""Settings by the original's names."""

from __future__ import annotations

import dataclasses

__all__ = ["PreprocessConfig", "TrainerConfig"]


@dataclasses.dataclass
class PreprocessConfig:
    """Centring, PCA and whitening."""

    variance_to_keep: float = 0.95
    """Share of the variance that is kept."""
    dim_pca_max: int = 256
    """Dimensions that are kept at most."""
    eps: float = 1e-6
    """The original's guard against divisions by zero; here it follows from the data, and this changes nothing."""
    seed: int = 42
    """Nothing is drawn for preprocessing, so this changes nothing."""


@dataclasses.dataclass
class TrainerConfig:
    """Codebooks."""

    levels: int = 4
    """Codes of an ID."""
    k_per_level: int = 4096
    """Codewords a level; lowered, with a warning, to the number of rows."""
    max_iters: int = 20
    """Iterations a level at most."""
    tol: float = 1e-4
    """The gain at which a level stops."""
    size_penalty_lambda: float = 0.01
    """The original's weight of balance, which changes nothing below a thousand; from 1 on, levels are balanced here."""
    device: str | None = None
    """`cuda` and others are a GPU, if there is one; by default what suits the rows."""
    seed: int = 42
    """The seed of everything random."""
    verbose: bool = True
    """Whether progress is shown on a terminal."""
