"""Settings of a training: the program's names, each for the methods that take it, and the library's settings that they become."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from . import _sememe
from .errors import SettingError

Method: TypeAlias = Literal["kmeans", "minibatch", "rqvae", "rqkmeans+", "pq", "opq"]
Settings = dict[str, Any]


class TrainSettings(TypedDict, total=False):
    """Settings of `Codec.train` by their names."""

    levels: int | None
    codebook_size: int | Sequence[int] | None
    iterations: int | None
    tolerance: float | None
    starts: int | None
    seed: int | None
    metric: Literal["squared-l2", "cosine"] | None
    init: Literal["k-means-plus-plus", "random"] | None
    empty: Literal["farthest", "keep"] | None
    refine: int | bool | None
    beam: int | None
    max_training_rows: int | None
    preset: Literal["basil"] | None
    balance: Literal["none", "sinkhorn", "capacity"] | None
    balance_levels: Sequence[int] | None
    balance_epsilon: float | None
    balance_iterations: int | None
    capacity: tuple[int | None, int | None] | None
    center: bool
    pca: float | bool | None
    pca_dims: int | None
    whiten: bool
    normalize: bool
    normalize_residuals: bool
    rotations: int | None
    rotation_iterations: int | None
    epochs: int | None
    batch_rows: int | None
    joint: bool
    network: str | None
    settings: Mapping[str, Any] | None
    stop_on_collapse: bool


_STEPS = {"center", "pca", "pca_dims", "whiten", "normalize"}
_BALANCE = {"balance", "balance_levels", "balance_epsilon", "balance_iterations", "capacity"}
_BOOKS = {"levels", "codebook_size", "seed"}
_KMEANS = {"iterations", "tolerance", "starts", "metric", "init", "empty", "max_training_rows", "from_"}
_PRODUCT = _BOOKS | _KMEANS | _STEPS | _BALANCE
_NETWORK = _BOOKS | {"epochs", "batch_rows", "resume", "max_training_rows", "from_", "network", "settings", "run", "align", "stop_on_collapse"}

# What each method takes.
TAKES: dict[str, set[str]] = {
    "kmeans": _BOOKS | _KMEANS | _STEPS | _BALANCE | {"refine", "beam", "preset", "normalize_residuals"},
    "minibatch": _BOOKS | {"metric", "normalize_residuals", "epochs", "batch_rows", "joint", "checkpoint", "resume"},
    "rqvae": _NETWORK,
    "rqkmeans+": _NETWORK,
    "pq": _PRODUCT,
    "opq": _PRODUCT | {"rotations", "rotation_iterations"},
}
# What k-means takes that starts from a codec, which decides the rest.
_AFTER_CODEC = _BALANCE | {"levels", "codebook_size", "iterations", "tolerance", "seed", "empty", "refine", "beam", "max_training_rows", "from_"}

# The library's name of each method.
KIND = {"kmeans": "kmeans", "minibatch": "minibatch", "rqvae": "rqvae", "rqkmeans+": "rqvae", "pq": "product", "opq": "product"}

_INIT = {"k-means-plus-plus": "k-means-plus-plus", "kmeans++": "k-means-plus-plus", "k-means++": "k-means-plus-plus", "random": "random"}
_EMPTY = {"farthest": "farthest", "keep": "keep"}


def refused(name: str, problem: str) -> SettingError:
    error = SettingError(f"`{name}`: {problem}")
    error.setting = name
    return error


def whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number of at least so much."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise refused(name, f"expected a whole number, got {value!r}") from None
    if number < least:
        raise refused(name, f"expected at least {least}, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """A number."""
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise refused(name, f"expected a number, got {value!r}") from None


def one_of(name: str, value: Any, names: Mapping[str, Any]) -> Any:
    if value not in names:
        raise refused(name, f"expected one of {', '.join(names)}, got {value!r}")
    return names[value]


def given(settings: Settings) -> Settings:
    """What was asked for: `None` and a switch that is off are not."""
    return {name: value for name, value in settings.items() if value is not None and value is not False}


def check(method: str, asked: Settings) -> None:
    """Refuses what the method would ignore."""
    if method not in TAKES:
        raise refused("method", f"expected one of {', '.join(TAKES)}, got {method!r}")
    for name in asked:
        if name not in TAKES[method]:
            raise refused(name, f'is no setting of method="{method}", which takes {", ".join(sorted(TAKES[method]))}')
    if asked.get("balance", "none") == "none":
        for name in ("balance_levels", "balance_epsilon", "balance_iterations", "capacity"):
            if name in asked:
                raise refused(name, 'needs `balance="sinkhorn"` or `balance="capacity"`')
    if "capacity" in asked and asked["balance"] != "capacity":
        raise refused("capacity", 'needs `balance="capacity"`')
    if "beam" in asked and "refine" not in asked:
        raise refused("beam", "needs `refine`, whose beam it is; encoding has a `beam` of its own")
    if "from_" in asked and method in ("kmeans", "pq", "opq"):
        for name in asked:
            if name not in _AFTER_CODEC:
                raise refused(name, "is decided by the codec of `from_`; leave one of them out")
    if "resume" in asked and method == "minibatch":
        if "checkpoint" not in asked:
            raise refused("resume", "needs `checkpoint`, the state to go on from")
        if asked["resume"] not in (True, "last"):
            raise refused("resume", f"expected True, got {asked['resume']!r}; mini-batches go on from `checkpoint`")
    if "resume" in asked and KIND[method] == "rqvae":
        if "run" not in asked:
            raise refused("resume", "needs `run`, the folder of the checkpoints")
        if "from_" in asked:
            raise refused("from_", "is where a training starts; `resume` goes on from a checkpoint and needs it no more")


def sizes(asked: Settings, own: Sequence[int]) -> list[int] | None:
    """Codewords of each level; nothing where neither their number nor their size was asked for."""
    levels, size = asked.get("levels"), asked.get("codebook_size")
    if levels is not None:
        levels = whole("levels", levels, 1)
        if levels > 64:
            raise refused("levels", f"expected 1 to 64, got {levels}")
    if size is None:
        return None if levels is None else [own[0]] * levels
    if not isinstance(size, Sequence) and not hasattr(size, "__len__"):
        return [whole("codebook_size", size, 1)] * (levels or len(own))
    listed = [whole("codebook_size", one, 1) for one in size]
    if levels is not None and levels != len(listed):
        raise refused("codebook_size", f"lists {len(listed)} levels and `levels` says {levels}; leave `levels` out, or give one size")
    return listed


def _balance(asked: Settings) -> Settings | None:
    how = asked.get("balance", "none")
    if how not in ("none", "sinkhorn", "capacity"):
        raise refused("balance", f"expected one of none, sinkhorn, capacity, got {how!r}")
    if how == "none":
        return None
    made: Settings = {}
    if how == "capacity":
        bounds = asked.get("capacity", (None, None))
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
            raise refused("capacity", f"expected (fewest, most), either of which may be None, got {bounds!r}")
        least, most = (None if bound is None else whole("capacity", bound) for bound in bounds)
        made["loads"] = {"capacity": {"minimum": least, "maximum": most}}
    if "balance_levels" in asked:
        made["levels"] = [whole("balance_levels", level) for level in asked["balance_levels"]]
    if "balance_epsilon" in asked:
        made["epsilon"] = real("balance_epsilon", asked["balance_epsilon"])
    if "balance_iterations" in asked:
        made["iterations"] = whole("balance_iterations", asked["balance_iterations"])
    # The library fills in what is missing.
    return made


def _preprocess(asked: Settings, steps: Settings) -> Settings:
    steps = copy.deepcopy(steps)
    for name in ("center", "whiten", "normalize"):
        if asked.get(name):
            steps[name] = True
    pca = asked.get("pca")
    if pca is not None:
        share = 0.95 if pca is True else real("pca", pca)
        steps["pca"] = {"keep_variance": share, "max_dims": (steps.get("pca") or {}).get("max_dims", 256)}
    if "pca_dims" in asked:
        most = whole("pca_dims", asked["pca_dims"], 1)
        # Asked for alone, the number is meant, not the share.
        steps["pca"] = {**(steps.get("pca") or {"keep_variance": 1.0}), "max_dims": most}
    return steps


_BASIL: Settings = {
    "codebook_sizes": [1024] * 3,
    "iterations": 20,
    "tolerance": 1e-4,
    "preprocess": {"center": True, "pca": {"keep_variance": 0.95, "max_dims": 256}, "whiten": True},
}


def _kmeans(method: str, asked: Settings) -> Settings:
    product = KIND[method] == "product"
    own = _sememe.default_settings(KIND[method], None)
    made: Settings = {}
    if "preset" in asked:
        one_of("preset", asked["preset"], {"basil": 0})
        made = copy.deepcopy(_BASIL)
    if (books := sizes(asked, made.get("codebook_sizes", own["codebook_sizes"]))) is not None:
        made["codebook_sizes"] = books
    if "iterations" in asked:
        made["iterations"] = whole("iterations", asked["iterations"], 1)
    if "tolerance" in asked:
        made["tolerance"] = real("tolerance", asked["tolerance"])
    for name in ("starts", "seed", "max_training_rows"):
        if name in asked:
            made[name] = whole(name, asked[name], 0 if name == "seed" else 1)
    if "init" in asked:
        made["init"] = one_of("init", asked["init"], _INIT)
    if "empty" in asked:
        made["empty"] = one_of("empty", asked["empty"], _EMPTY)
    if (balance := _balance(asked)) is not None:
        made["balance"] = balance
        if "iterations" in made and "iterations" not in asked:
            # The preset's are for levels without balance, which settle sooner.
            del made["iterations"]
    steps = _preprocess(asked, made.get("preprocess", {}))
    cosine = one_of("metric", asked.get("metric", "squared-l2"), {"squared-l2": False, "cosine": True})
    if product:
        # Blocks of a row have no angle that means anything, the whole row has: squared L2 of rows of one length.
        if cosine:
            steps["normalize"] = True
        if method == "opq":
            rotation = {}
            if "rotations" in asked:
                rotation["rounds"] = whole("rotations", asked["rotations"])
            if "rotation_iterations" in asked:
                rotation["iterations"] = whole("rotation_iterations", asked["rotation_iterations"])
            made["rotation"] = rotation
    else:
        if cosine:
            made["metric"] = "cosine"
        if "refine" in asked:
            made["refine"] = {"rounds": 10 if asked["refine"] is True else whole("refine", asked["refine"])}
            if "beam" in asked:
                made["refine"]["beam"] = whole("beam", asked["beam"], 1)
        if asked.get("normalize_residuals"):
            made["normalize_residuals"] = True
    if steps:
        made["preprocess"] = steps
    return made


def _minibatch(asked: Settings) -> Settings:
    own = _sememe.default_settings("minibatch", None)
    made: Settings = {}
    if (books := sizes(asked, own["codebook_sizes"])) is not None:
        made["codebook_sizes"] = books
    if "seed" in asked:
        made["seed"] = whole("seed", asked["seed"])
    for name in ("epochs", "batch_rows"):
        if name in asked:
            made[name] = whole(name, asked[name], 1)
    if asked.get("joint"):
        made["layer_wise"] = False
    if one_of("metric", asked.get("metric", "squared-l2"), {"squared-l2": False, "cosine": True}):
        made["metric"] = "cosine"
    if asked.get("normalize_residuals"):
        made["normalize_residuals"] = True
    return made


def _nested(patch: Mapping[str, Any]) -> Settings:
    """Settings whose names may have dots, as nested ones."""
    made: Settings = {}
    for name, value in patch.items():
        at = made
        *sections, last = str(name).split(".")
        for section in sections:
            at = at.setdefault(section, {})
            if not isinstance(at, dict):
                raise refused("settings", f"`{name}` is within a setting that is given as a whole")
        at[last] = _nested(value) if isinstance(value, Mapping) else value
    return made


def _network(asked: Settings) -> Settings:
    patch = asked.get("settings", {})
    if not isinstance(patch, Mapping):
        raise refused("settings", f"expected a dictionary such as {{'optimizer.rate': 0.003}}, got {patch!r}")
    made = _nested(patch)
    own = {**_sememe.default_settings("rqvae", asked.get("network")), **made}
    if (books := sizes(asked, own["codebook_sizes"])) is not None:
        made["codebook_sizes"] = books
    for name in ("epochs", "batch_rows", "max_training_rows", "seed"):
        if name in asked:
            made[name] = whole(name, asked[name], 0 if name == "seed" else 1)
    if asked.get("stop_on_collapse"):
        made["stop_on_collapse"] = True
    return made


def of(method: str, asked: Settings) -> Settings:
    """The library's settings, as far as they are given."""
    if KIND[method] == "rqvae":
        return _network(asked)
    if method == "minibatch":
        return _minibatch(asked)
    return _kmeans(method, asked)
