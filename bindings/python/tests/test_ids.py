"""IDs, texts, tokens, tries, stores, measures, alignment."""

from __future__ import annotations

import multiprocessing
import pathlib
import pickle
import shutil
import socket
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from conftest import made_rows

import sememe


@pytest.fixture(scope="module")
def codes(rows: np.ndarray, plain: sememe.Codec) -> np.ndarray:
    return plain.encode(rows)


@pytest.fixture(scope="module")
def keys(rows: np.ndarray) -> list[str]:
    return [f"item-{row:04}" for row in range(len(rows))]


def test_every_kind_resolves(codec: sememe.Codec, rows: np.ndarray, keys: list[str]) -> None:
    codes = codec.encode(rows)
    suffixed = sememe.resolve(codes, keys)
    assert suffixed.ids.shape == (len(rows), 4) and len(np.unique(suffixed.ids, axis=0)) == len(rows)
    assert (suffixed.ids[:, :3] == codes).all()
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = sememe.resolve(codes[order], [keys[at] for at in order])
    assert (shuffled.ids == suffixed.ids[order]).all(), "the order of the rows changes nothing"
    few, some = rows[:100], codes[:100]
    if codec.metric == "cosine" or codec.manifest.get("normalize_residuals"):
        with pytest.raises(sememe.SettingError, match="`codec`"):
            sememe.resolve(some, keys[:100], policy="relocate", codec=codec, rows=few)
        return
    moved = sememe.resolve(some, keys[:100], policy="relocate", codec=codec, rows=few, capacity=2)
    assert max(Counter(map(tuple, moved.ids.tolist())).values()) <= 2
    assert moved.cost["squared_l2_after"] >= moved.cost["squared_l2_before"]


def test_resolving_is_refused(codes: np.ndarray, keys: list[str], plain: sememe.Codec, rows: np.ndarray) -> None:
    with pytest.raises(sememe.DataError):
        sememe.resolve(codes, keys, policy="error")
    with pytest.raises(sememe.DataError, match="item-0000"):
        sememe.resolve(codes, ["item-0000"] * len(codes))
    with pytest.raises(sememe.ShapeError):
        sememe.resolve(codes, keys[:-1])
    with pytest.raises(sememe.SettingError, match="`policy`"):
        sememe.resolve(codes, keys, policy="relocate")
    with pytest.raises(sememe.SettingError, match="`rows`"):
        sememe.resolve(codes, keys, rows=rows)
    with pytest.raises(sememe.RowTypeError, match="item 0"):
        sememe.resolve(codes, [None] * len(codes))
    assert sememe.resolve(codes, range(len(codes))).cost["items"] == len(codes)


@pytest.mark.parametrize("style", ["plain", "lc-rec", "openonerec", "sem", "animind"])
def test_texts_are_read_back_exactly(style: str, codes: np.ndarray, plain: sememe.Codec, keys: list[str]) -> None:
    format = sememe.Format(style, plain)
    texts = format.write(codes)
    assert (format.parse(texts) == codes).all()
    assert pickle.loads(pickle.dumps(format)).write(codes[:3]) == texts[:3]
    counted = sememe.resolve(codes, keys).ids
    with_counter = sememe.Format(style, plain, counter=True)
    assert (with_counter.parse(with_counter.write(counted)) == counted).all()
    if style == "plain":
        with pytest.raises(sememe.SettingError, match="`token`"):
            sememe.Tokens(with_counter)
        return
    tokens = sememe.Tokens(with_counter, first_id=1000, most_counter=int(counted[:, -1].max()), special_tokens=["[REC]"])
    numbers = tokens.encode(counted)
    assert (tokens.decode(numbers) == counted).all()
    assert min(min(one) for one in numbers) >= 1000 and max(max(one) for one in numbers) < tokens.embedding_rows
    assert "[REC]" in tokens.special_tokens and len(tokens.tokens) + 1000 == tokens.embedding_rows
    assert pickle.loads(pickle.dumps(tokens)).encode(counted[:5]) == numbers[:5]


def test_a_spelling_of_ones_own() -> None:
    format = sememe.Format("plain", [256, 256], token="L{level1}.{code}", separator="/", first=1)
    assert format.write([[0, 5]]) == ["L1.1/L2.6"]
    assert format.parse("L1.1/L2.6").tolist() == [[0, 5]]
    with pytest.raises(sememe.IdTextError, match="character") as caught:
        format.parse(["L1.1/L2.x"])
    assert caught.value.text == "L1.1/L2.x" and caught.value.column > 5
    with pytest.raises(sememe.SettingError, match="`style`.*lc-rec"):
        sememe.Format("lcrec", [256])
    with pytest.raises(sememe.DataError):
        format.write([[0, 256]])


