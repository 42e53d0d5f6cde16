"""Predict2.5's text encoder: Cosmos-Reason1-7B, a Qwen2.5-VL, of which every layer's output is used.

Reason1 also sees. An image as a style condition would enter at one place: a ``{"type": "image"}`` item beside the
text in :func:`conversation`, with ``pixel_values`` and ``image_grid_thw`` of the model's processor, and the whole
``Qwen2_5_VLModel`` (which makes the vision tokens and their positions) in place of its ``language_model`` in
:func:`concatenated_layers`. Nothing behind that changes. No released checkpoint was trained with it, so it is left
out, and the vision tower is given back after loading.
"""

import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cosmos_sim.training.device import select_device

SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."
PACKAGES = {"int8": "torchao", "nf4": "bitsandbytes"}
"""Kind of quantisation to the package that does it."""
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Reason1Config:
    """Which encoder, and how it is run. The defaults are those of every Predict2.5 checkpoint."""

    model: str = "nvidia/Cosmos-Reason1-7B"
    """A folder as transformers writes it, or the id of one that ``hf download`` has brought."""
    revision: str | None = None
    """Of a hub id: a branch, a tag or a commit."""
    length: int = 512
    """Tokens: longer prompts are cut, shorter ones padded, and padding is encoded and attended to like text."""
    width: int = 100352
    """Layers times width of the model; checked when it is loaded."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    quantise: Literal["int8", "nf4"] | None = None
    """Hold the linear layers in 8 bits (torchao) or 4 (bitsandbytes): about 8 or 5 GB instead of 14, at some error."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.width < 1:
            raise ValueError(f"length and width must be 1 or more, not {self.length} and {self.width}")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be {' or '.join(_DTYPES)}, not {self.dtype!r}")
        if self.quantise is not None and self.quantise not in PACKAGES:
            raise ValueError(f"quantise must be None, {' or '.join(PACKAGES)}, not {self.quantise!r}")
        if self.revision is not None and Path(self.model).is_dir():
            raise ValueError(f"revision={self.revision!r} would be ignored: {self.model} is a folder")


class Reason1:
    """A :class:`cosmos_sim.world_model.text.TextEncoder`. Making one loads nothing; its weights need not be there."""

    def __init__(self, config: Reason1Config | None = None, *, device: str | torch.device = "auto") -> None:
        self.config = config or Reason1Config()
        self.length, self.width = self.config.length, self.config.width
        self.device, self.dtype = select_device(str(device)), _DTYPES[self.config.dtype]
        self._loaded: tuple[nn.Module, Any] | None = None
        self._weights: str | None = None

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory now."""
        return self._loaded is not None

    def identity(self) -> Mapping[str, str]:
        """What the config says, and the words around the prompt; of a folder its name, wherever it lies."""
        config = self.config
        return {
            "encoder": Path(config.model).name,
            "revision": config.revision or "",
            "length": str(config.length),
            "dtype": config.dtype,
            "quantise": config.quantise or "",
            "template": f"{SYSTEM} / user, no generation prompt",
        }

    def weights(self) -> str | None:
        """A fingerprint of the files; ``None`` where they are not at hand."""
        folder = find_model(self.config.model, self.config.revision)
        if folder is None:
            return None
        self._weights = self._weights or fingerprint(folder)
        return self._weights

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b length width"]:
        """The embeddings, one prompt after the other, so that none depends on its company.

        Raises:
            ValueError: the weights are missing, incomplete or of another model, or a package is missing.
        """
        model, tokenizer = self._load()
        out = torch.empty(len(prompts), self.length, self.width, dtype=self.dtype, device=self.device)
        for row, prompt in zip(out, prompts, strict=True):
            ids = token_ids(tokenizer, prompt, length=self.length)
            concatenated_layers(model, ids.to(self.device), out=row)
        return out

    def release(self) -> None:
        """Give back the weights' memory."""
        if self._loaded is not None:
            self._loaded = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _load(self) -> tuple[nn.Module, Any]:
        if self._loaded is None:
            self._loaded = load(self.config, self.device)
        return self._loaded


