"""What the tests share: small rows with a structure, and a codec of every kind."""

from __future__ import annotations

import numpy as np
import pytest

import sememe

NETWORK = {"hidden": [16], "code_dims": 8, "epochs": 2, "batch_rows": 128, "autoencoder_epochs": 1}


def made_rows(n: int = 600, dims: int = 12, seed: int = 0) -> np.ndarray:
    """Rows around 16 centres."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(16, dims)) * 4
    return (centres[draw.integers(0, 16, n)] + draw.normal(size=(n, dims))).astype(np.float32)


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    return made_rows()


# Every kind of codec, by the settings that make it.
KINDS = {
    "kmeans": {},
    "sinkhorn": {"balance": "sinkhorn"},
    "capacity": {"balance": "capacity"},
    "refined": {"refine": 3, "beam": 4},
    "cosine": {"metric": "cosine"},
    "residuals": {"normalize_residuals": True},
    "pca": {"pca": 0.9, "whiten": True},
    "minibatch": {"method": "minibatch", "epochs": 2, "batch_rows": 128},
    "pq": {"method": "pq"},
    "opq": {"method": "opq", "rotations": 3},
    "rqvae": {"method": "rqvae", "settings": NETWORK},
    "shared": {"method": "rqvae", "settings": {**NETWORK, "shared_codebook": True}},
    "rqkmeans+": {"method": "rqkmeans+", "epochs": 2, "batch_rows": 128},
}


def trained(rows: np.ndarray, kind: str) -> sememe.Codec:
    return sememe.Codec.train(rows, levels=3, codebook_size=8, seed=1, device="cpu", **KINDS[kind])


_kept: dict[str, sememe.Codec] = {}


@pytest.fixture(params=KINDS)
def codec(request: pytest.FixtureRequest, rows: np.ndarray) -> sememe.Codec:
    kind = request.param
    if kind not in _kept:
        _kept[kind] = trained(rows, kind)
    return _kept[kind]


@pytest.fixture(scope="session")
def plain(rows: np.ndarray) -> sememe.Codec:
    return trained(rows, "kmeans")
