"""RQ-VAE by the original's settings."""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import Sequence
from typing import Any, Literal, Self

from .... import _rows
from ...._progress import telling
from ....codec import Codec
from ....errors import ShapeError
from ..._devices import device as device_of
from ..._folders import CODEC, load, save
from ..core import BaseSemanticEncoder

__all__ = ["RQVAE"]

_NAMES = (
    "in_dim", "num_emb_list", "e_dim", "layers", "dropout_prob", "bn", "loss_type", "quant_loss_weight", "beta", "kmeans_init",
    "kmeans_iters", "sk_epsilons", "sk_iters", "lr", "weight_decay", "batch_size", "epochs", "lr_scheduler", "warmup_epochs", "random_state",
)  # fmt: skip


class RQVAE(BaseSemanticEncoder):
    """Encoder, codebooks and decoder, trained together. Needs no torch.

    Parameters have the original's names and defaults. `bn=True`, `loss_type="l1"` and `lr_scheduler="step"` are not there and refused.
    `random_state` is new: without one, the seed is drawn each time. `history_` holds the figures of every epoch after `fit`.
    """

    def __init__(
        self,
        in_dim: int = 768,
        num_emb_list: Sequence[int] | None = None,
        e_dim: int = 64,
        layers: Sequence[int] | None = None,
        dropout_prob: float = 0.0,
        bn: bool = False,
        loss_type: str = "mse",
        quant_loss_weight: float = 1.0,
        beta: float = 0.25,
        kmeans_init: bool = False,
        kmeans_iters: int = 100,
        sk_epsilons: Sequence[float] | None = None,
        sk_iters: int = 100,
        lr: float = 1e-4,
        weight_decay: float = 0.0,
        batch_size: int = 2048,
        epochs: int = 100,
        lr_scheduler: Literal["cosine", "constant_with_warmup"] | None = None,
        warmup_epochs: int = 0,
        device: str = "cpu",
        verbose: bool | int = False,
        random_state: int | None = None,
    ) -> None:
        if bn:
            raise NotImplementedError("`bn`: networks have no batch norm here; leave it out")
        if loss_type != "mse":
            raise NotImplementedError(f"`loss_type`: networks are trained on the mean squared error, got {loss_type!r}")
        if lr_scheduler not in (None, "cosine", "constant_with_warmup"):
            raise NotImplementedError(f"`lr_scheduler`: expected None, cosine or constant_with_warmup, got {lr_scheduler!r}")
        self.in_dim = in_dim
        self.num_emb_list = [256] * 4 if num_emb_list is None else list(num_emb_list)
        self.e_dim = e_dim
        self.layers = [512, 256, 128] if layers is None else list(layers)
        self.dropout_prob, self.bn, self.loss_type = dropout_prob, bn, loss_type
        self.quant_loss_weight, self.beta = quant_loss_weight, beta
        self.kmeans_init, self.kmeans_iters = kmeans_init, kmeans_iters
        self.sk_epsilons, self.sk_iters = None if sk_epsilons is None else list(sk_epsilons), sk_iters
        self.lr, self.weight_decay, self.batch_size, self.epochs = lr, weight_decay, batch_size, epochs
        self.lr_scheduler, self.warmup_epochs = lr_scheduler, warmup_epochs
        self.device, self.verbose, self.random_state = device, verbose, random_state
        self._device = device
        self.history_: dict[str, list[float]] = {}

    def _settings(self, rows: int, plus: bool) -> dict[str, Any]:
        steps = max(1, -(-rows // self.batch_size))
        schedule: dict[str, Any] = {"kind": "cosine" if self.lr_scheduler == "cosine" else "constant"}
        schedule["warmup_steps"] = self.warmup_epochs * steps if self.lr_scheduler else 0
        settings: dict[str, Any] = {
            "hidden": self.layers,
            "dropout": self.dropout_prob,
            "quantizer_weight": self.quant_loss_weight,
            "commitment_weight": self.beta,
            "optimizer.rate": self.lr,
            "optimizer.decay": self.weight_decay,
            "schedule": schedule,
            "sinkhorn": None,
            "health_every": 1,
        }
        if not plus:
            settings["code_dims"] = self.e_dim
            kmeans = {"kind": "k-means", "iterations": self.kmeans_iters, "rows": max(1024, *self.num_emb_list)}
            settings["start"] = kmeans if self.kmeans_init else {"kind": "uniform"}
        mixed = [level for level, epsilon in enumerate(self.sk_epsilons or []) if epsilon > 0]
        if mixed and self.sk_epsilons:
            epsilons = {self.sk_epsilons[level] for level in mixed}
            if len(epsilons) > 1:
                raise NotImplementedError(f"`sk_epsilons`: levels share one above 0, got {sorted(epsilons)}")
            settings["sinkhorn"] = {"levels": mixed, "epsilon": epsilons.pop(), "iterations": self.sk_iters, "form": "batch-range"}
        return settings

    def fit(
        self, X: _rows.RowsLike, *, device: str | None = None, pretrained_codebook_path: str | os.PathLike[str] | None = None
    ) -> Self:
        """Trains on rows `[n, in_dim]`; `pretrained_codebook_path` is in the folder of a saved `RQKMeans`: RQ-KMeans+."""
        held = _rows.hold(X, "X")
        rows, dims = held.shape
        if dims != self.in_dim:
            error = ShapeError(f"`X`: expected {self.in_dim} dimensions, as `in_dim` says, got {dims}")
            error.expected, error.got = self.in_dim, dims
            raise error
        start = None
        if pretrained_codebook_path is not None:
            start = Codec.load(pathlib.Path(pretrained_codebook_path).with_name(CODEC))
        self.history_ = {"loss": [], "recon_loss": [], "collision_rate": [], "lr": []}
        with telling(True if self.verbose else False) as shown:

            def told(event: dict[str, Any]) -> None:
                if event["kind"] == "epoch":
                    self.history_["loss"].append(event["losses"]["total"])
                    self.history_["recon_loss"].append(event["losses"]["reconstruction"])
                    self.history_["collision_rate"].append((event.get("health") or {}).get("collision_rate", 0.0))
                    self.history_["lr"].append(event["learning_rate"])
                if shown is not None:
                    shown(event)

            books: dict[str, Any] = {} if start is not None else {"codebook_size": self.num_emb_list}
            self.codec_ = Codec.train(
                held,
                method="rqvae",
                network="lc-rec",
                from_=start,
                settings=self._settings(rows, start is not None),
                epochs=self.epochs,
                batch_rows=min(self.batch_size, rows),
                seed=secrets.randbits(32) if self.random_state is None else self.random_state,
                device=device_of(self.device if device is None else device),
                progress=told,
                **books,
            )
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the codec with its networks."""
        save(path, self.codec, {"type": "RQVAE", **{name: getattr(self, name) for name in _NAMES}}, None)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """Reads what `save` wrote."""
        codec, metadata = load(path, "semantic-id")
        if metadata.get("type") != "RQVAE":
            raise ValueError(f"`{os.fspath(path)}` is of {metadata.get('type')}, not of RQVAE")
        # What cannot be trained here can be used all the same.
        made = cls(**{name: metadata[name] for name in _NAMES if name in metadata and name not in ("bn", "loss_type")}, device=device)
        made.bn, made.loss_type = metadata.get("bn", False), metadata.get("loss_type", "mse")
        made.codec_ = codec
        return made
