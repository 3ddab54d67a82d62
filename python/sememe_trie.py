"""Constrained generation with transformers over the trie that `sememe export` writes, so that only IDs that exist come out.

Needs numpy only. The file is mapped into memory: it opens in microseconds, whatever its size, and processes share one copy.

    from sememe_trie import Trie

    trie = Trie("bundle/ids.trie")
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)          # decoder-only: padding_side="left"
    prompt = inputs.input_ids.shape[1]                                      # encoder-decoder: prompt = 1
    out = model.generate(
        **inputs,
        prefix_allowed_tokens_fn=trie.prefix_allowed_tokens_fn(prompt),
        eos_token_id=trie.end,
        max_new_tokens=trie.depth + 1,
        num_beams=20,
        num_return_sequences=20,
        do_sample=False,
    )
    for sequence in out:
        hit = trie.read(sequence, prompt)       # None, or the ID's tokens and the rows of the items on it

A prompt that ends with the token that begins an ID (`[SEM_START]`, say) has begun the ID already: pass `prompt - 1`.

A beam that is wider than there are prefixes to stand on is filled with beams of probability 0, which transformers returns too. They
are no IDs: `read` gives None for them.

Rows are those of the exported codes. The keys are in `index.json` in the same order: `list(json.load(open("bundle/index.json")))`.
"""

import mmap

import numpy as np

__all__ = ["Trie"]


class Trie:
    """The trie of all IDs over token numbers. `end` is the token that ends an ID, `depth` the tokens of the longest without it."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(data) < 64 or data[:8] != b"SEMTRIE1":
            raise ValueError(f"{path}: not a trie of version 1")
        self.end, self.depth, nodes, items = (int(v) for v in np.frombuffer(data, "<u4", 4, 8))
        wanted = 64 + 4 * nodes + 8 * (nodes + 1) + 4 * items
        if len(data) != wanted:
            raise ValueError(f"{path}: has {len(data)} bytes, but {wanted} for what its header says; was it cut short?")
        # The token that leads to each node; its first child and its first item; the items.
        self._tokens = np.frombuffer(data, "<u4", nodes, 64)
        self._pairs = np.frombuffer(data, "<u4", 2 * (nodes + 1), 64 + 4 * nodes).reshape(-1, 2)
        self._items = np.frombuffer(data, "<u4", items, 64 + 4 * nodes + 8 * (nodes + 1))

    def __len__(self):
        """How many items the IDs name."""
        return len(self._items)

    def _node(self, prefix):
        """The node of a prefix, or None if no ID begins so."""
        node = 0
        for token in prefix:
            first, last = self._pairs[node : node + 2, 0].tolist()
            at = first + int(np.searchsorted(self._tokens[first:last], token))
            if at >= last or self._tokens[at] != token:
                return None
            node = at
        return node

    def allowed(self, prefix):
        """The tokens that may follow the tokens `prefix`: a list that is never empty. After a whole ID, an ended one, and a prefix of
        no ID, it is the end token."""
        node = self._node(prefix)
        if node is None:
            return [self.end]
        (first, items), (last, items_end) = self._pairs[node : node + 2].tolist()
        allowed = self._tokens[first:last].tolist()
        if items < items_end or not allowed:
            allowed.append(self.end)
        return allowed

    def items(self, id):
        """The rows of the items on an ID, ascending; none for anything but a whole ID."""
        node = self._node(id)
        if node is None:
            return []
        first, last = self._pairs[node : node + 2, 1].tolist()
        return self._items[first:last].tolist()

    def prefix_allowed_tokens_fn(self, prompt_length):
        """What `generate(prefix_allowed_tokens_fn=…)` takes, for sequences whose first `prompt_length` tokens are the prompt."""
        return lambda _batch, sequence: self.allowed(sequence[prompt_length:].tolist())

    def read(self, sequence, prompt_length):
        """The tokens of the ID that a generated sequence ends with, and the rows of the items on it; None if it is no ID, or was cut
        off before its end token."""
        tokens = [int(token) for token in sequence[prompt_length:]]
        if self.end not in tokens:
            return None
        id = tokens[: tokens.index(self.end)]
        items = self.items(id)
        return (id, items) if items else None
