"""Semantic IDs over the machines of a Spark session: fit, encode, unique IDs, measures. Here the session is this machine."""

import os
import sys
import tempfile

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from sememe import spark

# Workers run this Python, which has the package.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
session.sparkContext.setLogLevel("ERROR")

draw = np.random.default_rng(0)
vectors = draw.normal(size=(2_000, 32)).astype(np.float32)
table = pa.table({"item": [f"item-{row}" for row in range(2_000)], "embedding": pa.array(list(vectors), pa.list_(pa.float32()))})
# A fit reads all rows some dozen times: persisted, they are read from memory.
frame = session.createDataFrame(table).repartition(4).persist()

codec = spark.fit(frame, "embedding", levels=3, codebook_size=32, iterations=5, seed=0)
spark.encode(frame, codec, "embedding").select("item", "codes").show(3)
print(spark.evaluate(frame, codec, "embedding"))

with tempfile.TemporaryDirectory() as folder:
    named = spark.assign(frame.limit(1_500), codec, "embedding", "item", ids=f"{folder}/ids")
    print(named.select("id").distinct().count(), "IDs")
    # Later, with more items: those that have an ID keep it.
    named = spark.assign(frame, codec, "embedding", "item", ids=f"{folder}/ids")
    print(named.select("id").distinct().count(), "IDs")
session.stop()
