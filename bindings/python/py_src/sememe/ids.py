"""What codes become: one ID an item, text, tokens, a trie; and how IDs outlive a codec."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from . import _codes, _rows, _sememe
from ._progress import Progress, telling
from ._settings import one_of, refused, whole
from .codec import Codec, Device
from .errors import RowTypeError

Style = Literal["plain", "lc-rec", "openonerec", "sem", "animind"]

__all__ = ["Aligned", "Format", "Hit", "Resolved", "Tokens", "Trie", "align", "churn", "resolve"]


def read_keys(keys: Iterable[Any], name: str = "keys") -> list[str]:
    """Keys of items as texts; whole numbers are written in digits."""
    if isinstance(keys, (str, bytes)):
        raise RowTypeError(f"`{name}`: expected one key an item, got a single text")
    if hasattr(keys, "tolist"):
        keys = keys.tolist()
    elif hasattr(keys, "to_pylist"):
        keys = keys.to_pylist()
    made = []
    for row, key in enumerate(keys):
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            key = str(int(key))
        if not isinstance(key, str):
            raise RowTypeError(f"`{name}`: the key of item {row} is {key!r}; expected a text or a whole number")
        made.append(key)
    return made


@dataclasses.dataclass(frozen=True)
class Resolved:
    """IDs after collisions were resolved."""

    ids: _codes.Codes
    """`[n, levels]` in the order of the input, or `[n, levels + 1]` with counters in the last column."""
    cost: dict[str, Any]
    """What it took: IDs before and after, items that moved, and by how much the error grew where that was measured."""


def resolve(
    codes: _codes.CodesLike,
    keys: Iterable[Any],
    *,
    policy: Literal["suffix", "extra-level", "relocate", "error"] = "suffix",
    codec: Codec | None = None,
    rows: _rows.RowsLike | None = None,
    capacity: int = 1,
    progress: Progress = None,
) -> Resolved:
    """Gives items that share their codes `[n, levels]` IDs of their own.

    Items on the same codes are taken in the order of their keys, so the result does not depend on the order of the rows.

    Parameters
    ----------
    policy
        `"suffix"` and `"extra-level"` append a number, 0 for the first item; `"relocate"` moves items to other codes, at the least
        added squared L2 (it needs `codec` and `rows`, the vectors that were encoded); `"error"` refuses.
    capacity
        Items that may share an ID after relocation.

    Raises
    ------
    DataError
        For an empty or repeated key; under `"error"` for items that share their codes.
    """
    one_of("policy", policy, {"suffix": 0, "extra-level": 0, "relocate": 0, "error": 0})
    capacity = whole("capacity", capacity, 1)
    read, names = _codes.read(codes), read_keys(keys)
    if policy != "relocate":
        for name, value in (("codec", codec), ("rows", rows)):
            if value is not None:
                raise refused(name, 'goes with `policy="relocate"` only; leave it out')
        return Resolved(*_sememe.count_up(names, read, policy == "error"))
    if codec is None or rows is None:
        raise refused("policy", "relocate needs `codec` and `rows`, to tell what other codes cost")
    held = _rows.hold(rows)
    with telling(progress) as tell:
        return Resolved(*_sememe.move_apart(names, read, capacity, codec._inner, held, tell))


def _sizes(codebooks: Codec | Sequence[int]) -> list[int]:
    return list(codebooks.codebook_sizes) if isinstance(codebooks, Codec) else [whole("codebooks", k, 1) for k in codebooks]


class Format:
    """How IDs are written as text, and read back exactly.

    >>> format = Format("lc-rec", [256, 256, 256])
    >>> format.write([[12, 5, 33]])
    ['<a_12><b_5><c_33>']
    >>> format.parse(['<a_12><b_5><c_33>'])
    array([[12,  5, 33]], dtype=uint32)

    Parameters
    ----------
    style
        `"plain"` 12-5-33, `"lc-rec"` <a_12><b_5><c_33>, `"openonerec"` <|sid_begin|><s_a_12>…<|sid_end|>, `"sem"`
        [SEM_START][SEM_0_12]…[SEM_END], `"animind"` <L1_12> <L2_5> <L3_33>.
    codebooks
        The codec that made the codes, or the codewords of each level.
    token, separator, begin, end, first, cumulative
        Parts of the style to replace: a code's token, with {code} and perhaps {level}, {level1} or {letter}; what stands between,
        before and after; the number of a level's first codeword; numbers that go on from level to level.
    counter
        The last number of an ID counts items on the same codes, and is left out where it is 0.
    """

    def __init__(
        self,
        style: Style,
        codebooks: Codec | Sequence[int],
        *,
        token: str | None = None,
        separator: str | None = None,
        begin: str | None = None,
        end: str | None = None,
        first: int | None = None,
        cumulative: bool | None = None,
        counter: bool = False,
    ) -> None:
        given = {"token": token, "separator": separator, "begin": begin, "end": end, "first": first, "cumulative": cumulative}
        parts = json.dumps({name: value for name, value in given.items() if value is not None})
        self._made = (style, parts, _sizes(codebooks), bool(counter))
        self._inner = _sememe.Format(*self._made)

    @property
    def width(self) -> int:
        """Numbers of an ID: its codes, and a counter if there is one."""
        return self._inner.width

    def write(self, codes: _codes.CodesLike) -> list[str]:
        """The texts of IDs `[n, width]`.

        Raises
        ------
        ShapeError, DataError
            For IDs of another width, and a code past its codebook.
        """
        return self._inner.write(_codes.read(codes))

    def parse(self, texts: Iterable[str]) -> _codes.Codes:
        """The IDs `[n, width]` of texts.

        Raises
        ------
        IdTextError
            For a text that is no ID, with the place where it parts from every one.
        """
        if isinstance(texts, str):
            texts = [texts]
        return self._inner.parse(list(texts))

    def tokens(self, codes: _codes.CodesLike) -> list[list[str]]:
        """The tokens of IDs `[n, width]`, with those that begin and end one."""
        return self._inner.tokens(_codes.read(codes))

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_format, self._made

    def __repr__(self) -> str:
        style, parts, sizes, counter = self._made
        more = "" if parts == "{}" else f", {parts}"
        return f"<sememe.Format {style}{more}: {sizes}{', counter' if counter else ''}>"


def _load_format(style: Style, parts: str, sizes: list[int], counter: bool) -> Format:
    return Format(style, sizes, counter=counter, **json.loads(parts))


class Tokens:
    """The tokens of a format's IDs by their numbers in a language model.

    Parameters
    ----------
    first_id
        The number of the first token: as many as the model's own vocabulary has.
    most_counter
        The highest counter that an ID has, where the format has one.
    special_tokens
        Further tokens, which come before those of codes.
    """

    def __init__(self, format: Format, *, first_id: int = 0, most_counter: int = 0, special_tokens: Sequence[str] = ()) -> None:
        self.format = format
        self._made = (whole("most_counter", most_counter), whole("first_id", first_id), list(special_tokens))
        self._inner = _sememe.Tokens(format._inner, *self._made)

    @property
    def tokens(self) -> list[str]:
        """All tokens, in the order of their numbers."""
        return self._inner.tokens

    @property
    def special_tokens(self) -> list[str]:
        """Those that are no codes; they come first."""
        return self._inner.special_tokens

    @property
    def end(self) -> int | None:
        """The number of the token after an ID, if the format has one."""
        return self._inner.end

    @property
    def embedding_rows(self) -> int:
        """Rows that the model's embedding needs."""
        return self._inner.embedding_rows

    def encode(self, codes: _codes.CodesLike) -> list[list[int]]:
        """The tokens' numbers of IDs `[n, width]`, with the one that begins an ID, without the one that ends it."""
        return self._inner.encode(_codes.read(codes))

    def decode(self, tokens: Iterable[Sequence[int]]) -> _codes.Codes:
        """The IDs `[n, width]` of what `encode` returned."""
        return self._inner.decode([[int(token) for token in one] for one in tokens])

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_tokens, (self.format, *self._made)


