"""A folder of the kind of nvidia/Cosmos-Reason1-7B, in miniature: random weights, a tokenizer made on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

LAYERS, HIDDEN, HEAD = 3, 64, 32
WIDTH = LAYERS * HIDDEN
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}{{ content['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, as Qwen's is before its merges, and a chat template that gives the same text as Qwen's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["user", "system", "prompts", "helpful", "assistant"]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            vocabulary.setdefault(word[:end], len(vocabulary))
            if (word[: end - 1], word[end - 1]) not in merges:
                merges.append((word[: end - 1], word[end - 1]))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=TEMPLATE,
    )


def write(folder: Path, *, seed: int = 0, shards: bool = False) -> Path:
    """Write model and tokenizer; weights large enough that every layer changes its input much."""
    made = tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(made),
            "hidden_size": HIDDEN,
            "intermediate_size": 128,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HIDDEN // HEAD,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "pad_token_id": made.pad_token_id,
        },
        vision_config={
            "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 2, "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [0],
        },
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="10KB" if shards else "1GB")
    made.save_pretrained(folder)
    return folder
