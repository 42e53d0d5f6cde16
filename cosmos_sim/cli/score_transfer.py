"""``cosmos-sim score-transfer``."""

from pathlib import Path


def score_transfer(
    *,
    generated: tuple[Path, ...] = (),
    source: tuple[Path, ...] = (),
    dataset: Path | None = None,
    cameras: tuple[str, ...] = (),
    controls: tuple[str, ...] = (),
    annotator: str | None = None,
    phrases: tuple[str, ...] = (),
    quality: str = "sharpness",
    chunk: int | None = None,
    device: str | None = None,
    out: Path | None = None,
) -> None:
    """Score generated videos, or a whole augmented dataset, against the controls they were made under.

    Args:
        generated: Videos that were generated, of one camera each.
        source: The video that each of them was made from; with DATASET the dataset that it was made from, needed only
            where that leaves out the source's episodes.
        dataset: An augmented dataset, in place of videos.
        cameras: Of DATASET; all that were changed by default.
        controls: KIND[@PRESET][:REGION][:WEIGHT], the weight without effect here. By default edge and blur, with an
            annotator depth and seg too; of DATASET what it was made under.
        annotator: Reads depth and segments off frames: hub (Depth Anything, Grounding DINO and SAM 2), or a trained
            annotator's name, folder or hub id. A source with annotations of its own is read from those.
        phrases: Segments to compare; by default all that the annotator knows.
        quality: sharpness, or any function as package.module:function, which takes uint8 frames (t h w 3).
        chunk: Frames; also tell how quality falls from chunk to chunk, relative to the source (RNDS).
        device: Of the annotator: cpu, cuda, ...; a GPU where there is one by default.
        out: A JSON file for the figures.
    """
    from dataclasses import asdict

    from tqdm import tqdm

    from cosmos_sim.augmentation.annotator_open import find_annotator
    from cosmos_sim.augmentation.control_spec import parse_controls
    from cosmos_sim.augmentation.score import ClipScore, TransferScore, clip_decay, score_clip, score_text
    from cosmos_sim.augmentation.score_sources import DatasetPairs, file_pairs
    from cosmos_sim.evaluation.report import strict_json, write_whole
    from cosmos_sim.metrics.quality import find_quality

    if (dataset is None) == (not generated):
        raise ValueError("give either generated videos and their sources, or one augmented dataset")
    if dataset is None and cameras:
        raise ValueError(f"cameras={cameras} would be ignored: they are of a dataset, and videos are given")
    if dataset is not None and len(source) > 1:
        raise ValueError(f"a dataset has one source, got {len(source)}")
    if annotator is None and (device is not None or phrases):
        raise ValueError("device and phrases would be ignored: there is no annotator")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 frame, got {chunk}")
    specs, judge = parse_controls(controls), find_quality(quality)
    reader = None if annotator is None else find_annotator(annotator, device=device or "auto")
    if dataset is None:
        usual = parse_controls(("edge", "blur") if reader is None else ("edge", "blur", "depth", "seg"))
        pairs, count = file_pairs(source, generated, specs or usual), len(generated)
    else:
        whole = DatasetPairs(dataset, source=source[0] if source else None, specs=specs, cameras=cameras)
        pairs, count = iter(whole), len(whole)
    clips = []
    for pair in tqdm(pairs, "scoring", count, unit="clip", leave=False):
        figures = score_clip(
            pair.source,
            pair.generated,
            pair.specs,
            truth=pair.truth,
            annotator=reader,
            phrases=phrases,
            quality=judge,
        )
        decay = () if chunk is None else clip_decay(pair.source, pair.generated, chunk=chunk, quality=judge)
        clips.append(ClipScore(pair.name, tuple(map(str, pair.specs)), figures, decay))
    score = TransferScore(tuple(clips))
    print(score_text(score))
    if out is not None:
        found = {
            "format": "cosmos-sim transfer score 1",
            "annotator": annotator,
            "quality": quality,
            "chunk": chunk,
            "means": {name: asdict(mean) for name, mean in score.means.items()},
            "rnds": list(score.decay),
            "clips": [asdict(clip) for clip in score.clips],
        }
        write_whole(out, strict_json(found))
