"""Other systems load an export and encode rows: python exports.py KIND rows.npy EXPORT codes.npy. Fails where more than 1 % of rows differ,
which ties of float32 do not reach."""

import sys

import numpy as np


def faiss_rq(rows, path):
    import faiss

    books = np.load(path)["rq_codebooks"]
    levels, size, dims = books.shape
    rq = faiss.ResidualQuantizer(dims, levels, int(size).bit_length() - 1)
    faiss.copy_array_to_vector(np.ascontiguousarray(books).ravel(), rq.codebooks)
    rq.is_trained, rq.max_beam_size = True, 1
    rq.set_derived_values()
    return unpacked(rq.compute_codes(rows), levels, size)


def unpacked(packed, levels, size):
    bits = int(size).bit_length() - 1
    flat = np.unpackbits(packed, axis=1, bitorder="little")[:, : bits * levels].reshape(len(packed), levels, bits)
    return (flat * (1 << np.arange(bits))).sum(axis=2)


def faiss_pq(rows, path):
    import faiss

    arrays = np.load(path)
    if "opq_rotation" in arrays:
        rows = np.ascontiguousarray(rows @ arrays["opq_rotation"].T)
    books = arrays["pq_centroids"]
    levels, size, width = books.shape
    pq = faiss.ProductQuantizer(levels * width, levels, int(size).bit_length() - 1)
    faiss.copy_array_to_vector(np.ascontiguousarray(books).ravel(), pq.centroids)
    return unpacked(pq.compute_codes(rows), levels, size)


def vector_quantize_pytorch(rows, path):
    import torch
    from safetensors.torch import load_file
    from vector_quantize_pytorch import ResidualVQ

    state = load_file(path)
    books = [state[f"layers.{i}._codebook.embed"] for i in range(len(state) // 4)]
    model = ResidualVQ(dim=books[0].shape[2], num_quantizers=len(books), codebook_size=books[0].shape[1])
    own = model.state_dict()
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()}, strict=True)
    model.eval()
    with torch.no_grad():
        return model(torch.from_numpy(rows)[None])[1][0].numpy()


def lc_rec(rows, path):
    import torch
    from safetensors.torch import load_file
    from semantic_id.algorithms.rq_vae_module import RQVAEModule

    state = load_file(path)
    hidden = [v.shape[0] for k, v in sorted(state.items()) if k.startswith("encoder.") and k.endswith("weight")]
    books = [v for k, v in sorted(state.items()) if k.startswith("rq.")]
    model = RQVAEModule(in_dim=rows.shape[1], num_emb_list=[len(b) for b in books], e_dim=hidden[-1], layers=hidden[:-1])
    model.load_state_dict(state, strict=True)
    model.eval()
    return model.get_indices(torch.from_numpy(rows)).numpy()


kind, rows, path, wanted = sys.argv[1], np.load(sys.argv[2]), sys.argv[3], np.load(sys.argv[4])
encode = {"faiss-rq": faiss_rq, "faiss-pq": faiss_pq, "faiss-opq": faiss_pq, "vector-quantize-pytorch": vector_quantize_pytorch, "lc-rec": lc_rec}
found = encode[kind](rows, path)
differ = (found != wanted).any(axis=1).sum()
print(f"{differ} of {len(rows)} rows differ")
sys.exit(int(differ > len(rows) / 100))
