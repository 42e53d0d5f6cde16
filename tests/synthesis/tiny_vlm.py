"""A vision-language model in miniature: a LLaVA with random weights, in a folder as transformers writes it."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

WORDS = ("[UNK]", "[PAD]", "<image>", "user", ":", "yes", "Yes", "no", "lift", "push", "the", "red", "blue", "cube")
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
_SIZE, _PATCH = 28, 14


def tiny_vlm(folder: Path, *, words: tuple[str, ...] = WORDS, template: str | None = TEMPLATE) -> Path:
    torch.manual_seed(0)
    network = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=_SIZE,
                patch_size=_PATCH, projection_dim=16,
            ),
            text_config=LlamaConfig(
                vocab_size=len(words), hidden_size=24, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=3, num_key_value_heads=3, max_position_embeddings=512,
            ),
            image_token_index=words.index("<image>"),
            vision_feature_layer=-1,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():  # without training all answers would be nearly alike
            parameter.add_(0.2 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", additional_special_tokens=["<image>"]
    )
    images = CLIPImageProcessor(
        size={"shortest_edge": _SIZE}, crop_size={"height": _SIZE, "width": _SIZE}, do_center_crop=True
    )
    LlavaProcessor(
        images, fast, patch_size=_PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    return folder
