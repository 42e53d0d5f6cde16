"""A frame-wise tokenizer laid out for speed: the same function in the layout that convolutions run fastest in.

Measured (benchmarks/profile_step.txt): half the time of a decode on a CPU.
"""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from jaxtyping import Float
from torch import Tensor, nn


class FrameConv(WanCausalConv3d):
    """A causal convolution over one frame, as the two-dimensional one it is; the parameters keep name and shape."""

    def __init__(self, conv: WanCausalConv3d) -> None:
        with torch.device("meta"):
            super().__init__(conv.in_channels, conv.out_channels, (1, 1, 1))
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.weight, self.bias = conv.weight, conv.bias
        left, _, top, *_ = conv._padding
        self.around = (int(top), int(left))

    def forward(self, x: Float[Tensor, "b c 1 h w"], cache_x: Tensor | None = None) -> Float[Tensor, "b d 1 i j"]:
        y = F.conv2d(x.squeeze(2), self.weight.squeeze(2), self.bias, self.stride[1:], self.around)
        return y.unsqueeze(2)


def lay_out[M: nn.Module](tokenizer: M) -> M:
    """Change the convolutions of a frame-wise tokenizer, in place, to two dimensions and channels last.

    Raises:
        ValueError: one of them sees several frames.
    """
    for parent in list(tokenizer.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, WanCausalConv3d) and not isinstance(module, FrameConv):
                if module.kernel_size[0] != 1 or module.stride[0] != 1:
                    raise ValueError(f"{name} convolves {module.kernel_size[0]} frames, not single ones")
                setattr(parent, name, FrameConv(module))
    for module in tokenizer.modules():
        if isinstance(module, FrameConv):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return tokenizer
