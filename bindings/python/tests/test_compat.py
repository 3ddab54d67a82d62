"""The snippets of other libraries' pages, as they stand there but for the import."""

from __future__ import annotations

import json
import pathlib
import sqlite3

import numpy as np
import pytest

import sememe

SEMANTIC_ID = [
    '''
import numpy as np
from semantic_id.algorithms.rq_kmeans import RQKMeans

# 1. Generate some dummy data (100 vectors, 16 dimensions)
X = np.random.randn(100, 16)

# 2. Initialize the model
# We'll use 3 levels with 10 clusters each.
# This means our IDs will look like "X-Y-Z" where numbers are 0-9.
model = RQKMeans(n_levels=3, n_clusters=10, random_state=42)

# 3. Train the model
model.fit(X)

# 4. Generate Semantic IDs
# This converts vectors -> codes -> strings
codes = model.encode(X)     # shape (100, 3)
sids = model.semantic_id(codes)

print(f"Vector: {X[0][:3]}...")
print(f"Semantic ID: {sids[0]}")  # Output: e.g., "3-9-1"
''',
    '''
device = "cuda" # or "mps" for Mac, or "cpu"

model = RQKMeans(n_levels=3, n_clusters=10)
model.fit(X, device=device)
codes = model.encode(X, device=device)
''',
    '''
from semantic_id.engine import SemanticIdEngine
from semantic_id.algorithms.rq_kmeans import RQKMeans
from semantic_id.uniqueness.resolver import UniqueIdResolver
from semantic_id.uniqueness.stores import SQLiteCollisionStore

# Setup the algorithm
encoder = RQKMeans(n_levels=3, n_clusters=10)

# Setup the persistence (saves collision counts to a file)
store = SQLiteCollisionStore("collisions.db")
resolver = UniqueIdResolver(store=store)

# Create the engine
engine = SemanticIdEngine(encoder=encoder, unique_resolver=resolver)

# Train and Get Unique IDs
engine.fit(X)
unique_ids = engine.unique_ids(X)

print(unique_ids[0]) # e.g., "3-9-1"
# If another item has code (3, 9, 1), it becomes "3-9-1-1" automatically!
''',
    '''
from semantic_id.algorithms.rq_vae import RQVAE

model = RQVAE(
    in_dim=16,                # Input dimension of your vectors
    num_emb_list=[32, 32, 32], # 32 clusters per level
    e_dim=16,                 # Codebook dimension
    layers=[32, 16],          # Hidden layers
    device="cpu"
)

model.fit(X)
ids = model.semantic_id(model.encode(X))
''',
    '''
from semantic_id import evaluate

codes = model.encode(X)
metrics = evaluate(X, codes, encoder=model)
print(metrics)
''',
    '''
codes = model.encode(X)

# Standard format (default)
plain_ids = model.semantic_id(codes)               # ["3-9-1", "0-5-7", ...]

# Token format for LLMs
token_ids = model.semantic_id(codes, fmt="token")   # ["<a_3><b_9><c_1>", ...]
''',
    '''
# Custom format for your LLM
def my_llm_format(codes):
    return "".join(f"[item_L{i}_{c}]" for i, c in enumerate(codes))

ids = model.semantic_id(codes, formatter=my_llm_format)
# ["[item_L0_3][item_L1_9][item_L2_1]", ...]

# Works through the engine too
engine = SemanticIdEngine(encoder=model)
engine.fit(X)
uids = engine.unique_ids(X, formatter=my_llm_format)
''',
    '''
db_keys = [f"SKU{row:03}" for row in range(100)]
uids = engine.unique_ids(X, item_ids=db_keys)
# Collisions become "3-9-1-SKU042" instead of "3-9-1-1"

# Custom separator for the suffix too
uids = engine.unique_ids(X, item_ids=db_keys, sep="/")
# "3/9/1/SKU042"
''',
    '''
model = RQKMeans(
    n_levels=3,
    n_clusters=10,
    implementation="constrained",  # balanced clusters
    random_state=42
)
model.fit(X)
''',
    '''
# Save a single encoder
model.save("my_model")
loaded = RQKMeans.load("my_model")

# Save the full engine (encoder + collision store)
engine.save("my_engine")
loaded_engine = SemanticIdEngine.load("my_engine")
''',
]

