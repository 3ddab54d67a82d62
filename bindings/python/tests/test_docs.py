"""The page of the book and the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import re

import pytest

import sememe

PAGES = [pathlib.Path(__file__).resolve().parents[3] / "docs" / "python.md", pathlib.Path(__file__).resolve().parents[1] / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page(page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not page.exists():
        pytest.skip(f"{page} is not there")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    space: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), space)


@pytest.mark.parametrize("module", ["sememe", "sememe.codec", "sememe.ids", "sememe.sklearn"])
def test_docstrings(module: str) -> None:
    if module.endswith("sklearn"):
        pytest.importorskip("sklearn")
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted and not results.failed


def test_all_that_is_public_is_described() -> None:
    for name in sememe.__all__:
        what = getattr(sememe, name)
        if callable(what):
            assert (what.__doc__ or "").strip(), name


def test_nothing_heavy_is_imported() -> None:
    import subprocess
    import sys

    code = "import sys, sememe; print([m for m in ('sklearn', 'pandas', 'torch', 'pyarrow', 'scipy', 'pyspark', 'ray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

