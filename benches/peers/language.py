"""Fine-tuning and constrained generation of a language model in PyTorch and transformers, beside `sememe recommend tune` and `query`.

usage: language.py MODEL    a folder that `recommend tune` wrote; reads few.jsonl (chats to learn) and val.jsonl (chats to answer)
Prints tokens a second of five updates of 20 chats (the first is left out), and the mean and the least time of one question
with 20 beams and prefix_allowed_tokens_fn. Two threads, f32.
"""
import json, time, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(2)
folder = sys.argv[1]
tok = AutoTokenizer.from_pretrained(folder); model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
chats = [json.loads(l)["messages"] for l in open("few.jsonl")]
texts = [tok.apply_chat_template(c, tokenize=False) for c in chats]
opt = torch.optim.AdamW(model.parameters(), lr=5e-4)
tok.pad_token = tok.pad_token or tok.eos_token
model.train(); n = 0; times = []
for i in range(0, 100, 20):
    b = tok(texts[i:i+20], return_tensors="pt", padding=True, add_special_tokens=False)
    labels = b.input_ids.clone(); labels[b.attention_mask == 0] = -100
    t = time.time(); out = model(**b, labels=labels); out.loss.backward(); torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0); opt.step(); opt.zero_grad()
    times.append((int(b.attention_mask.sum()), time.time() - t))
times = times[1:]
print("train tokens/s", sum(a for a, _ in times) / sum(b for _, b in times), "median step", sorted(b for _, b in times)[len(times)//2])
model.eval()
index = json.load(open(folder + "/index.json"))
ids = [[tok.convert_tokens_to_ids(t) for t in v] for v in index.values()]
end = tok.convert_tokens_to_ids("<|im_end|>")
trie = {}
for i in ids:
    d = trie
    for t in i + [end]: d = d.setdefault(t, {})
def run(messages):
    p = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    x = tok(p, return_tensors="pt", add_special_tokens=False); k = x.input_ids.shape[1]
    def allowed(_, s):
        d = trie
        for t in s[k:].tolist():
            d = d.get(t)
            if d is None: return [end]
        return list(d) or [end]
    t = time.time()
    with torch.no_grad(): model.generate(**x, num_beams=20, num_return_sequences=20, max_new_tokens=4, do_sample=False, prefix_allowed_tokens_fn=allowed, eos_token_id=end, pad_token_id=end)
    return time.time() - t
ts = [run(json.loads(l)["messages"][:-1]) for l in open("val.jsonl")]
ts = ts[2:]
print("generate s", sum(ts) / len(ts), min(ts))