BASIL = [
    '''
import numpy as np

# Save your embeddings
embeddings = np.random.randn(10000, 768)  # Your [N, D] embeddings
np.savez_compressed("embeddings.npz", embeddings=embeddings)
''',
    '''
from basil import BasilTrainer, Preprocessor
from basil.config import PreprocessConfig, TrainerConfig

# Configure
preprocess_cfg = PreprocessConfig(variance_to_keep=0.95, dim_pca_max=256)
trainer_cfg = TrainerConfig(levels=3, k_per_level=1024, max_iters=20)

# Train
preprocessor = Preprocessor(preprocess_cfg)
trainer = BasilTrainer(preprocessor, trainer_cfg)
trainer.fit(embeddings)
trainer.save("my_artifacts")

# Use
from basil import BasilCodec
codec = BasilCodec("my_artifacts")
''',
    '''
# Encode embedding to semantic ID
embedding = np.random.randn(768)
sid = codec.encode(embedding)
print(f"Semantic ID: {sid}")  # e.g., [42, 156, 789]

# Decode back to embedding
decoded = codec.decode(sid)
print(f"Shape: {decoded.shape}")  # (768,)

# Batch operations
embeddings = np.random.randn(1000, 768)
sids = codec.batch_encode(embeddings)
decoded_batch = codec.batch_decode(sids)
''',
]


def moved(snippet: str, name: str) -> str:
    """The snippet with the import replaced."""
    return snippet.replace(f"from {name}", f"from sememe.compat.{name}")


@pytest.mark.filterwarnings("ignore:there is no GPU")
def test_semantic_ids_snippets_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)
    space: dict = {}
    for snippet in SEMANTIC_ID:
        exec(moved(snippet, "semantic_id"), space)
        if "unique_ids = " in snippet:
            ids = space["unique_ids"]
            assert len(set(ids)) == len(ids) == 100
            assert space["engine"].unique_ids(space["X"]) == ids, "an item asked twice keeps its ID"
            assert space["engine"].unique_ids(space["X"][::-1]) == ids[::-1]
        if "RQVAE(" in snippet:
            assert len(space["model"].history_["loss"]) == 100 and len(set(space["ids"])) > 10
        if "evaluate(" in snippet:
            assert space["metrics"]["n_samples"] == 100 and -1 <= space["metrics"]["distance_correlation"] <= 1
            assert space["metrics"]["quantization_mse"] > 0 and 0 <= space["metrics"]["recall_at_10"] <= 1
        if "item_ids" in snippet or "my_llm_format" in snippet:
            assert len(set(space["uids"])) == 100
        if "constrained" in snippet:
            codes = space["model"].encode(space["X"])
            assert np.bincount(codes[:, 0], minlength=10).max() <= 11
    assert (space["loaded"].encode(space["X"]) == space["model"].encode(space["X"])).all()
    assert np.load("my_model/codebooks.npz")["codebook_0"].shape == (10, 16)


def test_basils_snippets_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)
    space: dict = {}
    for snippet in BASIL:
        exec(moved(snippet, "basil"), space)
    assert space["decoded"].shape == (768,) and len(space["sid"]) == 3
    assert len(space["sids"]) == 1000 and space["decoded_batch"].shape == (1000, 768)
    kept = np.load("my_artifacts/basil.npz")
    assert kept["codebooks/C1"].shape == (1024, 256) and kept["preprocess/components"].shape == (256, 768)
    # The original's own way to encode finds the same codes, but for ties that float32 decides.
    rows = space["embeddings"].astype(np.float32)[:200]
    left = ((rows - kept["preprocess/mean"]) @ kept["preprocess/components"].T) * kept["preprocess/scales"]
    first = ((left[:, None] - kept["codebooks/C1"]) ** 2).sum(axis=2).argmin(axis=1)
    assert (first == np.array(space["sids"])[:200, 0]).mean() > 0.98


