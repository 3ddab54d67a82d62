"""What the W&B client keeps of a run that is offline.

`wandb_run.py FOLDER` reads the only `.wandb` file under FOLDER, W&B's log of records in LevelDB's format, and prints its history and
configuration as JSON. Run by tests/suite/tracking.rs.
"""

import json
import struct
import sys
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as proto

HEADER_BYTES, BLOCK_BYTES = 7, 32768


def records(data):
    at, pending = HEADER_BYTES, b""
    while at + 7 <= len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        chunk = data[at + 7 : at + 7 + size]
        at += 7 + size
        # Whole, first, middle, last.
        pending = chunk if kind in (1, 2) else pending + chunk
        if kind in (1, 4):
            yield pending


def main(folder):
    (path,) = folder.rglob("*.wandb")
    history, config = [], {}
    for data in records(path.read_bytes()):
        record = proto.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            history.append({"/".join(item.nested_key) or item.key: item.value_json for item in items})
        updates = [record.run.config] if kind == "run" else [record.config] if kind == "config" else []
        for update in updates:
            config |= {item.key: json.loads(item.value_json) for item in update.update if item.key != "_wandb"}
    print(json.dumps({"history": history, "config": config}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
