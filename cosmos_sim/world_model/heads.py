"""What a small world predicts beside its frames: proprioception and success.

Proprioception comes in two parts. :class:`Kinematics` integrates what follows from the commands alone (free motion of
the arm), before the frame is imagined, so that the frame can be conditioned on it: as numbers, and as the picture that
:class:`Sketch` draws of them. :class:`Readout` then reads off the imagined frame what the commands do not tell (how far
the gripper closed on the object), and whether the task is solved.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class Kinematics(nn.Module):
    """The next proprioception from the last ones and the actions taken: a residual MLP on normalised values."""

    scale: Float[Tensor, "n"]
    """Standard deviation of one step's change, in normalised units."""

    def __init__(self, *, state_dim: int, action_dim: int, context: int, hidden: int = 256) -> None:
        super().__init__()
        last = nn.Linear(hidden, state_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(context * (state_dim + action_dim), hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            last,
        )
        self.register_buffer("scale", torch.ones(state_dim))

    def forward(self, states: Float[Tensor, "b k n"], actions: Float[Tensor, "b k a"]) -> Float[Tensor, "b n"]:
        """``states`` end now; ``actions`` end with the one to be taken."""
        now = states[:, -1]
        changes = (states[:, :-1] - now[:, None]) / self.scale
        features = torch.cat([now, changes.flatten(1), actions.flatten(1)], dim=-1)
        return now + self.scale * self.net(features)


class Sketch(nn.Module):
    """How the robot looks in a pose, on average over everything else: proprioception to a latent frame.

    A transformer that is told the pose as numbers has to find out for every token where the arm is; this tells it as
    what it has to draw. Objects and what they hide are not in it: those it sees in the frames before.
    """

    def __init__(self, *, state_dim: int, latent_channels: int, latent_size: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.coarse = (-(-latent_size[0] // 4), -(-latent_size[1] // 4))
        self.embed1 = nn.Linear(state_dim, 4 * width)
        self.embed2 = nn.Linear(4 * width, 4 * width)
        self.place = nn.Linear(4 * width, width * self.coarse[0] * self.coarse[1])
        self.up1 = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1)
        self.draw = nn.Conv2d(width // 2, latent_channels, 3, padding=1)
        self.background = nn.Parameter(torch.zeros(latent_channels, *latent_size))

    def forward(self, state: Float[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        """The mean latent frame at normalised proprioception ``state``."""
        h, w = self.coarse
        x = F.silu(self.embed2(F.silu(self.embed1(state.to(self.background.dtype)))))
        x = rearrange(F.silu(self.place(x)), "b (c h w) -> b c h w", h=h, w=w)
        x = self.draw(F.silu(self.up2(F.silu(self.up1(x)))))
        return self.background + x[..., : self.latent_size[0], : self.latent_size[1]]


class Readout(nn.Module):
    """Success, and a correction to the proprioception, from the newest two latent frames."""

    def __init__(self, *, latent_channels: int, latent_size: tuple[int, int], state_dim: int, width: int = 64) -> None:
        super().__init__()
        h, w = latent_size
        features = 2 * width * -(-h // 4) * -(-w // 4)
        self.conv1 = nn.Conv2d(2 * latent_channels, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.hidden = nn.Linear(features + state_dim, 128)
        self.success = nn.Linear(128, 1)
        self.correction = nn.Linear(128, state_dim)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(
        self, latents: Float[Tensor, "b 2 c h w"], state: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b"], Float[Tensor, "b n"]]:
        """The success logit at the newer frame, and what to add to its ``state`` as kinematics has it."""
        x = rearrange(latents, "b k c h w -> b (k c) h w").to(self.conv1.weight.dtype)
        x = F.silu(self.conv2(F.silu(self.conv1(x)))).flatten(1)
        x = F.silu(self.hidden(torch.cat([x, state.to(x.dtype)], dim=-1)))
        return self.success(x).squeeze(-1).float(), self.correction(x).float()
