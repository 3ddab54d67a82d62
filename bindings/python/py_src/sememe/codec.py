"""The codec: a fitted model that turns rows to codes and back."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, Unpack

import numpy as np
import numpy.typing as npt

from . import _codes, _rows, _sememe, _settings
from ._progress import Progress, telling
from ._settings import Method, TrainSettings
from .errors import NonFiniteError

Device = Literal["auto", "cpu", "gpu"]


class BadRowsWarning(UserWarning):
    """Rows that were left out, as `on_bad="drop"` asks."""


class Codec:
    """A fitted model: rows `[n, dims]` of floats to codes `[n, levels]`, and back.

    Comes from `Codec.train`, `Codec.load` or `Codec.from_bytes`. It never changes, may be used by many threads at once, and is
    pickled whole. The code of a row depends on the codec and the row alone, never on the device, the batch or the number of threads.

    >>> import numpy as np, sememe
    >>> rows = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
    >>> codec = sememe.Codec.train(rows, levels=3, codebook_size=16)
    >>> codes = codec.encode(rows)
    >>> codes.shape, codes.dtype
    ((1000, 3), dtype('uint32'))
    >>> codec.decode(codes).shape
    (1000, 16)
    """

    __slots__ = ("_inner", "__weakref__")

    _inner: _sememe.Codec

    def __init__(self) -> None:
        raise TypeError("a codec comes from `Codec.train`, `Codec.load` or `Codec.from_bytes`")

    @classmethod
    def _of(cls, inner: _sememe.Codec) -> Self:
        made = cls.__new__(cls)
        made._inner = inner
        return made

    # Training.

    @classmethod
    def train(
        cls,
        rows: _rows.RowsLike,
        *,
        method: Method = "kmeans",
        levels: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
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
        preset: Literal["basil"] | None = None,
        from_: Codec | str | os.PathLike[str] | None = None,
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
        epochs: int | None = None,
        batch_rows: int | None = None,
        joint: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool | str | os.PathLike[str] = False,
        network: str | None = None,
        settings: Mapping[str, Any] | None = None,
        run: str | os.PathLike[str] | None = None,
        align: _rows.RowsLike | None = None,
        stop_on_collapse: bool = False,
        device: Device = "auto",
        on_bad: Literal["refuse", "drop"] = "refuse",
        column: str | None = None,
        array: str | None = None,
        progress: Progress = None,
    ) -> Self:
        """Fits a codec to rows `[n, dims]`.

        Settings have the names and defaults of `sememe train`; one that the method has no use for is refused.

        Parameters
        ----------
        rows
            An array, Arrow lists, a tensor on the processor, files, or an iterable of batches; see `docs/python.md`. Batches are set
            down in a temporary file, so there may be more of them than fit memory (with `method="minibatch"`, or `max_training_rows`).
        method
            `"kmeans"` (all rows in memory), `"minibatch"` (reads rows as it needs them), `"rqvae"` (encoder, codebooks and decoder
            trained together), `"rqkmeans+"` (the same from the codebooks of k-means), `"pq"` (each level has its own part of the
            dimensions), `"opq"` (the same after a learned rotation).
        levels, codebook_size
            Codes in an ID (3; `pq` and `opq`: 8), and codewords a level: one number, or one a level (256).
        iterations, tolerance, starts, init, empty
            k-means: iterations a level at most (25; 40 with `balance="sinkhorn"`), the gain below which a level stops (1e-5), starts
            a level, how the first codewords are chosen, and what becomes of one that no row chose.
        seed
            For everything random (0).
        metric
            How rows are compared with codewords: `"squared-l2"` or `"cosine"`.
        refine, beam
            After the levels, fit all codebooks together for so many rounds (True: 10), keeping `beam` prefixes a row (8).
        max_training_rows
            Train on a random sample of at most so many rows.
        preset
            `"basil"`: 3 levels of 1024, 20 iterations, PCA to 0.95 of the variance and at most 256 dimensions, whitening.
        from_
            A codec to start from: few codes change when a catalogue has grown.
        balance, balance_levels, balance_epsilon, balance_iterations, capacity
            Even out how many rows a codeword has: `"sinkhorn"` (nearly even) or `"capacity"` (exact bounds `(fewest, most)`).
        center, pca, pca_dims, whiten, normalize, normalize_residuals
            Preprocessing, undone by `decode`. `pca` is the share of the variance that is kept (True: 0.95).
        rotations, rotation_iterations
            `opq`: how often rotation and codewords are fitted to each other (20), and k-means iterations in each (2).
        epochs, batch_rows, joint, checkpoint, resume
            `minibatch`: passes (10), rows a batch (4096), all levels in every batch, the file of the state, and going on from it.
        network, settings, run, resume, align, stop_on_collapse
            `rqvae`: the published system to start from (`sememe`, `tiger`, `lc-rec`, `animind`, `residual-vq`), single settings over
            it (`{"optimizer.rate": 0.003}`), the folder of checkpoints and curves, where to go on (`"last"`, `"best"`, a file),
            collaborative embeddings of the same rows, and stopping when a level collapses.
        device
            `"auto"` takes a hardware GPU for 50,000 rows or more, else the CPU.
        on_bad
            What to do with rows that hold NaN or infinity: refuse them, or `"drop"` them with a warning.
        column, array
            The column of a table, or the array in a file, that holds the rows.
        progress
            A function that is called with every event (a dictionary), `True` for a bar, `False` for nothing; by default a bar if
            stderr is a terminal. What the function raises stops the training.

        Raises
        ------
        SettingError, DataError, NonFiniteError, ShapeError, RowTypeError
            For settings and rows that cannot be used.
        KeyboardInterrupt
            On Ctrl-C, within a second; a checkpoint is kept where there is one.
        """
        asked = dict(locals())
        for name in ("cls", "rows", "method", "device", "on_bad", "column", "array", "progress"):
            del asked[name]
        codec, _ = cls._train(rows, method, asked, device, on_bad, column, array, progress, assigned=False)
        return codec

    @classmethod
    def train_assigned(
        cls,
        rows: _rows.RowsLike,
        *,
        method: Method = "kmeans",
        device: Device = "auto",
        column: str | None = None,
        array: str | None = None,
        progress: Progress = None,
        **settings: Unpack[TrainSettings],
    ) -> tuple[Self, _codes.Codes]:
        """As `train`, with the codes `[n, levels]` that training gave the rows. Under `balance="capacity"` these keep the bounds exactly.

        Raises
        ------
        SettingError
            As `train`; also for refinement, for a sample of the rows, and for methods other than `kmeans`, `pq` and `opq`.
        """
        if method not in ("kmeans", "pq", "opq"):
            raise _settings.refused("method", f"rows are assigned by kmeans, pq and opq, got {method!r}; encode them instead")
        codec, codes = cls._train(rows, method, dict(settings), device, "refuse", column, array, progress, assigned=True)
        assert codes is not None
        return codec, codes

    @classmethod
    def _train(
        cls,
        rows: _rows.RowsLike,
        method: str,
        settings: dict[str, Any],
        device: str,
        on_bad: str,
        column: str | None,
        array: str | None,
        progress: Progress,
        *,
        assigned: bool,
    ) -> tuple[Self, _codes.Codes | None]:
        asked = _settings.given(settings)
        _settings.check(method, asked)
        drop = _settings.one_of("on_bad", on_bad, {"refuse": False, "drop": True})
        start = asked.get("from_")
        if start is not None and not isinstance(start, Codec):
            start = Codec.load(start)
        resume = asked.get("resume")
        request = {
            "method": _settings.KIND[method],
            "settings": _settings.of(method, asked),
            "network": asked.get("network"),
            "device": device,
            "drop_bad": drop,
            "assigned": assigned,
            "folder": _path(asked.get("run")),
            "checkpoint": _path(asked.get("checkpoint")),
            "resume": "last" if resume is True else _path(resume),
        }
        held = _rows.hold(rows, "rows", column, array)
        aligned = None if asked.get("align") is None else _rows.hold(asked["align"], "align")
        with telling(progress) as tell:
            if method == "rqkmeans+" and start is None and resume is None:
                start = cls._start_of_network(held, asked, device, drop, tell)
            codec, codes, dropped = _sememe.train(json.dumps(request), held, aligned, None if start is None else start._inner, tell)
        if dropped:
            shown = ", ".join(str(row) for row in dropped[:5]) + (", …" if len(dropped) > 5 else "")
            text = f"{len(dropped)} of {held.shape[0]} rows cannot be used and were left out: {shown}"
            warnings.warn(text, BadRowsWarning, stacklevel=3)
        return cls._of(codec), codes

    @classmethod
    def _start_of_network(
        cls, held: _sememe.Rows, asked: dict[str, Any], device: str, drop: bool, tell: Any
    ) -> Self:
        """The k-means that RQ-KMeans+ starts from."""
        books = _settings.sizes(asked, _sememe.default_settings("rqvae", asked.get("network"))["codebook_sizes"])
        settings: dict[str, Any] = {} if books is None else {"codebook_sizes": books}
        if "seed" in asked:
            settings["seed"] = _settings.whole("seed", asked["seed"])
        if "max_training_rows" in asked:
            settings["max_training_rows"] = _settings.whole("max_training_rows", asked["max_training_rows"], 1)
        request = {
            "method": "kmeans",
            "settings": settings,
            "network": None,
            "device": device,
            "drop_bad": drop,
            "assigned": False,
            "folder": None,
            "checkpoint": None,
            "resume": None,
        }
        codec, _, _ = _sememe.train(json.dumps(request), held, None, None, tell)
        return cls._of(codec)

    # The file.

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a codec from its `.safetensors` file. Runs nothing that is in it, and bounds sizes before memory is taken.

        Raises
        ------
        FileMissingError, FileSystemError, FileFormatError, CodecError
        """
        return cls._of(_sememe.Codec.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the codec to a `.safetensors` file, whole or not at all."""
        self._inner.save(os.fspath(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A codec from what `to_bytes` returned, or from the content of its file."""
        return cls._of(_sememe.Codec.from_bytes(bytes(data)))

    def to_bytes(self) -> bytes:
        """The content of the codec's file."""
        return self._inner.to_bytes()

    # Encoding.

    def encode(
        self,
        rows: _rows.RowsLike,
        *,
        device: Device = "auto",
        beam: int | None = None,
        column: str | None = None,
        array: str | None = None,
        progress: Progress = None,
    ) -> _codes.Codes:
        """Codes `[n, levels]` of rows `[n, dims]`, as `uint32`; of one row `[dims]`, codes `[levels]`.

        Rows are read where they lie. An iterable of batches is encoded batch by batch, and may be larger than memory.

        Parameters
        ----------
        rows
            As for `train`.
        device
            `"auto"`, `"cpu"` or `"gpu"`. Codes are the same on all of them.
        beam
            Prefixes a row that are kept; more lowers the error and costs time. By default the codec's own.

        Raises
        ------
        ShapeError
            For rows of another number of dimensions.
        NonFiniteError
            For rows that hold NaN or infinity; it names the first.
        """
        if beam is not None:
            beam = _settings.whole("beam", beam, 1)
        one = _one_row(rows)
        if one is not None:
            codes: _codes.Codes = self._encode_held(_sememe.Rows.of_arrays([_rows.plain(one, "rows")], "rows"), device, beam, None)[0]
            return codes
        if _rows.is_lazy(rows):
            parts = list(self.encode_batches(rows, device=device, beam=beam, column=column))
            return np.concatenate(parts) if parts else np.zeros((0, self.levels), dtype=np.uint32)
        held = _rows.hold(rows, "rows", column, array)
        if held.shape[0] <= 256:
            return self._encode_held(held, device, beam, progress if callable(progress) else None)
        with telling(progress) as tell:
            return self._encode_held(held, device, beam, tell)

    def encode_batches(
        self, rows: Iterable[Any], *, device: Device = "auto", beam: int | None = None, column: str | None = None
    ) -> Iterator[_codes.Codes]:
        """Codes of batches as they come, one array a batch. Holds one batch at a time."""
        before = 0
        for batch in _rows.batches(rows, "rows", column):
            try:
                codes = self._encode_held(batch, device, beam, None)
            except NonFiniteError as error:
                error.add_note(f"row {error.row} of this batch is row {before + error.row} of all")
                raise
            before += len(codes)
            yield codes

    def _encode_held(self, held: _sememe.Rows, device: str, beam: int | None, tell: Any) -> _codes.Codes:
        if held.shape[0] == 0:
            return np.zeros((0, self.levels), dtype=np.uint32)
        try:
            return self._inner.encode(held, device, beam, tell)
        except NonFiniteError as error:
            # Encoding leaves no rows out: codes and rows would no longer belong together.
            facts = str(error).partition("; repair them")[0]
            clean = NonFiniteError(f"{facts}; repair them, or leave them out with `rows[numpy.isfinite(rows).all(axis=1)]`")
            clean.row, clean.count, clean.rows = error.row, error.count, error.rows
            raise clean from None

    def decode(self, codes: _codes.CodesLike, *, progress: Progress = None) -> npt.NDArray[np.float32]:
        """Rows `[n, dims]` from codes `[n, levels]`; with fewer columns, the approximation at that depth. One ID `[levels]` gives `[dims]`.

        Raises
        ------
        ShapeError, DataError
            For more columns than levels, and for a code past its codebook.
        """
        if not hasattr(codes, "ndim"):
            codes = np.asarray(codes)
        if codes.ndim == 1 and not hasattr(codes, "__arrow_c_stream__"):
            row: npt.NDArray[np.float32] = self._inner.decode(_codes.read(codes[None]), None)[0]
            return row
        read = _codes.read(codes)
        if len(read) == 0:
            return np.zeros((0, self.dims), dtype=np.float32)
        with telling(progress) as tell:
            return self._inner.decode(read, tell)

    # What it is.

    @property
    def dims(self) -> int:
        """Dimensions of a row."""
        return self._inner.dims

    @property
    def levels(self) -> int:
        """Codes of an ID."""
        return len(self._inner.codebook_sizes)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codewords of each level."""
        return tuple(self._inner.codebook_sizes)

    @property
    def codebooks(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Codewords `[k, e]` of each level, in the space after preprocessing and encoder. Copies."""
        return tuple(self._inner.codebook(level) for level in range(self.levels))

    @property
    def metric(self) -> Literal["squared-l2", "cosine"]:
        """How rows are compared with codewords."""
        metric: Literal["squared-l2", "cosine"] = self.manifest["metric"]
        return metric

    @property
    def method(self) -> str:
        """How it was trained, as its file says."""
        return str(self.manifest["method"])

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that the file holds: the codec's name for stores and caches."""
        return self._inner.content_hash

    @property
    def manifest(self) -> dict[str, Any]:
        """What the codec is and how it was made: settings, seed, and figures of the training."""
        manifest: dict[str, Any] = self._inner.manifest()
        return manifest

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return _load_codec, (self.to_bytes(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and other.content_hash == self.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        sizes = self.codebook_sizes
        books = f"{len(sizes)} × {sizes[0]}" if len(set(sizes)) == 1 else " × ".join(map(str, sizes))
        return f"<sememe.Codec of {self.method}: {books} codewords, {self.dims} dimensions, {self.content_hash[:12]}>"


def _load_codec(data: bytes) -> Codec:
    return Codec.from_bytes(data)


def _path(path: Any) -> str | None:
    return None if path is None else os.fspath(path)


def _one_row(rows: _rows.RowsLike) -> np.ndarray[Any, Any] | None:
    """`[1, dims]` for one row of numbers."""
    if isinstance(rows, np.ndarray):
        return rows[None] if rows.ndim == 1 and rows.dtype != object else None
    if getattr(rows, "ndim", None) == 1 and hasattr(rows, "__dlpack__"):
        found = _rows.as_array(rows, "rows")
        return None if found is None else found[None]
    if isinstance(rows, (list, tuple)) and rows and isinstance(rows[0], (int, float, np.number)):
        return np.asarray(rows, dtype=np.float32)[None]
    return None


__all__ = ["BadRowsWarning", "Codec"]
