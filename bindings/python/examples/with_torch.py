"""Vectors of a torch model to IDs, and rows back as tensors."""

import torch

import sememe

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
with torch.no_grad():
    vectors = model(torch.randn(3_000, 16))

codec = sememe.Codec.train(vectors, levels=4, codebook_size=32)      # read where torch keeps them
codes = torch.from_numpy(codec.encode(vectors).astype("int64"))
back = torch.from_numpy(codec.decode(codes))
print(codes[:3].tolist(), "mean squared error", torch.nn.functional.mse_loss(back, vectors).item())

# Batches of a loader, one after the other: all of them need not fit memory.
loader = torch.utils.data.DataLoader(vectors, batch_size=512)
streamed = sememe.Codec.train(iter(loader), method="minibatch", levels=4, codebook_size=32, batch_rows=512)
print(sum(len(part) for part in streamed.encode_batches(loader)), "rows encoded")
