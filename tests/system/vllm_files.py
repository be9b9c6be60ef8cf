"""Random weights that vLLM serves: a Llama of 230 kB with a chat template, and two LoRA adapters. Run by vLLM's Python.

`vllm_files.py DIRECTORY` makes DIRECTORY/model, DIRECTORY/sql (of rank 4) and DIRECTORY/wide (of rank 32).
"""
# pyright: basic, reportMissingImports=false

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH = 64
LAYERS = 2
TEMPLATE = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] }}\n{% endfor %}assistant: "
ADAPTER = """{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": %d, "lora_alpha": %d, "bias": "none",
"target_modules": ["q_proj", "v_proj"]}"""


def model(into: Path) -> None:
    """Each byte is a token, so the tokenizer need not be trained."""
    words = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(into)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(into)


def adapter(into: Path, rank: int) -> None:
    """In the format of PEFT, strong enough that it is heard."""
    into.mkdir()
    tensors = {}
    for layer in range(LAYERS):
        for part in ("q_proj", "v_proj"):
            name = f"base_model.model.model.layers.{layer}.self_attn.{part}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, WIDTH)
            tensors[f"{name}.lora_B.weight"] = torch.randn(WIDTH, rank)
    save_file(tensors, into / "adapter_model.safetensors")
    (into / "adapter_config.json").write_text(ADAPTER % (rank, 2 * rank))


if __name__ == "__main__":
    torch.manual_seed(1)
    place = Path(sys.argv[1])
    model(place / "model")
    adapter(place / "sql", 4)
    adapter(place / "wide", 32)
