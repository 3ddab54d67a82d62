"""What `sememe export` writes, read by those it is written for: tokenizers, transformers, numpy and safetensors.

`bundle.py make FOLDER` trains three small tokenizers there; `bundle.py check FOLDER` holds each `bundle-TOKENIZER` there to what the
libraries make of it. Run by tests/suite/ids_python.rs.
"""

import json
import sys
from pathlib import Path

import numpy as np

CORPUS = ["a small editor for text", "a larger editor with menus", "plays music and video", "bought these next: 12-5, <a> [SEM]"] * 20
PLAIN = ["A small editor, bought next", "plays <a_ music> and 12 [SEM_ more", "", "äö <b_1 <<a_"]


def make(folder):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    specials = ["<pad>", "</s>", "[UNK]"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=330, special_tokens=specials, initial_alphabet=alphabet))
    bpe.save(str(folder / "bpe.json"), pretty=True)

    piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    piece.normalizer = normalizers.BertNormalizer(lowercase=True)
    piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    piece.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=specials))
    # A token beyond the model's own, as real tokenizers have them.
    piece.add_tokens(["[OWN]"])
    piece.save(str(folder / "wordpiece.json"), pretty=False)

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token="[UNK]")
    unigram.train_from_iterator(CORPUS, trainer)
    unigram.save(str(folder / "unigram.json"), pretty=True)


class Bundle:
    def __init__(self, path):
        self.path = path
        self.vocabulary = json.loads((path / "vocabulary.json").read_text())
        self.special = json.loads((path / "special_tokens.json").read_text())
        self.index = json.loads((path / "index.json").read_text())
        sys.path.insert(0, str(path))
        from sememe_trie import Trie

        self.trie = Trie(path / "ids.trie")
        # Row numbers by ID, from the files that hold no trie.
        self.rows = {}
        for row, tokens in enumerate(self.index.values()):
            numbers = tuple(self.vocabulary[token] for token in tokens)
            self.rows.setdefault(numbers[:-1] if numbers[-1] == self.trie.end else numbers, []).append(row)


def check_tokenizer(bundle, original):
    from tokenizers import Tokenizer

    old, path = Tokenizer.from_file(str(original)), bundle.path / "tokenizer.json"
    new = Tokenizer.from_file(str(path))
    for again in (new, Tokenizer.from_str(new.to_str())):
        assert {token: again.token_to_id(token) for token in bundle.vocabulary} == bundle.vocabulary
    first = min(bundle.vocabulary.values())
    assert first == old.get_vocab_size(), (first, old.get_vocab_size())
    assert new.get_vocab_size() == bundle.special["embedding_rows"]
    # Nothing else of the file is touched.
    before, after = (json.loads(Path(p).read_text()) for p in (original, path))
    ours = after["added_tokens"][len(before["added_tokens"]) :]
    after["added_tokens"] = after["added_tokens"][: len(before["added_tokens"])]
    assert before == after
    assert [token["content"] for token in ours if token["special"]] == bundle.special["special_tokens"]
    for text in PLAIN:
        assert old.encode(text).ids == new.encode(text).ids, text
    for tokens in bundle.index.values():
        written = "".join(tokens)
        ids = new.encode(f"bought {written}, next{written}").ids
        numbers = [bundle.vocabulary[token] for token in tokens]
        found = [i for i in ids if i >= first]
        assert found == numbers * 2, (written, found, numbers)
        assert new.decode(numbers, skip_special_tokens=False).replace(" ", "") == written


def check_trie(bundle):
    trie, following = bundle.trie, {}
    for id in bundle.rows:
        for at in range(len(id) + 1):
            following.setdefault(id[:at], set()).add(id[at] if at < len(id) else trie.end)
    for prefix, wanted in following.items():
        assert set(trie.allowed(prefix)) == wanted and len(trie.allowed(prefix)) == len(wanted)
        assert trie.items(prefix) == bundle.rows.get(prefix, [])
        for off in (prefix + (trie.end,), prefix + (2**31,), (0,) + prefix):
            assert trie.allowed(off) == [trie.end] and trie.items(off) == []
    assert len(trie) == len(bundle.index) and trie.depth == max(map(len, bundle.rows))


def check_static(bundle):
    found = sorted(bundle.path.glob("static.*"))
    for path in found:
        if path.suffix == ".npz":
            arrays = dict(np.load(path))
        else:
            from safetensors.numpy import load_file

            arrays = load_file(path)
        walked = walk(arrays)
        assert walked == set(bundle.rows), path
    return len(found)


