"""Checkpoints of a run: written whole while training goes on, verified when read, the newest ``keep`` of them kept.

A checkpoint is a folder ``step-XXXXXXXX`` (steps done) of ``torch.distributed.checkpoint``, in which every process (of
the first copy of the model, where there are several) wrote what it held, so that any other number of processes can read
it; and ``checkpoint.json``, which says what was trained, by which configs, commit and torch, and holds the size and
CRC-32 of the other files. All processes have to see the same folder.
"""

import json
import re
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from cosmos_sim.data.files import new_file
from cosmos_sim.training.dcp_reader import METADATA, SafeReader
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.layout import Layout
from cosmos_sim.training.weights import named_weights

_META = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")

Fingerprint = dict[str, int]


class CorruptCheckpointError(ValueError):
    """A checkpoint folder that is incomplete or damaged."""


def run_tensors(model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that a checkpoint holds, by name (no copies): ``model.*``, ``ema.*``, ``optimizer.*.exp_avg`` and so on."""
    weights = named_weights(model)
    names = {id(tensor): name for name, tensor in weights.items()}
    tensors = {f"model.{name}": tensor.detach() for name, tensor in weights.items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in ema.weights.items()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"optimizer.{names[id(parameter)]}.{key}": value for key, value in state.items()}
    return tensors


class Checkpoints:
    """The checkpoints of one run, in ``folder``. All processes make every call together."""

    def __init__(self, folder: Path, *, keep: int, layout: Layout) -> None:
        self.folder = folder
        self._keep, self._layout = keep, layout
        # A group of their own: what is said here, from a thread, must not mix with what the loop says meanwhile.
        self._group = dist.new_group(backend="gloo") if layout.size > 1 else None
        self._stager = BlockingAsyncStager(cache_staged_state_dict=layout.device.type == "cuda")  # pinned, if kept
        self._writing: tuple[int, Future[Metadata]] | None = None
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # there is one process, which is meant

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    @property
    def failed(self) -> bool:
        """Whether :meth:`wait` would raise, as far as is known by now in this process."""
        return self._writing is not None and self._writing[1].done() and self._writing[1].exception() is not None

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Begin to write the checkpoint of ``step``; return when ``tensors`` are copied and may change again.

        Once it is whole, all but the newest ``keep`` are deleted.

        Raises:
            OSError: as :meth:`wait`, for the one before.
        """
        self.wait()
        partial_folder = self.folder / f".{self.path(step).name}.partial"
        if self._layout.main:
            shutil.rmtree(partial_folder, ignore_errors=True)
        writer = _Writer(partial_folder, finish=partial(self._publish, partial_folder, step, dict(meta)))
        future = dcp.async_save(
            dict(tensors) if self._layout.copy == 0 else {},  # the plans of all come together in the first process
            storage_writer=writer,
            async_stager=self._stager,
            process_group=self._group,
            no_dist=self._group is None,
        )
        assert isinstance(future, Future)
        self._writing = step, future

    def wait(self) -> None:
        """Return when the last :meth:`save` is on the disk.

        Raises:
            OSError: if it cannot be written (a full disk, for example); earlier checkpoints are then as they were.
        """
        if self._writing is None:
            return
        (step, future), self._writing = self._writing, None
        try:
            future.result()
        except (Exception, CheckpointException) as error:
            if self._layout.main:
                shutil.rmtree(self.folder / f".{self.path(step).name}.partial", ignore_errors=True)
            earlier = [before for before in self.steps() if before != step]
            intact = f"{self.path(earlier[-1])} is intact" if earlier else "there was none before"
            raise OSError(f"the checkpoint of step {step} could not be written: {_cause(error)} ({intact})") from error

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint's ``checkpoint.json``, or ``None`` where there are no checkpoints.

        A damaged checkpoint is set aside as ``step-XXXXXXXX.corrupt`` with a warning, and the one before is taken.

        Raises:
            CorruptCheckpointError: if there are checkpoints and all are damaged, now or at an earlier call.
        """
        steps = self._layout.gather(self.steps())[0]
        damage = ""
        for step in reversed(steps):
            found = [said for said in self._layout.gather(self._damage(step)) if said]
            if not found:
                meta: dict[str, Any] = json.loads((self.path(step) / _META).read_text())
                return meta
            damage = found[0]
            if self._layout.main:
                warnings.warn(f"{damage}; going back to the checkpoint before it", stacklevel=2)
                aside = self.path(step).with_suffix(".corrupt")
                shutil.rmtree(aside, ignore_errors=True)
                self.path(step).rename(aside)
        if steps:
            raise CorruptCheckpointError(f"no checkpoint is left in {self.folder}: the last tried: {damage}")
        aside = self._layout.gather(sorted(path.name for path in self.folder.glob("step-*.corrupt")))[0]
        if aside:
            raise CorruptCheckpointError(
                f"no checkpoint is left in {self.folder} but the damaged {', '.join(aside)}; delete them to begin anew"
            )
        return None

    def load(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Restore, in place, what :meth:`save` wrote, on however many processes.

        Raises:
            ValueError: where a name or a shape differs, naming it.
        """
        reader = SafeReader(self.path(step))
        stored = reader.read_metadata().state_dict_metadata
        odd = sorted(stored.keys() ^ tensors.keys())
        if odd:
            where = "is missing from" if odd[0] in tensors else "is not in the run but in"
            raise ValueError(f"{odd[0]!r} {where} {self.path(step)}, as are {len(odd) - 1} others")
        for name, tensor in tensors.items():
            entry = stored[name]
            assert isinstance(entry, TensorStorageMetadata)
            if entry.size != tensor.shape:
                raise ValueError(
                    f"{name!r} is {tuple(entry.size)} in {self.path(step)}, {tuple(tensor.shape)} in the run"
                )
        dcp.load(dict(tensors), storage_reader=reader, no_dist=True)  # each reads its own: there is nothing to agree on

    def _publish(self, written: Path, step: int, meta: dict[str, Any], files: dict[str, Fingerprint]) -> None:
        """In the first process, once the files of all are on the disk: give them their name, clear old ones away.

        Raises:
            OSError: a file that another process wrote is not there.
        """
        elsewhere = sorted(name for name in files if not (written / name).exists())
        if elsewhere:
            raise OSError(f"{elsewhere[0]} is not in {written}: all processes have to see the same folder")
        with new_file(written / _META) as file:
            file.write_text(json.dumps({"step": step, **meta, "files": files}, indent=2))
        written.rename(self.path(step))
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.path(old))
        for leftover in [*self.folder.glob(".step-*"), *self.folder.glob("step-*.corrupt")]:
            shutil.rmtree(leftover)

    def _damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint, as far as this process has looked: each reads some of the files."""
        folder = self.path(step)
        try:
            files = json.loads((folder / _META).read_text())["files"]
            for name in sorted(files)[self._layout.rank :: self._layout.size]:
                found = _fingerprint(folder / name)
                if found != files[name]:
                    return f"{folder / name} is damaged: {found}, not {files[name]}"
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{folder} is damaged: {type(error).__name__}: {error}"
        return None


@dataclass(frozen=True)
class _Written(WriteResult):
    """Where a tensor was written, and what its file looks like as a whole."""

    fingerprint: Fingerprint


class _Writer(dcp.FileSystemWriter):
    """One file a process. When all are on the disk the first process calls ``finish`` with their fingerprints."""

    def __init__(self, folder: Path, *, finish: Callable[[dict[str, Fingerprint]], None]) -> None:
        super().__init__(folder, per_thread_copy_ahead=0)  # tensors are copied to the CPU already
        self._finish = finish

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        results = super().write_data(plan, planner).wait() if plan.items else []
        prints = {
            name: _fingerprint(Path(self.path) / name) for name in {r.storage_data.relative_path for r in results}
        }
        done: TorchFuture[list[WriteResult]] = TorchFuture()
        done.set_result(
            [_Written(r.index, r.size_in_bytes, r.storage_data, prints[r.storage_data.relative_path]) for r in results]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        super().finish(metadata, results)
        files = {METADATA: _fingerprint(Path(self.path) / METADATA)}
        for result in (result for own in results for result in own):
            assert isinstance(result, _Written)
            files[result.storage_data.relative_path] = result.fingerprint
        self._finish(files)


def _cause(error: BaseException) -> BaseException:
    """What went wrong in the first process in which anything did."""
    failures = error.failures if isinstance(error, CheckpointException) else {}
    return next((cause for cause, _ in failures.values()), error)


def _fingerprint(path: Path) -> Fingerprint:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            crc = zlib.crc32(block, crc)
    return {"bytes": path.stat().st_size, "crc32": crc}
