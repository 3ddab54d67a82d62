"""What can go wrong: one class for each cause.

All of them are `SememeError`, and each is what Python itself would raise as well: `ValueError`, `OSError`, `MemoryError`, and so on.
Messages name arguments, rows and files, say what was found and what would be right.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "CodecError",
    "DataError",
    "DeviceError",
    "DeviceLostError",
    "DeviceMemoryError",
    "EndpointError",
    "FileFormatError",
    "FileMissingError",
    "FileSystemError",
    "IdTextError",
    "NonFiniteError",
    "RowTypeError",
    "SememeError",
    "SettingError",
    "ShapeError",
    "StoreError",
]


class SememeError(Exception):
    """The base of all errors of this package."""


class SettingError(SememeError, ValueError):
    """A setting that cannot be used. `setting` is the argument's name."""

    setting: str | None = None


class RowTypeError(SememeError, TypeError):
    """Rows of a type that cannot be read."""


class ShapeError(SememeError, ValueError):
    """Two sizes that must agree do not. `expected` and `got` are their values."""

    expected: int | None = None
    got: int | None = None


class NonFiniteError(SememeError, ValueError):
    """NaN, infinity or a missing value in the rows. `row` is the first such row, `count` how many there are among `rows`."""

    row: int = 0
    count: int = 0
    rows: int = 0


class DataError(SememeError, ValueError):
    """The data cannot serve what was asked of it: too few rows, zero rows under cosine, a code past its codebook."""


class IdTextError(SememeError, ValueError):
    """A text is no ID in the format that it should have. `column` is where it parts from every ID, in characters from 1 on."""

    text: str = ""
    column: int = 0


class FileFormatError(SememeError, ValueError):
    """A file's content is not what its format promises. `filename` is the file."""

    filename: str | None = None


class FileSystemError(SememeError, OSError):
    """The operating system refused to read or write a file."""

    def __str__(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else super().__str__()


class FileMissingError(FileSystemError, FileNotFoundError):
    """A file is not there."""


class CodecError(SememeError, ValueError):
    """A codec that cannot be loaded or used."""


class DeviceError(SememeError, RuntimeError):
    """No usable device, or one that cannot do what is needed."""


class DeviceLostError(DeviceError):
    """The device went away in mid-run."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device or the machine has too little memory. `needed_bytes` is what was asked for."""

    needed_bytes: int = 0


class StoreError(SememeError, RuntimeError):
    """A store of IDs that cannot be used, or holds another codec's."""


class EndpointError(SememeError, ConnectionError):
    """A server that makes vectors, or what it returned, cannot be used."""


_CLASSES: dict[str, type[SememeError]] = {
    "config": SettingError,
    "shape": ShapeError,
    "non_finite": NonFiniteError,
    "data": DataError,
    "text": IdTextError,
    "format": FileFormatError,
    "codec": CodecError,
    "device": DeviceError,
    "device_lost": DeviceLostError,
    "out_of_memory": DeviceMemoryError,
    "store": StoreError,
    "endpoint": EndpointError,
}

# Fields of the library whose arguments have other names.
_ARGUMENTS = {
    "codebook_sizes": "codebook_size",
    "preprocess.pca": "pca",
    "preprocess.pca.keep_variance": "pca",
    "preprocess.pca.max_dims": "pca_dims",
    "refine.rounds": "refine",
    "refine_rounds": "refine",
    "refine.beam": "beam",
    "balance.minimum": "capacity",
    "balance.maximum": "capacity",
    "balance.loads": "capacity",
    "balance.epsilon": "balance_epsilon",
    "balance.levels": "balance_levels",
    "balance.iterations": "balance_iterations",
    "rotation": "rotations",
    "rotation.rounds": "rotations",
    "rotation.iterations": "rotation_iterations",
    "layer_wise": "joint",
    "folder": "run",
    "from": "from_",
    "start": "from_",
    "k": "neighbours",
    "rqvae": "settings",
    "preset": "network",
}
_SECTIONS = ("preprocess.", "co_interaction.", "next_item.", "source.")


def _argument(field: str) -> str:
    """The argument that sets a field of the library."""
    name, _, place = field.rpartition(".")
    if place.isdigit():
        field = name
    if field in _ARGUMENTS:
        return _ARGUMENTS[field]
    for section in _SECTIONS:
        if field.startswith(section):
            return field.removeprefix(section)
    return field


def _setting(field: str, change: str, value: str | None) -> str:
    """A setting as Python writes it."""
    name = _argument(field)
    if change != "set" or value is None:
        return f"`{name}`"
    if value in ("true", "false"):
        return f"`{name}={value.title()}`"
    try:
        float(value)
    except ValueError:
        return f'`{name}="{value}"`'
    return f"`{name}={value}`"


def _ways(remedies: list[tuple[str, str, str | None, str]]) -> str:
    said = []
    for field, change, value, sentence in remedies:
        if change == "build":
            said.append(f"use a wheel with the feature `{field}`, which this one lacks")
        else:
            said.append(sentence.replace("{}", _setting(field, change, value)))
    if len(said) > 1:
        return f"{', '.join(said[:-1])} or {said[-1]}"
    return "".join(said)


def _made(
    cause: str, facts: str, remedies: list[tuple[str, str, str | None, str]], details: dict[str, Any]
) -> BaseException:
    """The exception for an error of the library. Called by the extension."""
    if cause == "config":
        facts = f"`{_argument(details['field'])}`: {details['problem']}"
    ways = _ways(remedies)
    message = f"{facts}; {ways}" if ways else facts
    if cause == "interrupted":
        return KeyboardInterrupt(message)
    if cause == "io":
        return _file_system(message, details)
    error = _CLASSES.get(cause, SememeError)(message)
    if isinstance(error, SettingError):
        error.setting = _argument(details["field"])
    elif isinstance(error, ShapeError):
        error.expected, error.got = details["expected"], details["got"]
    elif isinstance(error, NonFiniteError):
        error.row, error.count, error.rows = details["row"], details["count"], details["rows"]
    elif isinstance(error, IdTextError):
        error.text, error.column = details["text"], details["column"]
    elif isinstance(error, FileFormatError):
        error.filename = os.fspath(details["path"])
    elif isinstance(error, DeviceMemoryError):
        error.needed_bytes = details["needed_bytes"]
    return error


def _file_system(message: str, details: dict[str, Any]) -> FileSystemError:
    number, path = details["errno"], os.fspath(details["path"])
    if number is None:
        return FileSystemError(message)
    # The third argument of an `OSError` is its file name.
    missing = isinstance(OSError(number, ""), FileNotFoundError)
    return (FileMissingError if missing else FileSystemError)(number, message, path)