def test_the_trie(codes: np.ndarray, plain: sememe.Codec, tmp_path: pathlib.Path) -> None:
    tokens = sememe.Tokens(sememe.Format("openonerec", plain), first_id=100)
    trie = sememe.Trie.of(codes, tokens)
    ids = tokens.encode(codes)
    assert len(trie) == len(codes) and trie.end == tokens.end and trie.depth == len(ids[0])
    assert trie.allowed() == sorted({one[0] for one in ids})
    for row in (0, 17, 599):
        assert row in trie.rows(ids[row]) and ids[row][:2] in trie and trie.allowed(ids[row]) == [trie.end]
    assert [1, 2, 3] not in trie and trie.rows([1, 2, 3]) == []
    trie.save(tmp_path / "ids.trie")
    again = sememe.Trie.load(tmp_path / "ids.trie")
    again.verify()
    assert again.allowed(ids[3][:2]) == trie.allowed(ids[3][:2]) == pickle.loads(pickle.dumps(trie)).allowed(ids[3][:2])
    with pytest.raises(sememe.SettingError, match="`end`"):
        sememe.Trie.of(codes, sememe.Tokens(sememe.Format("lc-rec", plain)))

    def score(prefixes, allowed):
        return [np.log(1.0 / (1.0 + one.astype(np.float64))) for one in allowed]

    hits = trie.beam(5, score)
    assert 1 <= len(hits) <= 5 and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(list(hit.id) in [list(one) for one in ids] and hit.rows for hit in hits)
    for wrong in (lambda p, a: [], lambda p, a: [one[:0] for one in a], lambda p, a: [np.full(len(one), np.nan) for one in a]):
        with pytest.raises(ValueError):
            trie.beam(2, wrong)
    with pytest.raises(ZeroDivisionError):
        trie.beam(2, lambda p, a: 1 // 0)


def test_constrained_generation(codes: np.ndarray, plain: sememe.Codec) -> None:
    tokens = sememe.Tokens(sememe.Format("openonerec", plain))
    trie = sememe.Trie.of(codes, tokens)
    allowed = trie.prefix_allowed_tokens_fn(prompt=2)
    sequence = [7, 7]
    draw = np.random.default_rng(3)
    while sequence[-1] != trie.end:
        sequence.append(int(draw.choice(allowed(0, np.array(sequence)))))
    hit = trie.read(sequence, 2)
    assert hit is not None and hit.rows and allowed(0, np.array([*sequence, 5])) == [trie.end]
    assert trie.read([7, 7, 1], 2) is None


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory):
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server")
    place = tmp_path_factory.mktemp("redis") / "redis.sock"
    child = subprocess.Popen([server, "--port", "0", "--unixsocket", str(place), "--save", "", "--dir", str(place.parent)], stdout=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.socket(socket.AF_UNIX).connect(str(place))
            break
        except OSError:
            time.sleep(0.05)
    yield f"unix://{place}"
    child.terminate()
    child.wait()


class DictStore(sememe.Store):
    """A store of one's own, over the rules of the one in memory."""

    def __init__(self, codec: sememe.Codec) -> None:
        self.rules = sememe.MemoryStore(codec)
        self.saved = b""

    codec_hash = property(lambda self: self.rules.codec_hash)
    levels = property(lambda self: self.rules.levels)

    def assign(self, keys, codes, *, reuse_deleted=False):
        made = self.rules.assign(keys, codes, reuse_deleted=reuse_deleted)
        self.saved = self.rules.to_bytes()
        return made

    def get(self, keys):
        return self.rules.get(keys)

    def with_prefix(self, prefix=(), most=100):
        return self.rules.with_prefix(prefix, most)

    def delete(self, keys):
        return self.rules.delete(keys)

    def __len__(self):
        return len(self.rules)


@pytest.fixture(params=["memory", "sqlite", "redis", "own"])
def store(request: pytest.FixtureRequest, plain: sememe.Codec, tmp_path: pathlib.Path):
    if request.param == "memory":
        return sememe.MemoryStore(plain)
    if request.param == "own":
        return DictStore(plain)
    if request.param == "sqlite":
        return sememe.SqliteStore(tmp_path / "ids.sqlite", plain)
    url = request.getfixturevalue("redis_url")
    return sememe.RedisStore(url, plain)


def test_an_item_keeps_its_id(store: sememe.Store, plain: sememe.Codec, rows: np.ndarray, keys: list[str]) -> None:
    first = sememe.assign(plain, rows, keys, store, batch_items=70)
    assert first.new.all() and not first.drifted.any() and len(store) == len(rows)
    assert len(np.unique(first.ids, axis=0)) == len(rows) and (first.ids[:, :3] == plain.encode(rows)).all()
    again = sememe.assign(plain, rows[::-1], keys[::-1], store)
    assert not again.new.any() and (again.ids[::-1] == first.ids).all()
    moved = rows.copy()
    moved[5] = rows[6] + 100
    drifted = sememe.assign(plain, moved, keys, store)
    assert drifted.drifted[5] and (drifted.ids == first.ids).all()
    assert store.get([keys[3], "nobody"]) == [tuple(first.ids[3].tolist()), None]
    assert keys[3] in store and "nobody" not in store
    prefix = first.ids[3, :2].tolist()
    assert keys[3] in [key for key, _ in store.with_prefix(prefix, 1000)] and len(store.with_prefix([], 7)) == 7
    assert store.delete([keys[3], "nobody"]) == 1 and len(store) == len(rows) - 1
    renewed = store.assign([keys[3]], first.ids[3:4, :3])
    assert renewed.new.all() and tuple(renewed.ids[0]) != tuple(first.ids[3])
    store.delete([keys[3]])
    assert tuple(store.assign(["late"], first.ids[3:4, :3], reuse_deleted=True).ids[0]) in (tuple(first.ids[3]), tuple(renewed.ids[0]))
    store.delete(keys + ["late"])


def test_stores_refuse(plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path, keys: list[str]) -> None:
    store = sememe.SqliteStore(tmp_path / "ids.sqlite", plain)
    other = sememe.Codec.train(rows, levels=3, codebook_size=8, seed=99)
    with pytest.raises(sememe.StoreError, match=other.content_hash):
        sememe.SqliteStore(tmp_path / "ids.sqlite", other)
    with pytest.raises(sememe.StoreError, match=other.content_hash):
        sememe.assign(other, rows, keys, store)
    with pytest.raises(sememe.StoreError):
        sememe.SqliteStore(tmp_path / "none.sqlite")
    with pytest.raises(sememe.DataError, match="same key"):
        sememe.assign(plain, rows[:2], ["a", "a"], store)
    with pytest.raises(sememe.ShapeError, match="keys"):
        sememe.assign(plain, rows[:2], ["a"], store)
    with pytest.raises(sememe.ShapeError):
        store.assign(["a"], [[1, 2]])
    assert len(store) == 0
    with pytest.raises(TypeError):
        sememe.Store()


def _assign_some(store: sememe.SqliteStore, codes: np.ndarray, keys: list[str]) -> list[tuple[int, ...]]:
    return [tuple(one) for one in store.assign(keys, codes).ids.tolist()]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_share_a_store(plain: sememe.Codec, codes: np.ndarray, keys: list[str], tmp_path: pathlib.Path, how: str) -> None:
    store = sememe.SqliteStore(tmp_path / "ids.sqlite", plain)
    parts = [(store, codes[at::4], keys[at::4]) for at in range(4)]
    with multiprocessing.get_context(how).Pool(4) as pool:
        given = pool.starmap_async(_assign_some, parts).get(timeout=120)
    assert len({one for part in given for one in part}) == len(keys) == len(store)


def test_evaluate(plain: sememe.Codec, rows: np.ndarray, codes: np.ndarray, tmp_path: pathlib.Path) -> None:
    made = sememe.evaluate(plain, rows, queries=50, report=tmp_path / "page.html", names=[f"n{i}" for i in range(len(rows))])
    back = plain.decode(codes)
    r2 = 1 - ((rows - back) ** 2).sum() / ((rows - rows.mean(axis=0)) ** 2).sum()
    assert abs(made["r2"] - r2) < 1e-4
    assert made["unique_ids"] == len(np.unique(codes, axis=0)) and str(made) == made.text and "collision" in made.text
    assert "n599" in (tmp_path / "page.html").read_text() or (tmp_path / "page.html").stat().st_size > 10_000
    table = sememe.evaluate(codes, codebook_size=8, queries=0)
    assert table["unique_ids"] == made["unique_ids"] and "r2" not in table.measures
    labelled = sememe.evaluate(codes, labels={"first": [str(one) for one in codes[:, 0]]}, histories=[[0, 5, 9], [9, 5, 7, 0]], queries=0)
    assert labelled["labels"][0]["levels"][0]["purity"] == 1.0 and labelled["behaviour"]["users"] == 2
    other = sememe.Codec.train(rows, levels=3, codebook_size=8, seed=50)
    both = sememe.evaluate(plain, rows, against=other, queries=0)
    assert both.comparison is not None and both.comparison["churn"]["rows"] == len(rows)
    with pytest.raises(sememe.SettingError, match="`rows`"):
        sememe.evaluate(plain)
    with pytest.raises(sememe.ShapeError):
        sememe.evaluate(codes[:5], rows, codec=plain)
    with pytest.raises(sememe.DataError):
        sememe.evaluate(codes, codebook_size=4)


def test_align_and_churn(plain: sememe.Codec, rows: np.ndarray) -> None:
    more = np.concatenate([rows, made_rows(50, seed=3)])
    new = sememe.Codec.train(more, levels=3, codebook_size=8, seed=77)
    before = sememe.churn(plain.encode(rows), new.encode(rows))
    aligned = sememe.align(new, plain, rows)
    after = sememe.churn(plain.encode(rows), aligned.codec.encode(rows))
    assert after["changed"] <= before["changed"] and after["levels"][0]["code_changed"] < before["levels"][0]["code_changed"]
    assert [sorted(order) for order in aligned.permutations] == [list(range(8))] * 3
    assert np.allclose(aligned.codec.decode(aligned.codec.encode(rows)), new.decode(new.encode(rows)))
    assert sememe.align(new, plain).codec.levels == 3
    assert aligned.codec.manifest["aligned_to"] == plain.content_hash
