"""Progress: a callback of one's own, or a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

Event = dict[str, Any]
Progress = bool | Callable[[Event], object] | None

_WIDTH = 28


class _Bar:
    """One line on a terminal, drawn anew at most ten times a second."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.name, self.unit, self.more = "", "", ""
        self.total: int | None = None
        self.done = 0
        self.began = 0.0
        # What is over at once is not worth a bar.
        self.drawn = time.monotonic() + 0.2
        self.length = 0

    def __call__(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "phase":
            self.name, self.total, self.unit = event["name"], event["total"], event["unit"]
            self.done, self.more, self.began = 0, "", time.monotonic()
        elif kind == "advance":
            self.done = event["done"]
        elif kind == "iteration":
            self.more = f"level {event['level'] + 1}, iteration {event['iteration']}"
        elif kind == "level":
            self.line(f"level {event['level'] + 1}: {event['iterations']} iterations, R² {event['r2']:.4f}")
        elif kind == "refined":
            self.more = f"round {event['round']}, R² {event['r2']:.4f}"
        elif kind == "epoch":
            health = event.get("health")
            figures = f", R² {health['r2']:.4f}" if health else ""
            self.line(f"epoch {event['epoch']}: loss {event['losses']['total']:.4g}{figures}")
        elif kind == "recommender_epoch":
            ndcg = event.get("validation_ndcg_at_10")
            looked = "" if ndcg is None else f", validation NDCG@10 {ndcg:.4f}{', the best so far' if event['best'] else ''}"
            self.line(f"epoch {event['epoch']} of {event['epochs']}: loss {event['loss']:.3f}{looked}")
        elif kind == "run":
            said = event.get("summary") or event.get("why") or ""
            self.line(f"{event['phase']}: {event['state']}{', ' + said if said else ''}")
        elif kind == "note":
            self.line(event["text"])
        now = time.monotonic()
        if now - self.drawn >= 0.1:
            self.drawn = now
            self.draw()

    def draw(self) -> None:
        parts = [self.name]
        if self.total:
            share = min(self.done / self.total, 1.0)
            full = int(share * _WIDTH)
            parts.append(f"[{'=' * full}{' ' * (_WIDTH - full)}] {self.done:,}/{self.total:,} {self.unit}")
            elapsed = time.monotonic() - self.began
            if 0 < share < 1 and elapsed > 1:
                parts.append(f"{elapsed * (1 / share - 1):.0f} s left")
        elif self.done:
            parts.append(f"{self.done:,} {self.unit}")
        if self.more:
            parts.append(self.more)
        self.put("  ".join(parts))

    def put(self, text: str) -> None:
        self.out.write("\r" + text.ljust(self.length))
        self.out.flush()
        self.length = len(text)

    def line(self, text: str) -> None:
        self.put(text)
        self.out.write("\n")
        self.length = 0

    def close(self) -> None:
        if self.length:
            self.put("")
            self.out.write("\r")
            self.out.flush()


@contextlib.contextmanager
def telling(progress: Progress) -> Iterator[Callable[[Event], object] | None]:
    """What is called with every event: the caller's function, a bar if stderr is a terminal and nothing else is asked for, or nothing."""
    if callable(progress):
        yield progress
        return
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield None
        return
    bar = _Bar(sys.stderr)
    try:
        yield bar
    finally:
        bar.close()
