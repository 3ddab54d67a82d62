"""Texts, chats, whole runs, and the program."""

from __future__ import annotations

import http.server
import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import sememe


class Server(http.server.BaseHTTPRequestHandler):
    """Vectors by the lengths of texts."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = [{"index": at, "embedding": [len(text), 1.0, text.count("a")]} for at, text in enumerate(asked["input"])]
        body = json.dumps({"data": data, "model": asked["model"], "object": "list"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_texts_become_vectors(url: str) -> None:
    model = sememe.TextModel(url=url, model="lengths")
    texts = [f"a text of item {item}" for item in range(70)]
    vectors = model.embed(texts, prefix="q: ", batch_items=16)
    assert vectors.shape == (70, 3) and vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [len(text) + 3 for text in texts]
    assert np.allclose(np.linalg.norm(model.embed(texts[:3], normalize=True), axis=1), 1)
    with pytest.raises(sememe.DataError, match="text 1"):
        model.embed(["a", " "])
    with pytest.raises(sememe.SettingError, match="`model`"):
        sememe.TextModel(url=url)
    with pytest.raises(sememe.SettingError, match="`pooling`"):
        sememe.TextModel(url=url, model="m", pooling="mean")
    gone = sememe.TextModel(url="http://127.0.0.1:9/v1", model="m", retries=0, timeout=2)
    with pytest.raises(sememe.EndpointError) as caught:
        gone.embed(["a"])
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(sememe.SememeError, match="nowhere|not in this build"):
        sememe.TextModel(folder="nowhere")


CATALOGUE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "catalogue"


@pytest.mark.skipif(not CATALOGUE.exists(), reason="the repository's example is not there")
def test_a_whole_run_and_chats(tmp_path: pathlib.Path) -> None:
    told: list[dict] = []
    report = sememe.run(CATALOGUE / "sememe.toml", set={"output": tmp_path / "run"}, progress=told.append)
    assert all(phase["ran"] for phase in report["phases"])
    assert {event["phase"] for event in told if event["kind"] == "run"} >= {"prep", "train"}
    again = sememe.run(CATALOGUE / "sememe.toml", set={"output": tmp_path / "run"})
    assert not any(phase["ran"] for phase in again["phases"])
    with pytest.raises(sememe.SettingError, match="`phases`.*prep"):
        sememe.run(CATALOGUE / "sememe.toml", phases=["everything"])
    with pytest.raises(sememe.SememeError, match="levelz"):
        sememe.run(CATALOGUE / "sememe.toml", set={"train.levelz": 4})
    with pytest.raises(FileNotFoundError):
        sememe.run(tmp_path / "none.toml")


def test_chats(tmp_path: pathlib.Path) -> None:
    items = [{"id": f"i{row}", "title": f"Item {row}", "genre": "a" if row % 2 else "b"} for row in range(20)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    codes = np.array([[row % 4, row // 4] for row in range(20)])
    texts = sememe.Format("sem", [4, 5]).write(codes)
    (tmp_path / "ids.jsonl").write_text("".join(json.dumps({"id": item["id"], "semantic_id": text}) + "\n" for item, text in zip(items, texts)))
    report = sememe.write_dialogues(tmp_path / "chats", ids=tmp_path / "ids.jsonl", source=tmp_path / "items.jsonl", key="id")
    assert report["items"] == 20 and (tmp_path / "chats" / "train.jsonl").stat().st_size > 0
    with pytest.raises(sememe.SettingError):
        sememe.write_dialogues(tmp_path / "chats", idz="x")


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sememe", *arguments], capture_output=True, text=True, timeout=120)


def test_the_program(tmp_path: pathlib.Path, rows: np.ndarray) -> None:
    assert program("--version").stdout.strip() == f"sememe {sememe.__version__}"
    np.save(tmp_path / "rows.npy", rows)
    arguments = ("train", str(tmp_path / "rows.npy"), "-o", str(tmp_path / "c.safetensors"), "--levels", "2", "--codebook-size", "8", "--device", "cpu")
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert sememe.Codec.load(tmp_path / "c.safetensors") == sememe.Codec.train(rows, levels=2, codebook_size=8, device="cpu")
    wrong = program("train", "nowhere.npy", "-o", str(tmp_path / "d.safetensors"))
    assert wrong.returncode == 3 and wrong.stderr.startswith("error:")
    assert program("train").returncode == 2