def _load_tokens(format: Format, most_counter: int, first_id: int, special_tokens: list[str]) -> Tokens:
    return Tokens(format, most_counter=most_counter, first_id=first_id, special_tokens=special_tokens)


@dataclasses.dataclass(frozen=True)
class Hit:
    """An ID that a search found."""

    id: tuple[int, ...]
    """Its tokens, without the end token."""
    rows: tuple[int, ...]
    """The rows of the items that it names, ascending."""
    score: float
    """The sum of its tokens' scores, the end token's included."""


Score = Callable[[list[list[int]], list[npt.NDArray[np.uint32]]], Iterable[npt.ArrayLike]]


class Trie:
    """All IDs over tokens: what may come next, so that a language model only ever writes IDs that exist.

    >>> trie = Trie.build([[7, 20, 30], [7, 20, 31], [8, 20, 30], [7, 20, 31]], end=2)
    >>> trie.allowed([7, 20]), trie.rows([7, 20, 31])
    ([30, 31], [1, 3])
    """

    __slots__ = ("_inner",)

    _inner: _sememe.Trie

    def __init__(self) -> None:
        raise TypeError("a trie comes from `Trie.build`, `Trie.of` or `Trie.load`")

    @classmethod
    def _of(cls, inner: _sememe.Trie) -> Self:
        made = cls.__new__(cls)
        made._inner = inner
        return made

    @classmethod
    def build(cls, ids: Iterable[Sequence[int]] | _codes.Codes, end: int) -> Self:
        """The trie of IDs in the order of their rows, each a sequence of tokens; `end` is the token that ends one."""
        listed = ids.tolist() if isinstance(ids, np.ndarray) else [[int(token) for token in one] for one in ids]
        return cls._of(_sememe.Trie.build(listed, whole("end", end)))

    @classmethod
    def of(cls, codes: _codes.CodesLike, tokens: Tokens, end: int | None = None) -> Self:
        """The trie of IDs `[n, width]` in a model's tokens; `end` is by default the token that the format ends IDs with.

        Raises
        ------
        SettingError
            If the format has no such token and none is given.
        """
        end = tokens.end if end is None else end
        if end is None:
            raise refused("end", "the format has no token that ends an ID; give the model's own, such as its end of text")
        return cls.build(tokens.encode(codes), end)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a trie that `save` or `sememe export` wrote."""
        return cls._of(_sememe.Trie.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the trie, whole or not at all."""
        self._inner.save(os.fspath(path))

    def verify(self) -> None:
        """Holds content and checksum to each other: O(its size)."""
        self._inner.verify()

    @property
    def end(self) -> int:
        """The token that ends an ID."""
        return self._inner.end

    @property
    def depth(self) -> int:
        """Tokens of the longest ID, without the one that ends it."""
        return self._inner.depth

    def __len__(self) -> int:
        """How many items the IDs name."""
        return self._inner.item_count

    def __contains__(self, prefix: object) -> bool:
        return isinstance(prefix, Iterable) and self._inner.knows([int(token) for token in prefix])

    def allowed(self, prefix: Iterable[int] = ()) -> list[int]:
        """The tokens that may follow a prefix, ascending, never none: after a whole ID and a prefix of no ID it is the end token."""
        return self._inner.allowed([int(token) for token in prefix])

    def rows(self, id: Iterable[int]) -> list[int]:
        """The rows of the items on an ID, ascending."""
        return self._inner.items([int(token) for token in id])

    def beam(self, width: int, score: Score) -> list[Hit]:
        """The best IDs that a beam of `width` prefixes finds, best first.

        `score(prefixes, allowed)` is called once a step and returns, for each prefix, the scores of the tokens that may follow it:
        log-probabilities, or anything where more is better. They add up along an ID.
        """

        def asked(prefixes: list[list[int]], allowed: list[npt.NDArray[np.uint32]]) -> list[npt.NDArray[np.float32]]:
            return [np.ascontiguousarray(one, dtype=np.float32) for one in score(prefixes, allowed)]

        found = self._inner.beam(whole("width", width, 1), asked)
        return [Hit(tuple(id), tuple(rows), score) for id, rows, score in found]

    def prefix_allowed_tokens_fn(self, prompt: int) -> Callable[[int, Any], list[int]]:
        """The function that `generate` of transformers asks; `prompt` is the number of tokens before the ID.

        A prompt that ends with the token that begins an ID has begun the ID already: pass one less.
        """
        allowed = self._inner.allowed

        def function(batch: int, sequence: Any) -> list[int]:
            tokens = sequence[prompt:]
            listed = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
            if self.end in listed:
                return [self.end]
            return allowed(listed)

        return function

    def read(self, sequence: Any, prompt: int) -> Hit | None:
        """The ID that a generated sequence holds after its prompt; nothing if it is none."""
        tokens = sequence[prompt:]
        listed = [int(token) for token in (tokens.tolist() if hasattr(tokens, "tolist") else tokens)]
        if self.end in listed:
            listed = listed[: listed.index(self.end)]
        rows = self._inner.items(listed)
        return Hit(tuple(listed), tuple(rows), 0.0) if rows else None

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return _load_trie, (self._inner.to_bytes(),)

    def __repr__(self) -> str:
        return f"<sememe.Trie: {len(self)} items, {self.depth} tokens deep, ended by {self.end}>"


def _load_trie(data: bytes) -> Trie:
    return Trie._of(_sememe.Trie.from_bytes(data))


@dataclasses.dataclass(frozen=True)
class Aligned:
    """A codec under an older one's names."""

    codec: Codec
    """The new codec, with its codewords in the order in which items keep their codes."""
    permutations: list[list[int]]
    """`[levels][k]`: what each codeword of the new codec is called now."""


def align(new: Codec, old: Codec, rows: _rows.RowsLike | None = None, *, device: Device = "auto", progress: Progress = None) -> Aligned:
    """Renames the codewords of a retrained codec so that items keep their codes.

    With `rows`, those whose IDs are in use, by how many of them two codewords share; without, by points that random IDs stand for.
    """
    held = None if rows is None else _rows.hold(rows)
    with telling(progress) as tell:
        codec, permutations = _sememe.align(new._inner, old._inner, held, device, tell)
    return Aligned(Codec._of(codec), permutations)


def churn(old: _codes.CodesLike, new: _codes.CodesLike) -> dict[str, Any]:
    """How many items' codes differ between two tables `[n, levels]` of the same items, depth by depth."""
    measures: dict[str, Any] = _sememe.measure_churn(_codes.read(old, "old"), _codes.read(new, "new"))
    return measures
