"""RQ-VAE training steps by PyTorch, eager and compiled, f32: the network that `cargo bench --bench rqvae -- --sweep` trains.

usage: python benches/peers/gpu_rqvae.py [--small]      one RESULT line a batch size and mode
"""

import argparse
import statistics
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true")
small = parser.parse_args().small
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cuda.matmul.allow_tf32 = False


def mlp(widths):
    layers = []
    for i in range(len(widths) - 1):
        layers.append(torch.nn.Linear(widths[i], widths[i + 1]))
        if i + 2 < len(widths):
            layers.append(torch.nn.SiLU())
    return torch.nn.Sequential(*layers)


class RqVae(torch.nn.Module):
    def __init__(self, dims=384, hidden=(512, 256, 128), code_dims=32, levels=3, codewords=256):
        super().__init__()
        widths = [dims, *hidden, code_dims]
        self.encoder, self.decoder = mlp(widths), mlp(widths[::-1])
        self.books = torch.nn.ParameterList(torch.nn.Parameter(0.1 * torch.randn(codewords, code_dims)) for _ in range(levels))

    def forward(self, rows):
        z = self.encoder(rows)
        left, quantized, loss = z, torch.zeros_like(z), 0.0
        for book in self.books:
            with torch.no_grad():
                labels = (0.5 * (book * book).sum(1) - left @ book.T).argmin(1)
            codeword = book[labels]
            loss = loss + ((left.detach() - codeword) ** 2).sum(1).mean()
            quantized, left = quantized + codeword.detach(), left - codeword.detach()
        loss = loss + 0.5 * (left**2).sum(1).mean()
        return ((self.decoder(z + (quantized - z).detach()) - rows) ** 2).sum(1).mean() + loss


def wait():
    if device.type == "cuda":
        torch.cuda.synchronize()


for batch in (64, 256) if small else (256, 1024, 4096, 20480):
    for mode in ("eager", "compile") if device.type == "cuda" and not small else ("eager",):
        try:
            model = RqVae().to(device)
            optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=device.type == "cuda")
            rows = torch.randn(batch, 384, device=device)
            loss = torch.compile(model, mode="reduce-overhead") if mode == "compile" else model
            times = []
            for step in range(5 if small else 70):
                wait()
                begun = time.perf_counter()
                optimizer.zero_grad(set_to_none=True)
                loss(rows).backward()
                optimizer.step()
                wait()
                times.append(time.perf_counter() - begun)
            middle = statistics.median(times[2 if small else 20 :])
            print(f"RESULT torch {mode} rq-vae step, batch {batch}, f32: {batch / middle:,.0f} rows/s", flush=True)
        except Exception as error:  # a mode that this machine lacks
            print(f"RESULT torch {mode} rq-vae step, batch {batch}: failed, {str(error)[:120]}", flush=True)
