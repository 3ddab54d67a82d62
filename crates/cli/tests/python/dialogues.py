"""What `sememe dialogues` writes, as Hugging Face's `datasets` loads it.

`dialogues.py FOLDER FORM` loads train.jsonl and validation.jsonl of a folder that was written with --metadata, checks columns and types
for the form, and prints `split ⇥ task ⇥ key ⇥ query ⇥ answer` a line, escaped as JSON. Run by tests/suite/dialogues_python.rs.
"""

import json
import sys
from pathlib import Path

from datasets import load_dataset
from datasets.features import List, Value

TEXT = Value("string")
CHAT = List({"role": TEXT, "content": TEXT})
COLUMNS = {
    "messages": {"messages": CHAT},
    "prompt-completion": {"prompt": TEXT, "completion": TEXT},
    "chat-prompt-completion": {"prompt": CHAT, "completion": CHAT},
}


def said(form, row):
    """The user's and the model's words."""
    if form == "messages":
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["system", "user", "assistant"], roles
        return row["messages"][1]["content"], row["messages"][2]["content"]
    if form == "prompt-completion":
        return row["prompt"], row["completion"]
    assert [m["role"] for m in row["prompt"]] == ["system", "user"], row
    assert [m["role"] for m in row["completion"]] == ["assistant"], row
    return row["prompt"][1]["content"], row["completion"][0]["content"]


def main(folder, form):
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation")}
    loaded = load_dataset("json", data_files=files, cache_dir=str(folder / "cache"))
    assert set(loaded) == {"train", "validation"}, loaded
    want = COLUMNS[form] | {"task": TEXT, "key": TEXT}
    for split, rows in loaded.items():
        assert dict(rows.features) == want, (split, rows.features)
        summary = json.loads((folder / "dialogues_summary.json").read_text())
        assert rows.num_rows == summary[split]["examples"], (rows.num_rows, summary[split])
        for row in rows:
            assert all(row[column] is not None for column in want), row
            print("\t".join(json.dumps(part) for part in (split, row["task"], row["key"], *said(form, row))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
