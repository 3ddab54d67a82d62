"""Tiny random models of every architecture that `sememe embed --model-folder` runs, and what transformers makes of texts with them.

`embed.py FOLDER` writes one folder a model there, each with `expected.npy` [texts, values] and `texts.json`. Run by
tests/suite/embed_local.rs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig, BertModel, DistilBertConfig, DistilBertModel, Gemma3TextConfig, Gemma3TextModel, MPNetConfig, MPNetModel,
    Qwen3Config, Qwen3ForCausalLM, Qwen3Model, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel,
)

WORDS = "small large editor for text plays music video a the network tool mail".split()
TEXTS = ["small editor", "the large editor for text and music", "plays", " ".join(WORDS * 12)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def tokenizer(folder):
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    made.save(str(folder / "tokenizer.json"))
    return made, len(vocabulary)


def main(folder):
    torch.manual_seed(3)
    made, words = tokenizer(folder)
    bert = dict(vocab_size=words, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, initializer_range=0.3)
    robert = dict(bert, max_position_embeddings=200, pad_token_id=1)
    deep = dict(
        vocab_size=words, hidden_size=48, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=96, max_position_embeddings=256, initializer_range=0.15,
    )
    gemma = dict(deep, sliding_window=8, query_pre_attn_scalar=24)
    scaled = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    kinds = {
        "bert": (BertModel, BertConfig(**bert, hidden_act="relu"), "mean"),
        "roberta": (RobertaModel, RobertaConfig(**robert, type_vocab_size=1, layer_norm_eps=1e-5), "mean"),
        "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(**robert, type_vocab_size=1), "cls"),
        "distilbert": (DistilBertModel, DistilBertConfig(vocab_size=words, dim=48, n_layers=3, n_heads=4, hidden_dim=96, initializer_range=0.3), "cls"),
        "mpnet": (MPNetModel, MPNetConfig(**robert), "mean"),
        "qwen3": (Qwen3Model, Qwen3Config(**deep), "last"),
        "qwen3-causal-lm": (Qwen3ForCausalLM, Qwen3Config(**deep, attention_bias=True), "last"),
        "qwen3-window": (Qwen3Model, Qwen3Config(**deep, use_sliding_window=True, sliding_window=6, max_window_layers=2), "last"),
        "qwen3-both-ways": (Qwen3Model, Qwen3Config(**deep, is_causal=False), "mean"),
        "gemma3": (Gemma3TextModel, Gemma3TextConfig(**gemma), "last"),
        "gemma3-scaled": (Gemma3TextModel, Gemma3TextConfig(**gemma, rope_parameters=scaled), "last"),
        "gemma3-both-ways": (Gemma3TextModel, Gemma3TextConfig(**gemma, use_bidirectional_attention=True), "mean"),
    }
    for name, (kind, config, pooling) in kinds.items():
        place = folder / name
        config._attn_implementation = "eager"
        model = kind(config).eval()
        # Gains and biases are ones and zeros at first, which would hide where they stand.
        with torch.no_grad():
            for key, value in model.named_parameters():
                if value.dim() == 1 or "relative_attention_bias" in key:
                    value.add_(0.3 * torch.randn_like(value))
        model.save_pretrained(place)
        made.save(str(place / "tokenizer.json"))
        rows = []
        for text in TEXTS:
            ids = torch.tensor([made.encode(text).ids])
            with torch.no_grad():
                out = model(input_ids=ids, output_hidden_states=True)
            # The layer before the head for words is normed already.
            hidden = (out.last_hidden_state if "last_hidden_state" in out else out.hidden_states[-1])[0]
            rows.append({"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling].numpy())
        np.save(place / "expected.npy", np.stack(rows).astype(np.float32))
        (place / "pooling.txt").write_text(pooling)
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    print(" ".join(kinds))


main(Path(sys.argv[1]))
