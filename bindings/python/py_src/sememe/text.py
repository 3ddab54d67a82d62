"""Texts to vectors, training chats, and whole runs from one file."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _sememe
from ._progress import Progress, telling
from ._settings import _nested, real, refused, whole
from .errors import DataError

__all__ = ["TextModel", "write_dialogues", "run"]


class TextModel:
    """What makes vectors of texts: a server, or a model in a folder.

    Parameters
    ----------
    url, model
        An OpenAI-compatible server, such as `http://localhost:8000/v1`, and the model's name there.
    folder
        A model in Hugging Face's layout, run here on the processor.
    dimensions
        The first so many values of a vector only, for models that were trained for it.
    api_key, extra, timeout, retries, backoff
        Of a server: the key, more fields of a request, seconds before it times out (60), retries (5), seconds before the first (0.5).
    pooling, max_tokens, prompt
        Of a folder: how tokens become one vector (`"mean"`, `"cls"`, `"last"`), tokens a text at most, and which of the folder's prompts.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        model: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        dimensions: int | None = None,
        api_key: str | None = None,
        extra: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        backoff: float | None = None,
        pooling: str | None = None,
        max_tokens: int | None = None,
        prompt: str | None = None,
    ) -> None:
        if (url is None) == (folder is None):
            raise refused("url", "expected either `url` and `model`, or `folder`")
        dimensions = None if dimensions is None else whole("dimensions", dimensions, 1)
        if url is not None:
            for name, value in (("pooling", pooling), ("max_tokens", max_tokens), ("prompt", prompt)):
                if value is not None:
                    raise refused(name, "is of a model in a folder")
            if model is None:
                raise refused("model", "the model's name at the server is needed")
            request = {
                "url": url,
                "model": model,
                "api_key": api_key,
                "dimensions": dimensions,
                "timeout": None if timeout is None else real("timeout", timeout),
                "retries": None if retries is None else whole("retries", retries),
                "backoff": None if backoff is None else real("backoff", backoff),
                "extra": dict(extra or {}),
            }
            self._inner = _sememe.TextModel.endpoint(json.dumps(request))
            return
        of_servers: dict[str, object] = {"api_key": api_key, "extra": extra, "timeout": timeout, "retries": retries, "backoff": backoff}
        for name, given in of_servers.items():
            if given is not None:
                raise refused(name, "is of a server")
        assert folder is not None
        local = {
            "folder": os.fspath(folder),
            "name": model,
            "pooling": pooling,
            "max_tokens": None if max_tokens is None else whole("max_tokens", max_tokens, 1),
            "dimensions": dimensions,
            "prompt": prompt,
        }
        self._inner = _sememe.TextModel.folder(json.dumps(local))

    @property
    def model(self) -> str:
        """The model's name."""
        return self._inner.model

    def embed(
        self,
        texts: Iterable[str],
        *,
        prefix: str = "",
        normalize: bool = False,
        batch_items: int = 32,
        concurrency: int = 4,
        progress: Progress = None,
    ) -> npt.NDArray[np.float32]:
        """Vectors `[n, dims]` of texts, `batch_items` at a time and `concurrency` batches at once.

        They are kept nowhere; `python -m sememe embed` keeps them by content and embeds only what changed.
        """
        listed = list(texts)
        for row, text in enumerate(listed):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"`texts`: text {row} is {text!r}; expected words")
        if not listed:
            raise DataError("`texts`: expected at least 1 text, got none")
        size, at_once = whole("batch_items", batch_items, 1), whole("concurrency", concurrency, 1)
        parts = [listed[start : start + size] for start in range(0, len(listed), size)]
        made: list[npt.NDArray[np.float32]] = []
        with telling(progress) as tell, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            if tell is not None:
                tell({"kind": "phase", "name": "embed", "total": len(listed), "unit": "texts"})
            waiting = [pool.submit(self._inner.embed, part, prefix, normalize) for part in parts]
            try:
                for answer in waiting:
                    made.append(answer.result())
                    if tell is not None:
                        tell({"kind": "advance", "done": min(len(made) * size, len(listed))})
            finally:
                for answer in waiting:
                    answer.cancel()
        return np.concatenate(made)


def write_dialogues(
    folder: str | os.PathLike[str], *, settings: Mapping[str, Any] | None = None, progress: Progress = None, **more: Any
) -> dict[str, Any]:
    """Writes training chats for a language model to a folder: IDs from queries, facts from IDs, next items from histories.

    Settings are those of `sememe dialogues` and of `[dialogues]` in the file of a run: `ids`, `source`, `events`, `tasks`, `system`, …
    Returns the report.
    """
    patch = _nested({**(settings or {}), **more})
    for name in ("ids", "source", "events"):
        if name in patch and patch[name] is not None:
            patch[name] = os.fspath(patch[name])
    with telling(progress) as tell:
        return _sememe.write_dialogues(json.dumps(patch), os.fspath(folder), tell)


def run(
    config: str | os.PathLike[str],
    *,
    set: Mapping[str, Any] | Sequence[str] = (),
    phases: Sequence[str] | None = None,
    rebuild: Sequence[str] = (),
    dry_run: bool = False,
    progress: Progress = None,
) -> dict[str, Any]:
    """Does what a TOML file says, from a catalogue to tokens and a report; skips what is up to date. Returns the report.

    `set` goes over the file's settings: `{"train.levels": 4}`. `phases` and `rebuild` name phases: prep, embed, train, assign, tokenize,
    dialogues, recommend, report.
    """
    over = list(set) if not isinstance(set, Mapping) else [f"{name}={_toml(value)}" for name, value in set.items()]
    with telling(progress) as tell:
        return _sememe.run_config(os.fspath(config), over, None if phases is None else list(phases), list(rebuild), bool(dry_run), tell)


def _toml(value: Any) -> str:
    """A value as TOML writes it; JSON's lists, texts and numbers are TOML's too."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
