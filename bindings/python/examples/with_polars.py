"""IDs as a column of a polars frame: vectors are read where polars keeps them."""

import numpy as np
import polars as pl

import sememe

draw = np.random.default_rng(0)
frame = pl.DataFrame(
    {
        "title": [f"item {row}" for row in range(2_000)],
        "vector": pl.Series(draw.normal(size=(2_000, 32)).astype(np.float32), dtype=pl.Array(pl.Float32, 32)),
    }
)

codec = sememe.Codec.train(frame, column="vector", levels=3, codebook_size=32)
codes = codec.encode(frame, column="vector")
format = sememe.Format("plain", codec)
frame = frame.with_columns(
    pl.Series("codes", codes, dtype=pl.Array(pl.UInt32, 3)),
    pl.Series("id", format.write(codes)),
)
print(frame.select("title", "codes", "id").head())
print(frame.group_by(pl.col("codes").arr.first().alias("first")).len().sort("len", descending=True).head())
