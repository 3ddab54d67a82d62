"""From vectors to one ID an item, kept for good."""

import pathlib
import tempfile

import numpy as np

import sememe

draw = np.random.default_rng(0)
topics = draw.normal(size=(50, 64)) * 3
vectors = (topics[draw.integers(0, 50, 5_000)] + draw.normal(size=(5_000, 64))).astype(np.float32)
keys = [f"item-{row}" for row in range(len(vectors))]

codec = sememe.Codec.train(vectors, levels=3, codebook_size=64)
print(codec)
print(sememe.evaluate(codec, vectors, queries=200))

with tempfile.TemporaryDirectory() as folder:
    store = sememe.SqliteStore(pathlib.Path(folder) / "ids.sqlite", codec)
    ids = sememe.assign(codec, vectors, keys, store).ids
    texts = sememe.Format("lc-rec", codec, counter=True).write(ids)
    print(keys[0], "is", texts[0])
    print("beside it:", [key for key, _ in store.with_prefix(ids[0, :2].tolist(), most=5)])
