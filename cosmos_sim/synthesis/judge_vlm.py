"""Vision-language models as judges of dreams: behind an address, or loaded by transformers."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from cosmos_sim.data.chat import LanguageModel, ask, find_chat
from cosmos_sim.data.images import beside, stretch
from cosmos_sim.synthesis.judges import Judgement, Videos
from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.world_model.hub import hub_folder, load_network
from cosmos_sim.world_model.reason1 import fingerprint

_LEAST = 256
"""Pixels that an image shown is high, at the least: small ones are enlarged, as models see little of them."""

_FOLLOWING = (
    "By the end the robot has done just what it was told: the right action, with the right object, to the right place."
)
_PHYSICS = (
    "All of it could be a real recording: objects keep their number, shape and colour, nothing appears, vanishes, "
    "moves by itself or passes through something else, and the robot's arm stays whole."
)


@dataclass(frozen=True)
class Look:
    """How a model is shown a video.

    Raises:
        ValueError: fewer than two moments.
    """

    moments: int = 8
    """Evenly spaced from the first frame to the last, each an image of all cameras side by side."""
    grid: bool = False
    """One image of all moments, row by row, for models that take a single one."""
    cameras: tuple[str, ...] = ()
    """Those shown; all by default."""

    def __post_init__(self) -> None:
        if self.moments < 2:
            raise ValueError(f"a judge must see 2 moments or more, got {self.moments}")

    def images(self, frames: Videos) -> list[UInt8[ndarray, "h w 3"]]:
        """What the model is shown of ``frames``. :class:`ValueError` for a camera that they do not show."""
        names = self.cameras or tuple(frames)
        if unknown := [name for name in names if name not in frames]:
            raise ValueError(f"the dream shows no camera {unknown[0]!r}, only {', '.join(frames)}")
        length = len(frames[names[0]])
        chosen = np.unique(np.linspace(0, length - 1, self.moments).round().astype(int))
        shown = beside([frames[name][chosen] for name in names])
        if (times := math.ceil(_LEAST / shown.shape[1])) > 1:
            shown = stretch(shown, (times * shown.shape[1], times * shown.shape[2]))
        return [_grid(shown)] if self.grid else list(shown)

    def words(self, frames: Videos, instruction: str) -> str:
        """What the model is told of the images and of the instruction."""
        names = self.cameras or tuple(frames)
        moments = f"{min(self.moments, len(frames[names[0]]))} moments"
        form = "This image shows" if self.grid else "These images show"
        order = "row by row, in the order of time" if self.grid else "in the order of time"
        seen = f", each seen by the cameras {', '.join(names)} side by side" if len(names) > 1 else ""
        return (
            f"{form} {moments} of a video, {order}, evenly spaced from its first frame to its last{seen}. The video "
            f"was made by a generative model, and shows a robot arm that was told: {instruction!r}."
        )


@dataclass(frozen=True)
class ChatJudge:
    """A model that is asked in words for both scores and a reason, in JSON; an answer that cannot be used is told to it
    and asked for again.

    Its ``judge`` raises :class:`ValueError` for a refusal of the server or answers that cannot be used, and
    :class:`OSError` where the server cannot be reached.
    """

    model: LanguageModel
    look: Look = Look()

    @property
    def identity(self) -> str:
        """All that decides its judgements, the seed aside."""
        return f"{self.model!r} {self.look!r}"

    def judge(self, frames: Videos, instruction: str, *, seed: int) -> Judgement:
        question = (
            f"{self.look.words(frames, instruction)} Judge two statements, each by a number from 0 (certainly false) "
            f"to 100 (certainly true).\nfollowing: {_FOLLOWING}\nphysics: {_PHYSICS}\nAnswer with one JSON object and "
            'nothing else: {"reason": a sentence on what the video shows, "following": number, "physics": number}'
        )
        return ask(self.model, question, _judgement, seed=seed, images=self.look.images(frames))


class HubJudge:
    """An image-text-to-text model of transformers, whose scores are its probability of saying yes.

    Of each statement it is asked whether it is true; the score is ``P(yes) / (P(yes) + P(no))`` of its next token, as
    in VQAScore (Lin et al., 2024, arXiv:2404.01291): two forward passes, nothing drawn, no answer that is no answer.

    Args:
        model: a folder as transformers writes it, or a hub id that was downloaded.
        look: how it is shown a video; some models take one image only and need ``grid``.
        device: cpu, cuda, ...; ``auto`` takes a GPU where there is one.
        dtype: of the weights; ``auto`` is bf16 on a GPU that computes in it, else fp32.

    The model is loaded when it is first needed. :class:`ValueError` for one that is not here, is broken, or has no
    template for conversations.
    """

    def __init__(self, model: str, look: Look | None = None, *, device: str = "auto", dtype: str = "auto") -> None:
        self.model, self.look = model, look or Look()
        self.device = select_device(device)
        self.dtype = select_dtype(dtype if dtype != "auto" or self.device.type == "cuda" else "float32", self.device)
        self._loaded: tuple[Any, Any] | None = None

    @property
    def identity(self) -> str:
        """All that decides its judgements: of the model its files, not its name."""
        return f"{fingerprint(hub_folder(self.model, 'judge'))} {self.dtype} {self.look!r}"

    def judge(self, frames: Videos, instruction: str, *, seed: int = 0) -> Judgement:
        """See the class. Nothing is left to chance.

        Raises:
            ValueError: a model that cannot be used, or a camera that the dream does not show.
        """
        images = self.look.images(frames)
        words = self.look.words(frames, instruction)
        following, physics = (
            self.chance_of_yes(f"{words} Is this true? {statement} Answer yes or no.", images)
            for statement in (_FOLLOWING, _PHYSICS)
        )
        return Judgement(following, physics, f"says yes to following with {following:.2f}, to physics {physics:.2f}")

    @torch.inference_mode()
    def chance_of_yes(self, question: str, images: Sequence[UInt8[ndarray, "h w 3"]]) -> float:
        """``P(yes) / (P(yes) + P(no))`` of the first token of the answer, whatever their case."""
        processor, network = self._load()
        content: list[dict[str, Any]] = [{"type": "image", "image": Image.fromarray(image)} for image in images]
        conversation = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        inputs = processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self.device, self.dtype)
        logits = network(**inputs).logits[0, -1].double().cpu()
        yes, no = answer_tokens(processor.tokenizer)
        return float(torch.sigmoid(logits[yes].logsumexp(0) - logits[no].logsumexp(0)))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            folder = hub_folder(self.model, "judge")
            try:
                processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            except (OSError, ValueError) as error:
                raise ValueError(f"{str(folder)!r} holds no processor of images and text: {error}") from error
            if getattr(processor, "chat_template", None) is None:
                raise ValueError(
                    f"{str(folder)!r} has no template for conversations: take a model that was taught them"
                )
            network = load_network(AutoModelForImageTextToText, folder, device=self.device, dtype=self.dtype)
            self._loaded = processor, network
        return self._loaded


def find_judge(name: str, look: Look | None = None, *, device: str = "auto") -> ChatJudge | HubJudge:
    """The model called ``name``: an address (see :func:`~cosmos_sim.data.chat.find_chat`), a folder, or a hub id.

    Raises:
        ValueError: it is none of them, or the server does not tell which model is meant.
        OSError: the server cannot be reached.
    """
    if name.startswith(("http://", "https://")):
        return ChatJudge(find_chat(name), look or Look())
    hub_folder(name, "judge")
    return HubJudge(name, look, device=device)


def answer_tokens(tokenizer: Any) -> tuple[Int[Tensor, "n"], Int[Tensor, "m"]]:
    """The tokens that an answer yes, and an answer no, may begin with.

    Raises:
        ValueError: the tokenizer does not tell the two apart.
    """
    found = []
    for word in ("yes", "no"):
        spellings = [space + form for form in (word, word.capitalize(), word.upper()) for space in ("", " ")]
        ids = [tokenizer.encode(spelling, add_special_tokens=False) for spelling in spellings]
        found.append({tokens[0] for tokens in ids if len(tokens) == 1} - {tokenizer.unk_token_id})
    yes, no = found
    if not yes or not no or yes & no:
        raise ValueError(f"the model's tokenizer has no tokens for yes ({sorted(yes)}) and no ({sorted(no)})")
    return torch.tensor(sorted(yes)), torch.tensor(sorted(no))


def _judgement(reply: str) -> Judgement:
    try:
        said = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
    except json.JSONDecodeError as error:
        raise ValueError(f"it holds no JSON object: {error}") from error
    reason = said.get("reason", "")
    if not isinstance(reason, str):
        raise ValueError(f"reason must be a text, got {reason!r}")
    return Judgement(_percent(said, "following"), _percent(said, "physics"), reason)


def _percent(said: Mapping[str, Any], name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"{name} must be a number from 0 to 100, got {value!r}")
    return value / 100


def _grid(images: UInt8[ndarray, "t h w 3"]) -> UInt8[ndarray, "i j 3"]:
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    count, height, width = images.shape[:3]
    whole = np.zeros((rows * columns, height, width, 3), np.uint8)
    whole[:count] = images
    tiled = whole.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return tiled.reshape(rows * height, columns * width, 3)
