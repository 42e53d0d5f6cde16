"""How fast a run goes, beside what its device could do."""

import resource
import time

import torch

from cosmos_sim.training.layout import Layout

PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 80GB HBM3": 989e12,
    "H100 PCIe": 756e12,
    "A100": 312e12,
}
"""Dense bf16 operations a second, as the maker states them, by a part of the name that torch gives the device."""


def peak_flops(device_name: str) -> float:
    """Dense bf16 operations a second of a CUDA device, by ``torch.cuda.get_device_name()``.

    Raises:
        ValueError: for a device that is not in :data:`PEAKS`.
    """
    for part, peak in PEAKS.items():
        if part in device_name:
            return peak
    raise ValueError(f"no peak speed known of {device_name!r} (known: {sorted(PEAKS)})")


class Speed:
    """Counts what was done since the last reading."""

    def __init__(self, layout: Layout, step: int) -> None:
        self._layout = layout
        try:
            on_gpu = layout.device.type == "cuda"
            self._peak = peak_flops(torch.cuda.get_device_name(layout.device)) if on_gpu else None
        except ValueError:
            self._peak = None
        self.start(step)

    def start(self, step: int) -> None:
        """Count from here, where ``step`` steps are done."""
        self._clock, self._step, self._tokens, self._flops = time.perf_counter(), step, 0.0, 0.0

    def add(self, tokens: float, flops: float, *, processes: int) -> None:
        """A loss and its gradient, that of so many tokens and operations, shared by so many processes."""
        self._tokens += tokens / processes
        self._flops += flops / processes

    def read(self, step: int, *, samples: int | None) -> dict[str, float]:
        """Steps, samples and tokens a second of all processes together, the share of the device's peak that this one
        reached (``mfu``), and the most memory that it held so far, in GiB (on a GPU if it computes on one).

        Args:
            step: how many steps are done by now.
            samples: how many there are in a step, if that is known.
        """
        seconds, steps = time.perf_counter() - self._clock, step - self._step
        figures = {"steps/s": steps / seconds}
        if samples is not None:
            figures["samples/s"] = steps * samples / seconds
        if self._tokens:
            figures["tokens/s"] = self._tokens * self._layout.size / seconds
        if self._flops and self._peak is not None:
            figures["mfu"] = self._flops / seconds / self._peak
        figures["memory_gib"] = _peak_memory(self._layout.device) / 2**30
        self.start(step)
        return figures


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
