"""Figures of the wheel: time to import, encoding beside the program, memory that encoding takes.

    python bindings/python/benches/figures.py [--program target/release/sememe] [--rows ROWS.npy] [--repeat 5]

Without `--rows`, 63,000 made-up rows of 384 values. Prints one line a figure, with what it is held to; nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np


def best(repeat: int, work) -> float:
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def child(code: str, *arguments: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


IMPORT = """
import json, time
began = time.perf_counter()
import numpy
numpy_done = time.perf_counter()
import sememe
print(json.dumps({"numpy": numpy_done - began, "sememe": time.perf_counter() - numpy_done}))
"""

MEMORY = """
import json, pathlib, re, sys
import numpy as np, sememe


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])


rows, codec = np.load(sys.argv[1]), sememe.Codec.load(sys.argv[2])
codec.encode(rows[:1], device="cpu")
# The peak begins anew from what is held now.
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = peak()
codes = codec.encode(rows, device="cpu", progress=False)
print(json.dumps({"more": peak() - before}))
"""

ENCODE = """
import json, sys, time
import numpy as np, sememe
rows, codec = np.load(sys.argv[1]), sememe.Codec.load(sys.argv[2])
codec.encode(rows[:1], device="cpu")
times = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    codec.encode(rows, device="cpu", progress=False)
    times.append(time.perf_counter() - began)
print(json.dumps({"best": min(times)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path)
    parser.add_argument("--rows", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    imports = [child(IMPORT) for _ in range(asked.repeat)]
    numpy_ms, own_ms = (1000 * statistics.median(one[name] for one in imports) for name in ("numpy", "sememe"))
    print(f"import: {numpy_ms + own_ms:.0f} ms, of which numpy {numpy_ms:.0f} (at most 150)")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        rows = asked.rows or place / "rows.npy"
        if asked.rows is None:
            np.save(rows, np.random.default_rng(0).normal(size=(63_000, 384)).astype(np.float32))
        import sememe

        codec = place / "codec.safetensors"
        held = np.load(rows)
        sememe.Codec.train(held[:20_000], levels=3, codebook_size=256, iterations=5, device="cpu", progress=False).save(codec)
        here = child(ENCODE, str(rows), str(codec), str(asked.repeat))["best"]
        print(f"encode {held.shape[0]} × {held.shape[1]}: {here * 1000:.0f} ms here")
        if pathlib.Path("/proc/self/clear_refs").exists():
            more = child(MEMORY, str(rows), str(codec))["more"]
            print(f"memory that encoding takes over the rows: {more / 1024:.0f} MiB (at most 64)")
        if asked.program is not None:
            out = place / "codes.npy"
            command = [str(asked.program), "encode", str(codec), str(rows), "-o", str(out), "--device", "cpu", "--json", "--quiet"]
            whole = best(asked.repeat, lambda: subprocess.run(command, check=True, capture_output=True))

            def python_whole() -> None:
                code = "import sys, numpy as np, sememe; np.save(sys.argv[3], sememe.Codec.load(sys.argv[2]).encode(np.load(sys.argv[1]), device='cpu'))"
                subprocess.run([sys.executable, "-c", code, str(rows), str(codec), str(out)], check=True)

            python = best(asked.repeat, python_whole)
            print(f"the same with start, reading and writing: the program {whole * 1000:.0f} ms, Python {python * 1000:.0f} ms")
            print(f"encoding here over all of the program's run: {here / whole:.2f} (at most 1.1)")


if __name__ == "__main__":
    main()
