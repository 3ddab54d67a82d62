"""The estimators, by scikit-learn's own checks and in its own surroundings."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sememe
from sememe.sklearn import RQVAE, MiniBatchRQKMeans, RQKMeans

SMALL = dict(levels=2, codebook_size=2, device="cpu")
NETWORK = {"hidden": [4], "code_dims": 2, "autoencoder_epochs": 0}


def expected(estimator) -> dict[str, str]:
    """Checks that cannot pass, with the reason."""
    if getattr(estimator, "method", None) == "pq":
        return {"check_fit2d_1feature": "product quantisation needs a dimension for each of two levels, and says so"}
    return {}


@parametrize_with_checks(
    [
        RQKMeans(**SMALL),
        RQKMeans(**SMALL, method="pq"),
        RQKMeans(**SMALL, refine=2),
        MiniBatchRQKMeans(**SMALL, epochs=2, batch_rows=16, init_rows=2),
        RQVAE(**SMALL, settings=NETWORK, epochs=2, batch_rows=8),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", [RQKMeans, MiniBatchRQKMeans, RQVAE])
def test_an_estimator_is_its_codec(estimator, rows: np.ndarray) -> None:
    more = {"settings": NETWORK, "epochs": 2} if estimator is RQVAE else {}
    made = estimator(levels=3, codebook_size=8, seed=1, device="cpu", **more)
    assert made.get_params()["levels"] == 3
    with pytest.raises(NotFittedError):
        made.predict(rows)
    codes = made.fit_transform(rows)
    assert codes.shape == (len(rows), 3) and (made.codec_.encode(rows) == codes).all()
    assert made.n_features_in_ == 12 and list(made.get_feature_names_out()) == [f"{estimator.__name__.lower()}{i}" for i in range(3)]
    assert (pickle.loads(pickle.dumps(made)).predict(rows) == codes).all()
    assert (clone(made).fit(rows).predict(rows) == codes).all()
    assert made.inverse_transform(codes).shape == rows.shape
    assert made.score(rows) <= 1.0
    with pytest.raises(ValueError, match="features"):
        made.predict(rows[:, :5])


def test_settings_are_checked_when_fitted(rows: np.ndarray) -> None:
    with pytest.raises(sememe.SettingError, match="`rotations`"):
        RQKMeans(codebook_size=8, rotations=3).fit(rows)
    assert RQKMeans(codebook_size=8, method="opq", levels=3, rotations=3).fit(rows).codec_.method
    balanced = RQKMeans(levels=2, codebook_size=8, balance="capacity").fit(rows)
    assert np.bincount(balanced.predict(rows)[:, 0], minlength=8).max() <= 80


def test_partial_fit(rows: np.ndarray) -> None:
    made = MiniBatchRQKMeans(levels=2, codebook_size=8, init_rows=64, seed=1, device="cpu")
    for start in range(0, 600, 100):
        made.partial_fit(rows[start : start + 100])
    first = made.predict(rows)
    again = pickle.loads(pickle.dumps(made))
    assert (again.predict(rows) == first).all()
    again.partial_fit(rows)
    assert again.codec_ != made.codec_ and made.score(rows) > 0.5
    with pytest.raises(ValueError, match="features"):
        made.partial_fit(rows[:, :4])


def test_in_a_pipeline_and_a_search(rows: np.ndarray) -> None:
    pipeline = make_pipeline(StandardScaler(), RQKMeans(levels=2, codebook_size=8, device="cpu"))
    assert pipeline.fit_transform(rows).shape == (600, 2)
    search = GridSearchCV(RQKMeans(levels=2, device="cpu"), {"codebook_size": [2, 16]}, cv=2).fit(rows)
    assert search.best_params_ == {"codebook_size": 16}
