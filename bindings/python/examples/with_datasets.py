"""IDs for a Hugging Face data set, a column at a time."""

import datasets
import numpy as np

import sememe

draw = np.random.default_rng(0)
data = datasets.Dataset.from_dict(
    {"title": [f"item {row}" for row in range(1_000)], "vector": draw.normal(size=(1_000, 24)).astype(np.float32).tolist()}
)

# Its table is Arrow's: `data` is the table, in which vectors are lists of float32 or float64.
codec = sememe.Codec.train(data.data.table, column="vector", levels=3, codebook_size=16)


def encode(batch):
    codes = codec.encode(np.asarray(batch["vector"], dtype=np.float32))
    return {"codes": codes.tolist()}


data = data.map(encode, batched=True, batch_size=256)
print(data[0]["title"], data[0]["codes"])