def concatenated_layers(model: nn.Module, ids: Int[Tensor, "n"], *, out: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Every layer's output, normalised and side by side, written to ``out``; ``model`` is a Qwen2_5_VLTextModel.

    x_l is the output of layer l, of the last one after the final RMSNorm. Each token's vector becomes
    (x - mean) / (std + 1e-8) with the unbiased standard deviation of its own entries (Cosmos-Predict2.5, section on the
    text encoder). No attention mask: attention is causal, and positions count from 0, through the padding.

    The layers are read as they pass, so that one of them at a time is held in fp32.
    """
    layers: list[nn.Module] = [*model.layers[:-1], model.norm]  # type: ignore[index, list-item]
    parts = out.chunk(len(layers), dim=-1)

    def keep(index: int) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            hidden = (output[0] if isinstance(output, tuple) else output)[0].float()
            std, mean = torch.std_mean(hidden, dim=-1, keepdim=True, correction=1)
            parts[index].copy_((hidden - mean) / (std + 1e-8))

        return hook

    hooks = [layer.register_forward_hook(keep(index)) for index, layer in enumerate(layers)]
    try:
        model(input_ids=ids[None], attention_mask=None, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return out


def conversation(prompt: str) -> list[dict[str, Any]]:
    """What the chat template is filled with."""
    return [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", SYSTEM), ("user", prompt))
    ]


def token_ids(tokenizer: Any, prompt: str, *, length: int) -> Int[Tensor, "length"]:
    """The filled template in ``length`` tokens: cut, with a warning, or padded with the tokenizer's padding."""
    ids = tokenizer.apply_chat_template(
        conversation(prompt), tokenize=True, add_generation_prompt=False, return_dict=False
    )
    if len(ids) > length:
        cut = f"the last {len(ids) - length} of its {len(ids)} tokens are cut off"
        warnings.warn(f"the prompt {prompt[:40]!r}... is too long: {cut}", stacklevel=2)
    return torch.tensor(ids[:length] + [tokenizer.pad_token_id] * (length - len(ids)))


def find_model(model: str, revision: str | None = None) -> Path | None:
    """The folder of a model, or of a hub id in the hub's local cache; ``None`` where it is in neither."""
    if Path(model).is_dir():
        return Path(model)
    if model.count("/") != 1 or model.startswith(("/", ".")):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None


def fingerprint(folder: Path) -> str:
    """A hash of a model's config, tokenizer and weights: of each weight file its size and 16 samples of 64 KB."""
    total = sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        total.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for k in range(16):
                file.seek(k * size // 16)
                total.update(file.read(1 << 16))
    return total.hexdigest()


def load(config: Reason1Config, device: torch.device) -> tuple[nn.Module, Any]:
    """The language model of a Reason1 on ``device``, and its tokenizer.

    Raises:
        ValueError: the weights are missing, incomplete or of another model, or a package is missing.
    """
    if config.quantise is not None and importlib.util.find_spec(PACKAGES[config.quantise]) is None:
        package = PACKAGES[config.quantise]
        raise ValueError(f"quantise={config.quantise!r} needs the package {package}: pip install {package}")
    folder = find_model(config.model, config.revision)
    if folder is None:
        at = f" --revision {config.revision}" if config.revision else ""
        raise ValueError(
            f"the text encoder {config.model!r} is not here; get its 17 GB with: hf download {config.model}{at}"
        )
    _check_folder(folder, config)

    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.chat_template or tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer in {folder} has no chat template or no padding token: not Cosmos-Reason1's")
    loader: Any = Qwen2_5_VLForConditionalGeneration
    whole, report = loader.from_pretrained(
        folder,
        dtype=_DTYPES[config.dtype],
        device_map={"": device},
        quantization_config=_quantisation(config),
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights of its config (first: {missing[0]})")
    return whole.model.language_model.eval().requires_grad_(False), tokenizer


def _check_folder(folder: Path, config: Reason1Config) -> None:
    """Refuse, before anything is loaded, another model and incomplete weights.

    Raises:
        ValueError: naming the file.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if values.get("model_type") != "qwen2_5_vl":
        raise ValueError(f"{path} describes model_type={values.get('model_type')!r}, not a qwen2_5_vl")
    text = {**values, **values.get("text_config", {})}
    width = text["num_hidden_layers"] * text["hidden_size"]
    if width != config.width:
        raise ValueError(
            f"{path}: {text['num_hidden_layers']} layers of {text['hidden_size']} make vectors of {width}, "
            f"not of width={config.width}"
        )
    index = folder / "model.safetensors.index.json"
    names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    for name in sorted(names):
        shard = folder / name
        if not shard.is_file():
            raise ValueError(f"{shard} is missing; get it with: hf download {config.model}")
        try:
            with safe_open(shard, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{shard} ({os.path.getsize(shard)} bytes) is damaged: {error}") from error


def _quantisation(config: Reason1Config) -> Any:
    if config.quantise == "int8":
        from transformers import TorchAoConfig

        return TorchAoConfig(importlib.import_module("torchao.quantization").Int8WeightOnlyConfig())
    if config.quantise == "nf4":
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_DTYPES[config.dtype]
        )
    return None
