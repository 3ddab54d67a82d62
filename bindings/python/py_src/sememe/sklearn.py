"""scikit-learn estimators. Needs scikit-learn: `pip install sememe[sklearn]`.

>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from sememe.sklearn import RQKMeans
>>> pipeline = make_pipeline(StandardScaler(), RQKMeans(levels=3, codebook_size=16))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as problem:  # pragma: no cover
    raise ImportError(f"sememe.sklearn needs scikit-learn 1.6 or later ({problem}); install it with `pip install sememe[sklearn]`") from None

from . import _rows, _sememe, _settings
from ._codes import Codes, CodesLike
from ._settings import Method
from .codec import Codec, Device

__all__ = ["MiniBatchRQKMeans", "RQKMeans", "RQVAE"]


class _Quantizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the estimators share."""

    codec_: Codec
    n_features_in_: int
    device: Device
    # What a subclass trains with, beside its parameters.
    _method: Method = "kmeans"

    def _asked(self) -> dict[str, Any]:
        """Settings of `Codec.train`."""
        return {name: value for name, value in self.get_params(deep=False).items() if name not in ("device", "method")}

    def _least_rows(self) -> int:
        """Rows that the codebooks need."""
        size = self.get_params(deep=False)["codebook_size"]
        if size is None:
            method = getattr(self, "method", self._method)
            size = _sememe.default_settings(_settings.KIND.get(method, "kmeans"), getattr(self, "network", None))["codebook_sizes"]
        return max(size) if isinstance(size, (Sequence, np.ndarray)) else int(size)

    def _checked(self, X: Any, *, reset: bool, least: int = 1) -> npt.NDArray[Any]:
        checked: npt.NDArray[Any] = validate_data(
            self, X, reset=reset, dtype=[np.float32, np.float64], ensure_all_finite=True, ensure_min_samples=least
        )
        return checked

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits codebooks to rows `[n, dims]`. `y` is not used."""
        del y
        X = self._checked(X, reset=True, least=self._least_rows())
        method: Method = getattr(self, "method", self._method)
        self.codec_ = Codec.train(X, method=method, device=self.device, progress=False, **self._asked())
        return self

    def predict(self, X: Any) -> Codes:
        """Codes `[n, levels]` of rows `[n, dims]`."""
        check_is_fitted(self)
        return self.codec_.encode(self._checked(X, reset=False), device=self.device, progress=False)

    def transform(self, X: Any) -> Codes:
        """The same as `predict`: codes `[n, levels]`, features of a pipeline's next step."""
        return self.predict(X)

    def fit_predict(self, X: Any, y: Any = None) -> Codes:
        """`fit`, then the codes of the same rows."""
        return self.fit(X, y).predict(X)

    def inverse_transform(self, X: CodesLike) -> npt.NDArray[np.float32]:
        """Rows `[n, dims]` from codes `[n, levels]`."""
        check_is_fitted(self)
        return self.codec_.decode(X, progress=False)

    def score(self, X: Any, y: Any = None) -> float:
        """R²: 1 − squared error / variance of rows decoded from their codes. More is better."""
        del y
        codes = self.predict(X)
        X = self._checked(X, reset=False).astype(np.float64)
        error = ((X - self.codec_.decode(codes, progress=False)) ** 2).sum()
        variance = ((X - X.mean(axis=0)) ** 2).sum()
        return float(1 - error / variance) if variance > 0 else 0.0

    @property
    def _n_features_out(self) -> int:
        return self.codec_.levels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Codes are whole numbers, whatever the rows were.
        tags.transformer_tags.preserves_dtype = []
        return tags


