"""Segments by words: Grounding DINO finds them in the first frame, SAM 2 follows them, both through transformers."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.segments import BACKGROUND, Segments
from cosmos_sim.training.device import select_device
from cosmos_sim.world_model.hub import hub_folder, load_network

DETECTOR = "IDEA-Research/grounding-dino-base"
TRACKER = "facebook/sam2.1-hiera-large"

THRESHOLDS = ((0.15, 0.25), (0.1, 0.1))
"""Least score of a box and of its words, and those of the second try where the first finds nothing (Transfer2.5)."""


class GroundedSam:
    """A detector and a tracker, which are loaded when they are first needed."""

    def __init__(
        self, detector: str = DETECTOR, tracker: str = TRACKER, *, device: str | torch.device = "auto"
    ) -> None:
        self.detector, self.tracker, self.device = detector, tracker, select_device(str(device))
        self._detector: tuple[Any, Any] | None = None
        self._tracker: tuple[Any, Any] | None = None

    @torch.inference_mode()
    def __call__(self, frames: UInt8[ndarray, "t h w 3"], phrases: Sequence[str]) -> Segments:
        """Where each of ``phrases`` is; a pixel that several claim belongs to the one that is surest of it.

        All objects that a phrase finds in the first frame are one segment. What is not to be seen there is never
        found; a warning names a phrase that finds nothing.

        Raises:
            ValueError: weights are missing or incomplete, no phrases, or frames that are not ``uint8 t h w 3``.
        """
        if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] != 3 or frames.size == 0:
            raise ValueError(f"a video is uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")
        if not phrases or not all(phrase.strip() for phrase in phrases):
            raise ValueError(f"the segments to look for must be named, got {list(phrases)}")
        boxes = [self._boxes(frames[0], phrase) for phrase in phrases]
        owners = [k for k, found in enumerate(boxes) for _ in found]
        for phrase, found in zip(phrases, boxes, strict=True):
            if not len(found):
                warnings.warn(f"nothing like {phrase!r} was found in the first frame", stacklevel=2)
        ids = np.zeros(frames.shape[:3], np.uint8)
        if owners:
            owner = torch.tensor(owners, device=self.device)
            for k, logits in enumerate(self._follow(frames, torch.cat(boxes))):
                ids[k] = _surest(logits, owner, len(phrases))
        return Segments(ids, (BACKGROUND, *phrases))

    def _boxes(self, image: UInt8[ndarray, "h w 3"], phrase: str) -> Float[Tensor, "n 4"]:
        """Corners in pixels of all that ``phrase`` finds, the surest first."""
        if self._detector is None:
            folder = hub_folder(self.detector, "detector")
            from transformers import AutoProcessor, GroundingDinoForObjectDetection

            network = load_network(GroundingDinoForObjectDetection, folder, device=self.device)
            self._detector = AutoProcessor.from_pretrained(folder, local_files_only=True), network
        processor, network = self._detector
        # Grounding DINO was trained on lower case phrases that end in a full stop.
        text = phrase.lower().strip().rstrip(".") + "."
        inputs = processor(images=image, text=text, return_tensors="pt").to(self.device)
        outputs = network(**inputs)
        for box, words in THRESHOLDS:
            (found,) = processor.post_process_grounded_object_detection(
                outputs, inputs.input_ids, threshold=box, text_threshold=words, target_sizes=[image.shape[:2]]
            )
            if len(found["boxes"]):
                break
        order = found["scores"].argsort(descending=True)
        boxes: Tensor = found["boxes"][order]
        return boxes

    def _follow(self, frames: UInt8[ndarray, "t h w 3"], boxes: Float[Tensor, "n 4"]) -> Iterator[Tensor]:
        """Of each frame, the logits ``n h w`` of the objects that ``boxes`` hold in the first.

        Frame after frame, and with what the tracker no longer looks at forgotten, so that memory does not grow.
        """
        if self._tracker is None:
            folder = hub_folder(self.tracker, "tracker")
            from transformers import Sam2VideoModel, Sam2VideoProcessor

            network = load_network(Sam2VideoModel, folder, device=self.device)
            self._tracker = Sam2VideoProcessor.from_pretrained(folder, local_files_only=True), network
        processor, network = self._tracker
        session = processor.init_video_session(inference_device=self.device)
        looks_back = max(network.config.num_maskmem, network.config.max_object_pointers_in_encoder)
        for k, image in enumerate(frames):
            inputs = processor(images=image, return_tensors="pt").to(self.device)
            if k == 0:
                processor.add_inputs_to_inference_session(
                    session,
                    frame_idx=0,
                    obj_ids=list(range(len(boxes))),
                    input_boxes=[boxes.tolist()],
                    original_size=image.shape[:2],
                )
            found = network(session, frame=inputs.pixel_values[0], frame_idx=k)
            (logits,) = processor.post_process_masks([found.pred_masks], [image.shape[:2]], binarize=False)
            yield logits[:, 0]
            session.processed_frames.pop(k)
            for outputs in session.output_dict_per_obj.values():
                outputs["non_cond_frame_outputs"].pop(k - looks_back, None)


def _surest(logits: Float[Tensor, "n h w"], owner: Tensor, phrases: int) -> UInt8[ndarray, "h w"]:
    """The phrase, from 1 on, whose objects claim each pixel most; 0 where none has a logit above 0."""
    best = torch.zeros(phrases + 1, *logits.shape[1:], device=logits.device, dtype=logits.dtype)
    best[1:] = torch.stack(
        [logits[owner == k].amax(0) if (owner == k).any() else torch.full_like(logits[0], -1) for k in range(phrases)]
    )
    return best.argmax(0).to(torch.uint8).cpu().numpy()
