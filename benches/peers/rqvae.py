"""RQ-VAE training beside semantic-id's RQVAE and vector-quantize-pytorch's ResidualVQ on the same rows, in one run.

    python -m venv .venv && .venv/bin/pip install -r benches/peers/requirements.txt
    .venv/bin/python benches/peers/rqvae.py DATA.npy [--epochs 20] [--rounds 3] [--threads 2]

Prints a Markdown table. Rates are rows times epochs over the wall time from the call to the last step, with the starts and
refits of codebooks; `training steps alone` is the median epoch without those. sememe stands there in f32, with bf16 products
where the processor has them, and once with a look at the whole corpus after every epoch; `--autocast` adds the peers under
torch's bf16 autocast. Quality is of plain nearest codes over the whole corpus, in f32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def quality(rows, codes, approximation):
    import numpy as np

    codes = np.asarray(codes)
    perplexity, used = [], []
    for level in range(codes.shape[1]):
        share = np.bincount(codes[:, level], minlength=256) / len(codes)
        used.append(float((share > 0).mean()))
        share = share[share > 0]
        perplexity.append(float(np.exp(-(share * np.log(share)).sum())))
    spread = float(((rows - rows.mean(0)) ** 2).sum(1).mean())
    error = float(((rows - approximation) ** 2).sum(1).mean())
    collisions = 1 - len(np.unique(codes, axis=0)) / len(codes)
    return {"r2": 1 - error / spread, "collision_rate": collisions, "perplexity": perplexity, "utilisation": used}


def peer(name, path, threads, epochs, autocast):
    """One peer in this process; prints its JSON line."""
    import contextlib

    import numpy as np
    import torch

    cast = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()

    torch.set_num_threads(threads)
    rows = np.ascontiguousarray(np.load(path), dtype=np.float32)
    if name == "semantic-id":
        from semantic_id.algorithms.rq_vae import RQVAE

        model = RQVAE(
            in_dim=rows.shape[1], num_emb_list=[256] * 3, e_dim=32, layers=[512, 256, 128], device="cpu",
            epochs=epochs, batch_size=1024, lr=1e-3, verbose=False,
        )
        begun = time.perf_counter()
        with cast:
            model.fit(rows)
        seconds = time.perf_counter() - begun
        codes = model.encode(rows)
        back = np.asarray(model.decode(codes))
    else:
        from vector_quantize_pytorch import ResidualVQ

        width, d = 512, rows.shape[1]
        encoder = torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.GELU(), torch.nn.Linear(width, width))
        decoder = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.Linear(width, d))
        quantizer = ResidualVQ(
            dim=width, num_quantizers=4, codebook_size=256, kmeans_init=True, decay=0.999,
            threshold_ema_dead_code=1, commitment_weight=0.25,
        )
        model = torch.nn.ModuleList([encoder, decoder, quantizer])
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        data = torch.tensor(rows)
        begun = time.perf_counter()
        for _ in range(epochs):
            for batch in torch.randperm(len(data)).split(256):
                with cast:
                    quantized, _, commitment = quantizer(encoder(data[batch]).unsqueeze(1))
                    loss = torch.nn.functional.mse_loss(decoder(quantized.squeeze(1)), data[batch]) + commitment.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        seconds = time.perf_counter() - begun
        model.eval()
        with torch.no_grad():
            quantized, codes, _ = quantizer(encoder(data).unsqueeze(1))
            back, codes = decoder(quantized.squeeze(1)).numpy(), codes.squeeze(1).numpy()
    line = {"peer": name, "train_s": seconds, "rows_per_s": len(rows) * epochs / seconds, **quality(rows, codes, back)}
    print(json.dumps(line), flush=True)


def bf16_offered():
    try:
        with open("/proc/cpuinfo") as facts:
            return "avx512_bf16" in facts.read()
    except OSError:
        return False


def run(command, environment):
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "DATA"), help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["semantic-id", "residual-vq"], help="one of the two configurations")
    parser.add_argument("--autocast", action="store_true", help="also the peers with bf16 products")
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(*arguments.peer, arguments.threads, arguments.epochs, arguments.autocast)
    if not arguments.data:
        parser.error("give a .npy file of embeddings")
    threads = str(arguments.threads)
    environment = dict(os.environ, OMP_NUM_THREADS=threads, RAYON_NUM_THREADS=threads)
    path = os.path.abspath(arguments.data)
    print("| system | rows/s | / peer | training steps alone | / peer | R² | collision rate | perplexity | least used |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ("semantic-id", "residual-vq") if arguments.only is None else (arguments.only,):
        own = ["cargo", "bench", "-q", "--bench", "rqvae", "--", path, "--config", name, "--epochs", str(arguments.epochs)]
        other = [sys.executable, os.path.abspath(__file__), "--peer", name, path, "--epochs", str(arguments.epochs)]
        other += ["--threads", threads]
        variants = {"sememe, f32": ["--health-last"]}
        if bf16_offered():
            variants["sememe, bf16 products"] = ["--health-last", "--precision", "bf16"]
        runs = {name: [], **{label: [] for label in variants}}
        for _ in range(arguments.rounds):
            runs[name].append(run(other, environment))
            for label, options in variants.items():
                runs[label].append(run(own + options, environment))
        runs["sememe, f32, health every epoch"] = [run(own, environment)]
        if arguments.autocast:
            runs[f"{name}, autocast"] = [run(other + ["--autocast"], environment)]
        for label, lines in runs.items():
            base = runs[name]
            median = lambda key: statistics.median(line[key] for line in lines if key in line)
            ratio = lambda key: statistics.median(l[key] / b["rows_per_s"] for l, b in zip(lines, base))
            last = lines[-1]
            steps = "step_rows_per_s" in last
            cells = [label, f"{median('rows_per_s'):,.0f}", f"{ratio('rows_per_s'):.2f}"]
            cells += [f"{median('step_rows_per_s'):,.0f}", f"{ratio('step_rows_per_s'):.2f}"] if steps else ["", ""]
            cells += [f"{last['r2']:.4f}", f"{last['collision_rate']:.4f}"]
            cells += ["/".join(f"{v:.0f}" for v in last["perplexity"]), f"{100 * min(last['utilisation']):.1f} %"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
