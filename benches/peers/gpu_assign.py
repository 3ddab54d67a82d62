"""PyTorch beside sememe's `assign`: labels of the nearest codewords, and what the device's GEMM and memory allow.

    python3 gpu_assign.py [--small]

Prints lines that start with RESULT. f32 with TF32 off and on; the scores are formed in slices of rows, as anybody would
who cannot hold n x k of them. Needs torch with a CUDA or ROCm device, or runs small shapes on the CPU with --small.
"""

import argparse
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("no torch here")

LARGE = [(1_000_000, 768, 1024), (1_000_000, 128, 256), (1_048_576, 256, 4096), (1_048_576, 64, 1024)]
SMALL = [(2048, 64, 64), (512, 768, 64)]
# Scores of one slice, in bytes: large enough to fill a device, small beside its memory.
SLICE_BYTES = 1 << 30


def fastest(run, synchronize, rounds):
    """Seconds of the fastest round, after two that warm up."""
    best = float("inf")
    for round_number in range(rounds + 2):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        if round_number >= 2:
            best = min(best, time.perf_counter() - start)
    return best


def assign(rows, words, half_norms, labels, step):
    """Writes the nearest codeword of every row into `labels`."""
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        scores = torch.addmm(half_norms, part, words.T, alpha=-1.0)
        torch.argmin(scores, dim=1, out=labels[start : start + step])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small shapes, and the CPU will do")
    small = parser.parse_args().small
    if torch.cuda.is_available():
        device, synchronize, name = "cuda", torch.cuda.synchronize, torch.cuda.get_device_name()
    elif small:
        device, synchronize, name = "cpu", lambda: None, "cpu"
    else:
        sys.exit("torch sees no GPU")
    print(f"RESULT torch {torch.__version__} on {name}")
    rounds = 3 if small else 10
    torch.manual_seed(3)
    for n, d, k in SMALL if small else LARGE:
        rows = torch.randn(n, d, device=device)
        words = torch.randn(k, d, device=device)
        half_norms = 0.5 * (words * words).sum(dim=1)
        labels = torch.empty(n, dtype=torch.int64, device=device)
        step = max(1, min(n, SLICE_BYTES // (4 * k)))
        product = torch.empty(step, k, device=device)
        shape, work = f"{n}x{d}, k = {k}", 2.0 * n * d * k / 1e12
        for tf32 in [False, True] if device == "cuda" else [False]:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            kind = "TF32" if tf32 else "f32"
            seconds = fastest(lambda: assign(rows, words, half_norms, labels, step), synchronize, rounds)
            print(f"RESULT torch assign {shape}, {kind}: {work / seconds:.3f} TFLOP/s, {seconds * 1e3:.3f} ms")
            seconds = fastest(lambda: torch.mm(rows[:step], words.T, out=product), synchronize, rounds)
            rate = work * step / n / seconds
            print(f"RESULT torch GEMM alone {step}x{d} by {k}, {kind}: {rate:.3f} TFLOP/s")
        other = torch.empty_like(rows)
        seconds = fastest(lambda: other.copy_(rows), synchronize, rounds)
        print(f"RESULT torch copy of {n}x{d}: {2 * rows.numel() * 4 / seconds / 1e9:.1f} GB/s read and written")
        del rows, words, half_norms, labels, product, other


main()
