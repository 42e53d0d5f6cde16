"""A vision-language model of SmolVLA's kind in miniature: a folder for ``vlm_model_name``, offline and untrained."""

from pathlib import Path

WORDS = ("point", "at", "away", "from", "the", "red", "green", "blue", "square")
SPECIAL = {"fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}


def write_vlm(folder: Path) -> Path:
    """Config, tokenizer and processors, without weights: a policy with ``load_vlm_weights=False`` draws its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Idefics3ImageProcessor, Idefics3Processor, PreTrainedTokenizerFast, SmolVLMConfig

    named = ["<pad>", "<unk>", "<image>", "<end_of_utterance>", *SPECIAL.values(), "\n", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(named)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={**SPECIAL, "image_token": "<image>", "end_of_utterance_token": "<end_of_utterance>"},
    )
    # SmolVLM's own processor wants a package for reading out numbers; SmolVLA asks it for the tokenizer only.
    Idefics3Processor(Idefics3ImageProcessor(), fast).save_pretrained(folder)
    text = {
        "model_type": "llama",
        "vocab_size": len(named),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "pad_token_id": 0,
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    SmolVLMConfig(
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        text_config=text,
        scale_factor=2,
        image_token_id=2,
        pad_token_id=0,
    ).save_pretrained(folder)
    return folder
