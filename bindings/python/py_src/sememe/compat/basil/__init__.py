"""BASIL's names over this library: `from sememe.compat.basil import BasilCodec, BasilTrainer, Preprocessor`."""

from __future__ import annotations

from .codec import BasilCodec
from .config import PreprocessConfig, TrainerConfig
from .preprocess import Preprocessor
from .trainer import BasilTrainer

__all__ = ["BasilCodec", "BasilTrainer", "PreprocessConfig", "Preprocessor", "TrainerConfig"]
