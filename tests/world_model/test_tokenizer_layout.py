import copy

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import nn

from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_layout import FrameConv, lay_out


@pytest.mark.parametrize("multipliers", [(1, 2), (1, 2, 2)])
def test_computes_what_the_tokenizer_computes_and_keeps_its_weights(multipliers: tuple[int, ...]):
    torch.manual_seed(0)
    plain = Tokenizer(TokenizerConfig(latent_channels=4, patch=2, encoder_width=8, decoder_width=12,
                                      multipliers=multipliers)).eval()  # fmt: skip
    fast = lay_out(copy.deepcopy(plain))
    assert any(isinstance(module, FrameConv) for module in fast.modules())
    frames = torch.randint(0, 256, (2, 3, 16, 24, 3), dtype=torch.uint8)
    with torch.no_grad():
        latent = plain.encode(frames)
        torch.testing.assert_close(fast.encode(frames), latent, atol=1e-5, rtol=1e-4)
        single = latent.flatten(0, 1)[:, :, None] if latent.ndim == 4 else latent
        torch.testing.assert_close(
            fast.pixels(fast.restore(single)), plain.pixels(plain.restore(single)), atol=1e-5, rtol=1e-4
        )
    before, after = plain.state_dict(), fast.state_dict()
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert lay_out(fast) is fast


def test_a_convolution_over_time_is_refused():
    with pytest.raises(ValueError, match="convolves 3 frames"):
        lay_out(nn.ModuleDict({"conv": WanCausalConv3d(2, 2, 3, padding=1)}))
