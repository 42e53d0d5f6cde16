"""What training leaves of a Transfer world in miniature, in folders: random weights, seconds on a CPU."""

from dataclasses import replace
from pathlib import Path

import torch

from cosmos_sim.world_model.annotator import Annotator, AnnotatorConfig, AnnotatorNet
from cosmos_sim.world_model.checkpoints.control import Branch
from cosmos_sim.world_model.checkpoints.control_write import save_branch
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, held
from cosmos_sim.world_model.control import KINDS, ControlBranch, ControlConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer
from cosmos_sim.world_model.words import Words, WordsConfig

VIEWS = ("agentview", "wrist")
SIZE = (32, 64)
WORDS = WordsConfig(length=12, neighbours=1, word=8)
DIT = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    adaln_lora_dim=8,
    context_dim=16,
    context_in_dim=WORDS.width,
)
TOKENIZER = TokenizerConfig(latent_channels=4, patch=2, encoder_width=8, decoder_width=8, multipliers=(1, 2))


def lively(module: torch.nn.Module) -> dict[str, StoredTensor]:
    """The module's weights, every one drawn anew, so that nothing is hidden by a zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if parameter.ndim == 1 else 0.0))
    return {name: held(tensor) for name, tensor in module.state_dict().items()}


def write_exports(folder: Path) -> Path:
    """``base`` with its tokenizer and words, the branches ``edge`` ... ``seg``, and ``annotator``, in ``folder``."""
    torch.manual_seed(0)
    branch = replace(ControlConfig.beside(DIT), blocks=1)
    save_ours(Network(DIT, lively(DiT(DIT))), folder / "base")
    save_tokenizer(Tokenizer(TOKENIZER), folder / "base" / "tokenizer")
    Words(WORDS).save_pretrained(folder / "base" / "text")
    for kind in KINDS:
        save_branch(kind, Branch(branch, DIT, lively(ControlBranch(DIT, branch))), folder / kind)
    (folder / "annotator").mkdir()
    net = AnnotatorNet(AnnotatorConfig(("background", "robot", "cube"), widths=(4, 8)))
    Annotator(net, figures={}).write(folder / "annotator")
    return folder
