#!/usr/bin/env python3
"""Makes `packages.npy` and `packages.jsonl` from the full Debian package catalogue.

    python3 select.py SOURCE [OUT]

SOURCE holds `embeddings_f16.npy` ([n, 384] float16) and `items.jsonl.gz` (one object a row, same order, with
`package`, `section`, `source` and `short`). OUT is the folder to write to (default: the one this script is in).
The choice depends on the catalogue's text alone, so the same SOURCE gives the same files, byte for byte.
"""

import gzip
import hashlib
import json
import pathlib
import re
import sys

import numpy as np

# What a reader recognises at a glance; libraries and language bindings are left out, since one family of
# hundreds (lib*-dev, node-*, python3-*) would fill the top prefixes.
SECTIONS = (
    "database editors education electronics fonts games graphics hamradio kernel mail math news science "
    "shells sound vcs video web"
).split()
# At most this many of one section, and of one source package.
SECTION_CAP = 450
SOURCE_CAP = 2
# Parts and clones of another package, and libraries.
PART = re.compile(
    r"-(dbg|dbgsym|dev|doc|docs|data|common|core|bin|headers|examples|plugins?|i18n|l10n.*)$"
    r"|-(data|doc|dbg|dev|l10n|lang|locale|dictionary)-"
    r"|^lib|^linux-|^(node|ruby|golang|haskell|python3?|r-cran|r-bioc)-"
)
EMPTY = re.compile(r"transitional|dummy|meta-?\s?package|empty package|\(documentation|\(data|debug symbols", re.I)


def choose(items):
    """Row numbers of the chosen items, ascending."""
    per_source, by_section = {}, {name: [] for name in SECTIONS}
    for row, item in enumerate(items):
        name, section, source = item["package"], item["section"], item["source"]
        if section not in by_section or PART.search(name) or EMPTY.search(item["short"]):
            continue
        if per_source.get(source, 0) < SOURCE_CAP:
            per_source[source] = per_source.get(source, 0) + 1
            by_section[section].append(row)
    chosen = []
    for rows in by_section.values():
        # A hash of the name thins a large section evenly, whatever order the catalogue is in.
        rows.sort(key=lambda row: hashlib.sha256(items[row]["package"].encode()).digest())
        chosen += rows[:SECTION_CAP]
    return sorted(chosen)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else pathlib.Path(__file__).resolve().parent
    with gzip.open(source / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    rows = np.load(source / "embeddings_f16.npy", mmap_mode="r")
    if rows.shape != (len(items), 384) or rows.dtype != np.float16:
        sys.exit(f"expected [{len(items)}, 384] float16, got {list(rows.shape)} {rows.dtype}")
    chosen = choose(items)
    np.save(out / "packages.npy", np.ascontiguousarray(rows[chosen]))
    with open(out / "packages.jsonl", "w", encoding="utf-8", newline="\n") as lines:
        for row in chosen:
            item = {"id": row, **{key: items[row][key] for key in ("package", "section", "short")}}
            lines.write(json.dumps(item, ensure_ascii=False) + "\n")
    for name in ("packages.npy", "packages.jsonl"):
        data = (out / name).read_bytes()
        print(f"{name}: {len(chosen)} rows, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
