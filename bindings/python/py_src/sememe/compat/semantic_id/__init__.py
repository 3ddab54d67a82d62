"""semantic-id's names over this library: `from sememe.compat.semantic_id import RQKMeans, SemanticIdEngine`.

Submodules have the original's names too, so `semantic_id` may be replaced by `sememe.compat.semantic_id` in imports. What is better here:
codes are the same on every device, balance survives encoding, and an item that is asked for twice keeps its ID.
"""

from __future__ import annotations

from .algorithms.rq_kmeans import RQKMeans
from .algorithms.rq_vae import RQVAE
from .engine import SemanticIdEngine
from .evaluation import evaluate
from .exceptions import NotFittedError, SemanticIdError, ShapeMismatchError
from .uniqueness.resolver import UniqueIdResolver
from .uniqueness.stores import CollisionStore, InMemoryCollisionStore, SQLiteCollisionStore

__all__ = [
    "CollisionStore",
    "InMemoryCollisionStore",
    "NotFittedError",
    "RQKMeans",
    "RQVAE",
    "SQLiteCollisionStore",
    "SemanticIdEngine",
    "SemanticIdError",
    "ShapeMismatchError",
    "UniqueIdResolver",
    "evaluate",
]
