"""Tiny language models with random weights, what transformers makes of them, and what it makes of folders that Sememe wrote.

    make_models.py make FOLDER     writes the models and their answers (kept in ../models)
    make_models.py ask FOLDER      reads questions as JSON from stdin, writes transformers' answers as JSON
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

HEADERS = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "Answer with a call to one of these, as {\\"name\\": name, \\"parameters\\": {}}.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- eos_token }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + eos_token }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" + eos_token }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

ROLES = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

BRACKETS = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
{% set system_message = false %}{% endif %}{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

THINKING = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and \
not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "user" or message.role == "system" %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' }}
            {%- generation %}{{ content }}{% endgeneration %}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

ODDS = """{%- macro both(a, b='-') %}[{{ a }}|{{ b }}]{% endmacro -%}
{% for message in messages %}
  {%- if message.role == 'skip' %}{% continue %}{% endif %}
  {%- if message.role == 'stop' %}{% break %}{% endif %}
  {{ both(message.role | upper, message['content'].split(' ') | length) }} {{ loop.previtem.role | default('none') }}
  {{- message.get('name', 'nobody') }} {{ message.content[-2:] }} {{ message.content | replace('l', 'L') | title }}
{% endfor %}
{{ documents | map(attribute='title') | join(', ') if documents else 'no documents' }}
{{ {'b': 1, 'a': [1.5, 1e-7, none, true, 'é<&>"']} | tojson }} {{ {'b': 1, 'a': []} | tojson(indent=2, sort_keys=true) }}
{{ ['x', 1, true, none, 2.0] }} {{ {'k': 'it\\'s'} }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -7 % 3 }} {{ "a" ~ 1 ~ none }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ (messages | last).role }} {{ 'x' in 'xyz' }}
{% for key, value in {'b': 1, 'a': 2}.items() %}{{ key }}={{ value }};{% endfor %} {{ undefined_thing }}|
{{ '%s-%d' | format('a', 3) }} {{ 'a,b'.split(',') | first }} {{ range(3) | list }} {{ dict(a=1)['a'] }} {{ 'Ab'.lower().capitalize() }}
"""

TEMPLATES = {"chatml": CHATML, "headers": HEADERS, "roles": ROLES, "brackets": BRACKETS, "thinking": THINKING, "odds": ODDS}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find_item",
            "description": "Finds what \"exists\" – by a <wish>",
            "parameters": {
                "type": "object",
                "properties": {"wish": {"type": "string"}, "count": {"type": "integer", "minimum": 1, "share": 0.5}},
                "required": [],
            },
        },
    }
]

CHATS = {
    "one": [{"role": "user", "content": " Which item?\n"}],
    "system": [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Größe 42, «rot» 🙂 'n \"q\""},
    ],
    "reasons": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "reasoning": "first\n"},
    ],
    "calls": [
        {"role": "user", "content": "find"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "find_item", "arguments": {"wish": "ä", "n": 1.0}}}],
        },
        {"role": "tool", "content": "[1, 2]"},
        {"role": "assistant", "content": "done", "name": "al"},
    ],
    "skips": [
        {"role": "user", "content": "all well"},
        {"role": "skip", "content": "no"},
        {"role": "stop", "content": "no"},
        {"role": "user", "content": "no"},
    ],
}

CORPUS = ["the user took the item and then the next item", "what does the user like? the thing that fits the story best"] * 40


def tokenizer():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    raw.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=285, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


SIZES = dict(
    vocab_size=288,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.3,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS = {
    "llama": (LlamaConfig(**SIZES, tie_word_embeddings=True), "float32", "10GB", "chatml"),
    "llama3": (LlamaConfig(**SIZES, rope_parameters=SCALED), "float32", "10GB", "headers"),
    "qwen2": (Qwen2Config(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 1e6}), "bfloat16", "8KB", "roles"),
    "qwen3": (Qwen3Config(**SIZES, head_dim=6, tie_word_embeddings=True), "float32", "10GB", "thinking"),
}
SEQUENCES = [[1], [1, 70, 71, 260, 5, 9, 280], [3, 250, 287, 4, 4, 100, 33, 261, 262, 263, 90, 17, 2, 1, 7, 8, 9, 10, 11, 12]]


def answers(model, tokens, asked):
    out = {"logits": [], "greedy": [], "texts": []}
    with torch.no_grad():
        for sequence in asked["sequences"]:
            ids = torch.tensor([sequence])
            out["logits"].append(model(ids).logits[0].float())
            more = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None)
            out["greedy"].append(more[0].tolist())
            out["texts"].append(tokens.decode(more[0], skip_special_tokens=True))
    out["tokens"] = [tokens(text, add_special_tokens=False)["input_ids"] for text in asked["texts"]]
    return out


def render(tokens, template, chat, options):
    try:
        return {"text": tokens.apply_chat_template(chat, chat_template=template, tokenize=False, **options)}
    except Exception as error:  # what a template raises is the answer
        return {"error": str(error)}


def make(folder):
    tokens = tokenizer()
    for seed, (name, (config, dtype, shard, template)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
        model.generation_config.eos_token_id = [2, 0]
        model.to(getattr(torch, dtype)).save_pretrained(folder / name, max_shard_size=shard)
        tokens.chat_template = TEMPLATES[template]
        tokens.save_pretrained(folder / name)
        spell(folder / name, name)
        model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        asked = {"sequences": SEQUENCES, "texts": ["the user's item 7</s>", " Größe\n42"]}
        out = answers(model, tokens, asked)
        save_file({str(i): logits.contiguous() for i, logits in enumerate(out.pop("logits"))}, folder / name / "logits.st")
        (folder / name / "answers.json").write_text(json.dumps(asked | out, ensure_ascii=False, indent=1) + "\n")
    rendered = []
    for name, template in TEMPLATES.items():
        for chat in CHATS:
            for options in [{"add_generation_prompt": True}, {"tools": TOOLS, "enable_thinking": False}, {"documents": [{"title": "T", "text": "x"}]}]:
                if name == "headers":
                    options = options | {"date_string": "1 May 2026"}
                rendered.append({"template": name, "chat": chat, "options": options} | render(tokens, template, CHATS[chat], options))
    chats = {"templates": TEMPLATES, "chats": CHATS, "rendered": rendered}
    (folder / "chats.json").write_text(json.dumps(chats, ensure_ascii=False, indent=1) + "\n")


def spell(folder, name):
    """Some folders as transformers 4 and others spelt them."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    template = folder / "chat_template.jinja"
    if name == "qwen2":
        rope = config.pop("rope_parameters")
        config |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": config.pop("dtype")}
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["chat_template"] = template.read_text()
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        template.unlink()
    if name == "llama3":
        rope = config.pop("rope_parameters")
        config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "something_new": {"b": 1, "a": [1e-5]}}
    if name == "qwen3":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}, indent=2) + "\n")
        template.unlink()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def ask(folder):
    asked = json.load(sys.stdin)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, asked.get("dtype", "float32")))
    tokens = AutoTokenizer.from_pretrained(folder)
    out = answers(model, tokens, asked)
    out["logits"] = [logits.tolist() for logits in out["logits"]]
    out["special"] = [i for i in range(len(tokens)) if i in tokens.all_special_ids or tokens.added_tokens_decoder.get(i) and tokens.added_tokens_decoder[i].special]
    out["chats"] = [render(tokens, None, chat, {"add_generation_prompt": True}) for chat in asked["chats"]]
    out["rows"] = model.get_input_embeddings().weight.shape[0]
    out["eos"] = model.generation_config.eos_token_id
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"make": make, "ask": ask}[sys.argv[1]](pathlib.Path(sys.argv[2]))
