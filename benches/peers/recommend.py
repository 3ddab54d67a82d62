"""A recommender on item identities, by PyTorch and by this project, on the same histories: quality, and steps of histories a second.

    python3 benches/peers/recommend.py INTERACTIONS.jsonl.gz [--vectors ITEMS.npy] [--epochs 24] [--seeds 0 1 2] [--by torch]

The peer is SASRec (Kang and McAuley 2018) with cross-entropy over all items: 2 blocks, 128 values, 2 heads, the latest 50 items, AdamW, eager, f32.
Ours is `target/release/sememe recommend train --identities` with the same sizes. Leave-last-out, all items ranked. One JSON line each.
Needs numpy and torch.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

POSITIONS, DIMS, LAYERS, HEADS, DROPOUT, RATE, BATCH = 50, 128, 2, 2, 0.4, 2e-3, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.between = nn.LayerNorm(DIMS), nn.LayerNorm(DIMS)
        self.attention_in, self.attention_out = nn.Linear(DIMS, 3 * DIMS), nn.Linear(DIMS, DIMS)
        self.wide, self.narrow = nn.Linear(DIMS, 4 * DIMS), nn.Linear(4 * DIMS, DIMS)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.attention_in(self.before(x)).view(n, t, 3, HEADS, DIMS // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=DROPOUT if self.training else 0.0)
        x = x + self.drop(self.attention_out(seen.transpose(1, 2).reshape(n, t, DIMS)))
        return x + self.drop(self.narrow(F.gelu(self.wide(self.between(x)))))


class SasRec(nn.Module):
    def __init__(self, items, vectors):
        super().__init__()
        self.items = nn.Embedding(items + 1, DIMS)
        self.places = nn.Parameter(0.02 * torch.randn(POSITIONS, DIMS))
        nn.init.normal_(self.items.weight, std=0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.last, self.drop = nn.LayerNorm(DIMS), nn.Dropout(DROPOUT)
        self.vectors = vectors
        self.map = nn.Linear(vectors.shape[1], DIMS, bias=False) if vectors is not None else None

    def table(self):
        own = self.items.weight
        return own if self.map is None else torch.cat([own[:-1] + self.map(self.vectors), own[-1:]])

    def forward(self, rows):
        table = self.table()
        x = self.drop(F.embedding(rows, table) + self.places[: rows.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.last(x), table


def padded(lists, width, pad):
    out = torch.full((len(lists), width), pad, dtype=torch.long)
    for i, items in enumerate(lists):
        out[i, : len(items[-width:])] = torch.tensor(items[-width:])
    return out


@torch.no_grad()
def ranked(net, users, from_end, items):
    net.eval()
    sums = np.zeros(2)
    asked = [(u[: len(u) - 1 - from_end], u[len(u) - 1 - from_end]) for u in users if len(u) > 1 + from_end]
    for start in range(0, len(asked), 512):
        part = asked[start : start + 512]
        lists = [h[-POSITIONS:] for h, _ in part]
        hidden, table = net(padded(lists, max(map(len, lists)), items))
        last = hidden[torch.arange(len(part)), torch.tensor([len(h) - 1 for h in lists])]
        scores = last @ table[:items].T
        right = scores.gather(1, torch.tensor([[t] for _, t in part]))
        rank = (scores > right).sum(1)
        found = rank < 10
        sums += [found.sum().item(), (found / torch.log2(rank + 2.0)).sum().item()]
    net.train()
    return sums / len(asked)


def peer(users, items, vectors, epochs, seed):
    torch.manual_seed(seed)
    net = SasRec(items, vectors)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
    train = [u[:-2] for u in users if len(u) > 3]
    steps = len(train) // BATCH + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, epochs * steps, pct_start=0.1)
    random, best, seconds, tokens = np.random.default_rng(seed), (0.0, None), 0.0, 0
    for epoch in range(epochs):
        begun = time.time()
        for part in np.array_split(random.permutation(len(train)), steps):
            lists = [train[i] for i in part]
            width = min(POSITIONS, max(map(len, lists)) - 1)
            x = padded([u[:-1] for u in lists], width, items)
            y = padded([u[1:] for u in lists], width, items)
            hidden, table = net(x)
            there = y != items
            loss = F.cross_entropy(hidden[there] @ table[:items].T, y[there])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            tokens += int(there.sum())
        seconds += time.time() - begun
        reached = ranked(net, users, 1, items)
        print(f"torch, seed {seed}, epoch {epoch + 1}: validation NDCG@10 {reached[1]:.4f}", file=sys.stderr, flush=True)
        if reached[1] > best[0]:
            best = (reached[1], ranked(net, users, 0, items), epoch + 1)
    return best, seconds, tokens / seconds


def ours(arguments, flags, epochs, seed):
    program = pathlib.Path(__file__).resolve().parents[2] / "target/release/sememe"
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "recommend", "train", "--interactions", arguments.interactions, *flags, "--json", "--epochs", str(epochs)]
        command += ["--patience", "0", "--seed", str(seed), "-o", f"{folder}/r.safetensors", "--device", "cpu"]
        begun = time.time()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout), time.time() - begun, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interactions")
    parser.add_argument("--vectors")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--by", choices=["sememe", "torch"], help="one of the two alone, for quality where times do not matter")
    arguments = parser.parse_args()
    users = [json.loads(line)["items"] for line in gzip.open(arguments.interactions, "rt")]
    items = 1 + max(max(u) for u in users)
    vectors = torch.from_numpy(np.load(arguments.vectors).astype("f4")) if arguments.vectors else None
    flags = ["--identities"] + (["--vectors", arguments.vectors] if arguments.vectors else [])
    for seed in arguments.seeds:
        if arguments.by != "torch":
            result, whole, said = ours(arguments, flags, arguments.epochs, seed)
            rates = [float(l.rsplit(", ", 1)[1].split()[0].replace(",", "")) for l in said.splitlines() if l.startswith("epoch")]
            told("sememe", seed, result["best"]["epoch"], whole, (result["test"]["recall_at_10"], result["test"]["ndcg_at_10"]), np.median(rates))
        if arguments.by != "sememe":
            begun = time.time()
            (_, test, epoch), _, rate = peer(users, items, vectors, arguments.epochs, seed)
            told("torch", seed, epoch, time.time() - begun, test, rate)


def told(by, seed, epoch, whole, test, rate):
    line = {"by": by, "seed": seed, "epoch": epoch, "whole_s": round(whole, 1)}
    line |= {"R@10": round(test[0], 4), "NDCG@10": round(test[1], 4), "steps_per_s": round(rate)}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