class RQKMeans(_Quantizer):
    """Residual k-means and product quantisation. Parameters are those of `Codec.train` for these methods.

    Attributes
    ----------
    codec_
        The codec: everything else of this library takes it.
    n_features_in_
        Dimensions of a row.
    """

    def __init__(
        self,
        levels: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
        *,
        method: Literal["kmeans", "pq", "opq"] = "kmeans",
        iterations: int | None = None,
        tolerance: float | None = None,
        starts: int | None = None,
        seed: int | None = None,
        metric: Literal["squared-l2", "cosine"] | None = None,
        init: Literal["k-means-plus-plus", "random"] | None = None,
        empty: Literal["farthest", "keep"] | None = None,
        refine: int | bool | None = None,
        beam: int | None = None,
        max_training_rows: int | None = None,
        balance: Literal["none", "sinkhorn", "capacity"] | None = None,
        balance_levels: Sequence[int] | None = None,
        balance_epsilon: float | None = None,
        balance_iterations: int | None = None,
        capacity: tuple[int | None, int | None] | None = None,
        center: bool = False,
        pca: float | bool | None = None,
        pca_dims: int | None = None,
        whiten: bool = False,
        normalize: bool = False,
        normalize_residuals: bool = False,
        rotations: int | None = None,
        rotation_iterations: int | None = None,
        device: Device = "auto",
    ) -> None:
        self.levels = levels
        self.codebook_size = codebook_size
        self.method = method
        self.iterations = iterations
        self.tolerance = tolerance
        self.starts = starts
        self.seed = seed
        self.metric = metric
        self.init = init
        self.empty = empty
        self.refine = refine
        self.beam = beam
        self.max_training_rows = max_training_rows
        self.balance = balance
        self.balance_levels = balance_levels
        self.balance_epsilon = balance_epsilon
        self.balance_iterations = balance_iterations
        self.capacity = capacity
        self.center = center
        self.pca = pca
        self.pca_dims = pca_dims
        self.whiten = whiten
        self.normalize = normalize
        self.normalize_residuals = normalize_residuals
        self.rotations = rotations
        self.rotation_iterations = rotation_iterations
        self.device = device


class MiniBatchRQKMeans(_Quantizer):
    """Residual k-means from batches. `partial_fit` takes them as they come; parameters are those of `Codec.train`.

    Parameters
    ----------
    init_rows
        Rows that `partial_fit` collects before a level begins; until all have, there are no codes.
    """

    _method = "minibatch"

    def __init__(
        self,
        levels: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
        *,
        epochs: int | None = None,
        batch_rows: int | None = None,
        init_rows: int | None = None,
        joint: bool = False,
        seed: int | None = None,
        metric: Literal["squared-l2", "cosine"] | None = None,
        normalize_residuals: bool = False,
        device: Device = "auto",
    ) -> None:
        self.levels = levels
        self.codebook_size = codebook_size
        self.epochs = epochs
        self.batch_rows = batch_rows
        self.init_rows = init_rows
        self.joint = joint
        self.seed = seed
        self.metric = metric
        self.normalize_residuals = normalize_residuals
        self.device = device

    def _asked(self) -> dict[str, Any]:
        return {name: value for name, value in super()._asked().items() if name != "init_rows"}

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits codebooks to rows `[n, dims]`. `y` is not used."""
        super().fit(X, y)
        self.__dict__.pop("_trainer", None)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Trains all levels on one more batch `[n, dims]`. `y` is not used."""
        del y
        began = hasattr(self, "_trainer")
        X = self._checked(X, reset=not began)
        if not began:
            asked = _settings.given(self._asked())
            settings = _settings.of("minibatch", asked)
            settings["layer_wise"] = False
            size = self._least_rows()
            least = max(size, 64) if self.init_rows is None else _settings.whole("init_rows", self.init_rows, 1)
            settings["init_rows"] = max(least, size)
            self._trainer = _sememe.MiniBatch(json.dumps(settings), X.shape[1])
        self._trainer.take(_rows.hold(X, "X"), self.device)
        self.__dict__.pop("codec_", None)
        return self

    def __getattr__(self, name: str) -> Any:
        # After `partial_fit` the codec is made when it is asked for.
        trainer = self.__dict__.get("_trainer")
        if name == "codec_" and trainer is not None:
            self.codec_ = Codec._of(trainer.codec())
            return self.codec_
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_is_fitted__(self) -> bool:
        return "codec_" in self.__dict__ or "_trainer" in self.__dict__

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        trainer = state.pop("_trainer", None)
        if trainer is not None:
            state["_trainer_state"] = trainer.to_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        kept = state.pop("_trainer_state", None)
        super().__setstate__(state)
        if kept is not None:
            self._trainer = _sememe.MiniBatch.from_bytes(kept)


class RQVAE(_Quantizer):
    """An RQ-VAE: encoder, codebooks and decoder trained together. Parameters are those of `Codec.train`.

    Parameters
    ----------
    settings
        Single settings over those of `network`: `{"hidden": [256], "optimizer.rate": 0.003}`.
    """

    _method = "rqvae"

    def __init__(
        self,
        levels: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
        *,
        network: str | None = None,
        settings: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        batch_rows: int | None = None,
        max_training_rows: int | None = None,
        seed: int | None = None,
        device: Device = "auto",
    ) -> None:
        self.levels = levels
        self.codebook_size = codebook_size
        self.network = network
        self.settings = settings
        self.epochs = epochs
        self.batch_rows = batch_rows
        self.max_training_rows = max_training_rows
        self.seed = seed
        self.device = device
