"""Makes tokenizer.json: a toy of 400 tokens in Hugging Face's format, trained on packages.jsonl. Needs `pip install tokenizers`."""

import json
import os

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(HERE, "packages.jsonl"), encoding="utf-8") as lines:
    texts = [json.loads(line)["short"] for line in lines]
tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=80, show_progress=False)
tokenizer.train_from_iterator(texts, trainer)
tokenizer.save(os.path.join(HERE, "tokenizer.json"))
