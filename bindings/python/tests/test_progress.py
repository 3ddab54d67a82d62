"""The bar, and when there is one."""

from __future__ import annotations

import io

import pytest

from sememe import _progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    with _progress.telling(None) as tell:
        assert tell is not None
        tell({"kind": "phase", "name": "train", "total": 100, "unit": "rows"})
        tell.drawn = 0.0
        tell({"kind": "advance", "done": 50})
        tell({"kind": "note", "text": "something to know"})
        tell({"kind": "level", "level": 0, "iterations": 7, "r2": 0.5})
        tell.drawn = 0.0
        tell({"kind": "advance", "done": 60})
    text = out.getvalue()
    assert "50/100 rows" in text and "something to know" in text and "level 1: 7 iterations, R² 0.5000" in text
    assert text.endswith("\r"), "the last line is cleared"


def test_no_bar_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with _progress.telling(None) as tell:
        assert tell is None
    monkeypatch.setattr("sys.stderr", Terminal())
    with _progress.telling(False) as tell:
        assert tell is None
    mine: list[dict] = []
    with _progress.telling(mine.append) as tell:
        assert tell == mine.append
