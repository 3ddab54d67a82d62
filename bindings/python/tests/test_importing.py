"""Codecs of other systems, in and out; fixtures that those systems made."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import sememe

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "crates" / "import" / "tests" / "fixtures"
pytestmark = pytest.mark.skipif(not FIXTURES.exists(), reason="the repository's fixtures are not there")


@pytest.fixture(scope="module")
def fixture_rows() -> np.ndarray:
    return np.load(FIXTURES / "rows.npy")


def test_basil(fixture_rows: np.ndarray) -> None:
    from sememe.compat.basil import BasilCodec

    made = sememe.import_from(FIXTURES / "basil")
    assert made.origin == "basil" and made.codec is not None and made.codes is None
    theirs = np.load(FIXTURES / "basil" / "codes.npy")
    assert (made.codec.encode(fixture_rows) == theirs).mean() > 0.99
    # The drop-in reads the original's folder as it is.
    codec = BasilCodec(FIXTURES / "basil")
    assert (np.array(codec.batch_encode(fixture_rows)) == theirs).mean() > 0.99


@pytest.mark.parametrize("name", ["kmeans", "rqvae", "plus", "batch-norm"])
def test_semantic_ids_folders(name: str, fixture_rows: np.ndarray) -> None:
    from sememe.compat.semantic_id import RQVAE, RQKMeans

    folder = FIXTURES / "semantic-id" / name
    made = (RQKMeans if name == "kmeans" else RQVAE).load(folder)
    theirs = np.load(FIXTURES / "semantic-id" / f"{name}.codes.npy")
    assert (made.encode(fixture_rows) == theirs).all(axis=1).mean() > 0.98, "but for ties that float32 decides"


def test_semantic_ids_engine(fixture_rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    import shutil

    from sememe.compat.semantic_id import SemanticIdEngine

    shutil.copytree(FIXTURES / "semantic-id" / "engine", tmp_path / "engine")
    engine = SemanticIdEngine.load(tmp_path / "engine")
    ids = engine.unique_ids(fixture_rows, keys=range(len(fixture_rows)))
    assert len(set(ids)) == len(ids) and engine.unique_ids(fixture_rows, keys=range(len(fixture_rows))) == ids


def test_there_and_back(plain: sememe.Codec, rows: np.ndarray, tmp_path: pathlib.Path) -> None:
    sememe.export_codec(plain, tmp_path / "books.npz", "numpy")
    back = sememe.import_from(tmp_path / "books.npz")
    assert back.origin == "numpy" and back.codec is not None and back.codebook_sizes == plain.codebook_sizes
    assert (back.codec.encode(rows) == plain.encode(rows)).all()
    sememe.export_codec(plain, tmp_path / "faiss.npz", "faiss")
    assert np.load(tmp_path / "faiss.npz")["rq_codebooks"].shape == (3, 8, 12)
    with pytest.raises(sememe.FileFormatError):
        sememe.export_codec(plain, tmp_path / "faiss.bin", "faiss")
    with pytest.raises(sememe.SettingError):
        sememe.export_codec(plain, tmp_path / "faiss.npz", "onnx")


@pytest.mark.parametrize("name", sorted(path.name for path in (FIXTURES / "hostile").iterdir()) if FIXTURES.exists() else [])
def test_hostile_files_are_refused_or_harmless(name: str) -> None:
    path = FIXTURES / "hostile" / name
    try:
        made = sememe.import_from(path)
    except sememe.SememeError as error:
        assert str(error)
    else:
        assert made.codec is not None or made.codes is not None


def test_what_it_is_not(tmp_path: pathlib.Path) -> None:
    with pytest.raises(sememe.SettingError, match="basil"):
        sememe.import_from(tmp_path, from_="nobody")
    with pytest.raises(sememe.SememeError):
        sememe.import_from(tmp_path / "none.npz")