def walk(arrays):
    """All IDs, decoded as STATIC's decoders do: mask of the first token, dense tables, then a fixed number of slots a state."""
    V, L, D = (int(arrays[name]) for name in ("vocab_size", "levels", "dense_levels"))
    csr, indptr, branches = arrays["packed_csr"], arrays["indptr"], [int(b) for b in arrays["layer_max_branches"]]
    assert csr.dtype == indptr.dtype == arrays["dense_states"].dtype == np.int32
    assert arrays["start_mask"].dtype == arrays["dense_mask"].dtype == bool
    assert arrays["start_mask"].shape == (V,) and arrays["dense_mask"].shape == arrays["dense_states"].shape == (V,) * D
    assert len(branches) == L and len(csr) == indptr[-1] and (csr[-V:] == [V, 0]).all()
    starts = np.flatnonzero(arrays["start_mask"])
    assert branches[0] == len(starts)
    beams = [((int(token),), int(token) + 1) for token in starts]
    if D == 1:
        assert (arrays["dense_mask"] == arrays["start_mask"]).all()
        assert all(arrays["dense_states"][beam] == state for beam, state in beams)
    for level in range(1, L):
        grown, widest = [], 0
        for tokens, state in beams:
            slots = indptr[state] + np.arange(branches[level])
            valid = np.arange(branches[level]) < indptr[state + 1] - indptr[state]
            # Reading a fixed number of slots never leaves the array.
            pairs = csr[slots][valid]
            widest = max(widest, len(pairs))
            if level < D:
                mask = np.flatnonzero(arrays["dense_mask"][tokens])
                assert mask.tolist() == pairs[:, 0].tolist()
                assert arrays["dense_states"][tokens][mask].tolist() == pairs[:, 1].tolist() or level == L - 1
            grown += [(tokens + (int(token),), int(after)) for token, after in pairs]
        assert widest == branches[level], (level, widest, branches)
        assert all((state == 0) == (level == L - 1) for _, state in grown)
        beams = grown
    return {tuple(token + int(arrays["offset"]) for token in tokens) for tokens, _ in beams}


def check_generation(bundle):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers import T5Config, T5ForConditionalGeneration

    trie = bundle.trie
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bundle.path / "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="[UNK]", padding_side="left"
    )
    assert len(tokenizer) == bundle.special["embedding_rows"]
    own = min(bundle.vocabulary.values())
    shared = dict(bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    models = [
        GPT2LMHeadModel(GPT2Config(vocab_size=own, n_positions=64, n_embd=32, n_layer=2, n_head=2, **shared)),
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=own, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, **shared
            )
        ),
        T5ForConditionalGeneration(
            T5Config(
                vocab_size=own, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0, **shared
            )
        ),
    ]
    inputs = tokenizer(["a small editor", "plays", "bought these next: music"], return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    seen = set()
    for model in models:
        model.eval()
        model.resize_token_embeddings(bundle.special["embedding_rows"], mean_resizing=False)
        # Scores of a fresh model hardly differ; spread, they prefer tokens that are not allowed.
        with torch.no_grad():
            model.get_output_embeddings().weight.normal_(std=1.0)
        prompt = 1 if model.config.is_encoder_decoder else inputs.input_ids.shape[1]
        rows = len(inputs.input_ids)

        def generate(**options):
            out = model.generate(
                **inputs,
                prefix_allowed_tokens_fn=trie.prefix_allowed_tokens_fn(prompt),
                eos_token_id=trie.end,
                pad_token_id=tokenizer.pad_token_id,
                max_new_tokens=trie.depth + 1,
                **options,
            )
            return [trie.read(sequence, prompt) for sequence in out], out

        first = len(trie.allowed([]))
        beams = min(4, len(trie.allowed(trie.allowed([]))) if first == 1 else first)
        assert beams > 1, "uninformative"
        for options in (
            dict(do_sample=False),
            dict(do_sample=True, num_return_sequences=5, temperature=3.0),
            dict(do_sample=False, num_beams=beams, num_return_sequences=beams),
        ):
            hits, out = generate(**options)
            assert len(hits) == rows * options.get("num_return_sequences", 1)
            for hit, sequence in zip(hits, out):
                assert hit is not None, sequence
                id, items = hit
                assert bundle.rows[tuple(id)] == items
                rest = sequence[prompt:].tolist()
                assert rest[len(id)] == trie.end and set(rest[len(id) + 1 :]) <= {tokenizer.pad_token_id, trie.end}
                seen.add(tuple(id))
            if "num_beams" in options:
                each = [{tuple(hit[0]) for hit in hits[i * beams : (i + 1) * beams]} for i in range(rows)]
                assert all(len(ids) == beams for ids in each), "beams are distinct IDs"
        # Wider than there are IDs: every one is reached, and what fills the rest is told apart.
        wide = len(bundle.rows) + 3
        hits, _ = generate(do_sample=False, num_beams=wide, num_return_sequences=wide, early_stopping=False)
        for i in range(rows):
            real = [tuple(hit[0]) for hit in hits[i * wide : (i + 1) * wide] if hit]
            assert set(real) == set(bundle.rows), (len(set(real)), len(bundle.rows))
        # Without the constraint, the models say something else.
        free = model.generate(**inputs, do_sample=False, max_new_tokens=trie.depth + 1, pad_token_id=tokenizer.pad_token_id)
        assert any(trie.read(sequence, prompt) is None for sequence in free), "uninformative"
    return len(seen)


def main():
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "make":
        make(folder)
        return
    for path in sorted(folder.glob("bundle-*")):
        bundle = Bundle(path)
        check_tokenizer(bundle, folder / path.name.removeprefix("bundle-"))
        check_trie(bundle)
        layouts = check_static(bundle)
        seen = check_generation(bundle)
        print(f"{path.name}: {len(bundle.rows)} IDs, {layouts} layouts, {seen} IDs generated")


main()