def test_an_older_file_of_counters_goes_on(tmp_path: pathlib.Path) -> None:
    from sememe.compat.semantic_id import SQLiteCollisionStore, UniqueIdResolver

    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("CREATE TABLE collisions (key TEXT PRIMARY KEY, count INTEGER DEFAULT 0)")
        database.execute("INSERT INTO collisions VALUES ('1-2', 3)")
    resolver = UniqueIdResolver(SQLiteCollisionStore(tmp_path / "old.db"))
    assert resolver.assign(["1-2", "1-3", "1-2"], ["a", "b", "c"]) == ["1-2-3", "1-3", "1-2-4"]
    assert resolver.assign(["9-9"], ["a"]) == ["1-2-3"], "an item whose vector changed keeps its ID"
    assert resolver.assign(["1-3", "1-3"]) == ["1-3-1", "1-3-2"], "without keys every text is a new item"


def test_engines_are_kept(tmp_path: pathlib.Path) -> None:
    from sememe.compat.semantic_id import CollisionStore, RQKMeans, SemanticIdEngine, SQLiteCollisionStore, UniqueIdResolver

    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    engine = SemanticIdEngine(RQKMeans(2, 5, random_state=1), UniqueIdResolver(SQLiteCollisionStore(tmp_path / "c.db"))).fit(rows)
    ids = engine.unique_ids(rows, keys=range(60))
    engine.save(tmp_path / "engine")
    loaded = SemanticIdEngine.load(tmp_path / "engine")
    assert loaded.unique_ids(rows, keys=range(60)) == ids
    assert json.loads((tmp_path / "engine" / "engine_meta.json").read_text())["encoder_type"] == "RQKMeans"

    class Own(CollisionStore):
        def __init__(self) -> None:
            self.counts: dict[str, int] = {}

        def next_suffix(self, key: str) -> int:
            self.counts[key] = self.counts.get(key, -1) + 1
            return self.counts[key]

    own = SemanticIdEngine(engine.encoder, UniqueIdResolver(Own()))
    assert len(set(own.unique_ids(rows))) == 60 and own.unique_ids(rows) == own.unique_ids(rows)


def test_rq_kmeans_plus_and_refusals(tmp_path: pathlib.Path) -> None:
    from sememe.compat.semantic_id import RQVAE, NotFittedError, RQKMeans

    rows = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    RQKMeans(3, 8, random_state=1).fit(rows).save(tmp_path / "start")
    plus = RQVAE(in_dim=16, num_emb_list=[8, 8, 8], e_dim=16, layers=[16], epochs=2, random_state=1)
    plus.fit(rows, pretrained_codebook_path=tmp_path / "start" / "codebooks.npz")
    assert plus.codec.codebook_sizes == (8, 8, 8)
    plus.save(tmp_path / "plus")
    assert (RQVAE.load(tmp_path / "plus").encode(rows) == plus.encode(rows)).all()
    with pytest.raises(NotFittedError):
        RQKMeans().encode(rows)
    with pytest.raises(NotImplementedError, match="bn"):
        RQVAE(bn=True)
    with pytest.raises(sememe.ShapeError, match="in_dim"):
        RQVAE(in_dim=5).fit(rows)
    with pytest.raises(ValueError, match="n_clusters"):
        RQKMeans(3, [4, 4])
    model = RQKMeans(2, 4, metric="cosine", random_state=0).fit(rows)
    assert model.semantic_id(model.encode(rows), fmt="token")[0].startswith("<a_")
    assert model.semantic_id([[1, 2]], sep="/") == ["1/2"]
