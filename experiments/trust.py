"""Does trust tell frames that follow their actions from frames that do not? Its calibration, and how far it goes.

Unseen episodes are shown to the inverse dynamics as they are, through the world's tokenizer and back, and as the world
imagines them from their first frame. Policies also act in the world, and the simulator repeats what they did. Chunks of
frames with the actions that were taken follow; with another episode's actions, with later or earlier ones, or with the
hand sent the other way they do not, and nor do imagined frames that have left those of the simulator or the recording.
Half of the episodes fit the two numbers of the calibration, the other half tells what it is worth.

    python experiments/trust.py --world lift --inverse-dynamics idm/export --data demos --write idm/export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.pretrained import shipped
from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.trust import Trust, TrustRule
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.evaluation.run import BoundedPolicy
from cosmos_sim.evaluation.sides import contenders
from cosmos_sim.evaluation.table import grid
from cosmos_sim.metrics.calibration import calibration, roc_auc
from cosmos_sim.types import Episode
from cosmos_sim.world_model.latent_actions import load_inverse_dynamics
from cosmos_sim.world_model.world import World

Frames = Mapping[str, UInt8[ndarray, "t1 h w 3"]]

NEAR, FAR = 0.22, 0.45
"""Imagined frames are near the true ones below the first, and have left them above the second, of :func:`apart`: a
third and two thirds of what it says of another episode's frames at the same time (in Lift)."""
LEVELS = 48
"""Of 255: the least difference between two pixels that counts."""
DIFFERENT = 0.1
"""Wrong actions count where they differ from those taken by so much of the data's range, root mean square."""
OWN, LEFT = "own actions", "left the true frames"
WRONG = ("another episode's actions", "actions at another time", "mirrored directions")
RESAMPLES = 300


@dataclass(frozen=True, eq=False)
class Video:
    """Frames, and the actions that they follow unless they are too far ``apart`` from the true ones."""

    source: str
    episode: int
    """Videos of one episode are never on both sides of the split."""
    frames: Frames
    action: Float32[ndarray, "t a"]
    apart: Float[ndarray, "t1"]


@dataclass(frozen=True, eq=False)
class Cases:
    """Chunks with actions beside them."""

    error: Float[ndarray, "n"]
    source: ndarray
    kind: ndarray
    episode: ndarray

    @property
    def follows(self) -> Bool[ndarray, "n"]:
        return self.kind == OWN

    def __getitem__(self, rows: ndarray) -> "Cases":
        return Cases(self.error[rows], self.source[rows], self.kind[rows], self.episode[rows])


def apart(frames: Frames, truth: Frames) -> Float[ndarray, "t1"]:
    """How far frames are from the true ones: in each, the share of what has changed since the start, in either of the
    two, that differs between them. 0 where they show the same, 1 where all that moved is elsewhere."""
    differs, moved = (np.zeros(len(next(iter(truth.values())))) for _ in range(2))
    for camera, true in truth.items():
        shown, first = frames[camera].astype(np.int16), true[:1].astype(np.int16)
        ours, theirs = (np.abs(video - first).max(-1) > LEVELS for video in (shown, true.astype(np.int16)))
        off = np.abs(shown - true).max(-1) > LEVELS
        differs += (off & (ours | theirs)).sum((1, 2))
        moved += (ours | theirs).sum((1, 2))
    return differs / np.maximum(moved, 1)


def recorded(world: World, episodes: Sequence[Episode], batch: int) -> Iterator[Video]:
    """Episodes as they were, through the tokenizer, and imagined under their own actions."""
    for first in tqdm(range(0, len(episodes), batch), "recorded", unit="batch"):
        group = episodes[first : first + batch]
        steps = min(len(episode) for episode in group) - 1
        real = {camera: np.stack([e.frames[camera][: steps + 1] for e in group]) for camera in world.spec.cameras}
        action = np.stack([episode.action[:steps] for episode in group])
        shown = world.reconstruct(real)
        start = {camera: videos[:, 0] for camera, videos in real.items()}
        seeds = range(first, first + len(group))
        _, prediction = world.step(world.reset(start, np.stack([e.state[0] for e in group]), seeds), action)
        imagined = {c: np.concatenate([v[:, :1], prediction.frames[c]], axis=1) for c, v in real.items()}
        for row in range(len(group)):
            truth = {camera: videos[row] for camera, videos in real.items()}
            for source, videos in (("real", real), ("tokenizer", shown), ("imagined", imagined)):
                frames = {camera: video[row] for camera, video in videos.items()}
                far = apart(frames, truth) if source == "imagined" else np.zeros(steps + 1)
                yield Video(source, first + row, frames, action[row], far)


def paired(world: World, policies: Sequence[str], starts: int, batch: int) -> Iterator[Video]:
    """Policies act in the world; the simulator repeats what they did."""
    from cosmos_sim.envs.twin.env import CosmosTwin

    assert world.starts is not None
    chosen = world.starts.seeds[:starts].tolist()
    env = HeldWorlds(min(batch, starts), world)
    twin = CosmosTwin(world.spec.task, horizon=world.spec.horizon + 1, terminate_on_success=False)
    try:
        for contender in contenders(policies, device=world.device.type):
            policy = BoundedPolicy(contender.load(), env.single_action_space)
            runs = rollouts(policy, env, chosen, options=lambda seeds: {"twin_seed": list(seeds)})
            for place, run in enumerate(tqdm(runs, contender.name, len(chosen), unit="episode")):
                seen = [twin.reset(seed=run.seed)[0]["pixels"]]
                seen += [twin.step(action)[0]["pixels"] for action in run.action]
                truth = {camera: np.stack([images[camera] for images in seen]) for camera in run.frames}
                yield Video("acted in", -1 - place, run.frames, run.action, apart(run.frames, truth))
    finally:
        twin.close()
        env.close()


def cases(trust: Trust, videos: Sequence[Video], *, translation: int, stride: int) -> tuple[Cases, dict[str, Any]]:
    """Chunks of all videos with right and wrong actions, and how many were left out."""
    k = trust.chunk
    found: dict[str, list[Any]] = {name: [] for name in ("error", "source", "kind", "episode")}
    left_out = dict.fromkeys(("between near and far", "wrong actions that are about right"), 0)
    for video, other in zip(videos, [*videos[3:], *videos[:3]], strict=True):
        starts = np.arange(0, len(video.action) - k + 1, stride)
        if not len(starts):
            continue
        rows = starts[:, None] + np.arange(k)
        (seen,) = trust.see({camera: frames[None] for camera, frames in video.frames.items()})
        taken = video.action[rows]
        near = video.apart[starts + k] <= NEAR
        left = (video.apart[starts] > FAR) & (video.apart[starts + k] > FAR)
        left_out["between near and far"] += int((~near & ~left).sum())
        read = trust.read(seen[rows])
        right = trust.errors(read, taken)
        later = np.minimum(rows + k, len(video.action) - 1)
        later = np.where((starts + 2 * k <= len(video.action))[:, None], later, np.maximum(rows - k, 0))
        mirrored = taken.copy()
        mirrored[..., :translation] *= -1
        wrong = (other.action[np.minimum(rows, len(other.action) - 1)], video.action[later], mirrored)
        kinds = [(OWN, near, right), (LEFT, left, right)]
        for name, actions in zip(WRONG, wrong, strict=True):
            differs = trust.errors(actions, taken) >= DIFFERENT
            left_out["wrong actions that are about right"] += int((near & ~differs).sum())
            kinds.append((name, near & differs, trust.errors(read, actions)))
        for kind, chosen, errors in kinds:
            count = int(chosen.sum())
            found["error"].extend(errors[chosen])
            found["source"] += [video.source] * count
            found["kind"] += [kind] * count
            found["episode"] += [video.episode] * count
    return Cases(*(np.array(found[name]) for name in ("error", "source", "kind", "episode"))), left_out


def area(part: Cases, seed: int = 0) -> dict[str, Any]:
    """Area under the curve; its interval resamples episodes, within which chunks are alike."""
    found = roc_auc(truth=part.follows, score=-part.error)
    result = {
        "auc": found.value,
        "low": None,
        "high": None,
        "follow": int(part.follows.sum()),
        "cases": len(part.error),
    }
    if found.value is None:
        return result
    rng, groups = np.random.default_rng(seed), [np.flatnonzero(part.episode == e) for e in np.unique(part.episode)]
    drawn = []
    for _ in range(RESAMPLES):
        one = part[np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])]
        drawn.append(roc_auc(truth=one.follows, score=-one.error).value)
    known = [value for value in drawn if value is not None]
    return {**result, "low": float(np.quantile(known, 0.025)), "high": float(np.quantile(known, 0.975))}


def areas(part: Cases) -> dict[str, dict[str, Any]]:
    """Of all cases; of each kind and of each source of frames alone."""
    told = {"all": area(part)}
    for kind in (*WRONG, LEFT):
        told[kind] = area(part[part.follows | (part.kind == kind)])
    for source in sorted(set(part.source)):
        told[f"frames: {source}"] = area(part[part.source == source])
    imagined = np.isin(part.source, ("imagined", "acted in")) & np.isin(part.kind, (OWN, LEFT))
    told["own actions, imagined: near against left"] = area(part[imagined])
    return told


def in_equal_parts(part: Cases, seed: int = 0) -> Cases:
    """As many cases that follow as cases that do not, drawn from those that are more: what a probability means then."""
    rng, groups = np.random.default_rng(seed), [np.flatnonzero(part.follows), np.flatnonzero(~part.follows)]
    count = min(map(len, groups))
    return part[np.concatenate([np.sort(rng.permutation(group)[:count]) for group in groups])]


def episodes_lost(trust: Trust, videos: Sequence[Video], rule: TrustRule) -> dict[str, dict[str, int]]:
    """By source, how many episodes lose their trust by ``rule``, and of those that ever left the true frames."""
    told: dict[str, dict[str, int]] = {}
    for video in videos:
        trail = trust.begin(1)
        frames = {camera: images[None] for camera, images in video.frames.items()}
        trail = trust.follow(trail, frames, video.action[None], taken=np.zeros(1, np.int64))
        lost, left = rule.lost_at(trail.trust[0]) is not None, bool((video.apart > FAR).any())
        counts = told.setdefault(video.source, {"episodes": 0, "lost": 0, "left": 0, "left and lost": 0})
        for name, held in (("episodes", True), ("lost", lost), ("left", left), ("left and lost", lost and left)):
            counts[name] += held
    return told


def study(trust: Trust, videos: Sequence[Video], *, translation: int, stride: int) -> tuple[Trust, dict[str, Any]]:
    """A calibrated trust from the even episodes, and from the odd ones what it is worth."""
    every, left_out = cases(trust, videos, translation=translation, stride=stride)
    even = every.episode % 2 == 0
    fitted, test = every[even], every[~even]
    found = TrustCalibration.fit(fitted.error, fitted.follows, samples=trust.calibration.samples)
    balanced = in_equal_parts(test)
    told = areas(test)
    curve = calibration(truth=balanced.follows, probability=found.probability(balanced.error))
    figures = {"auc": told["all"]["auc"], "brier": curve.brier, "calibration_error": curve.error}
    trust = Trust(trust.reader, replace(found, figures=figures))
    rule = TrustRule()
    apart_from = [video for video in videos if video.episode % 2]
    return trust, {
        "calibration": {"intercept": found.intercept, "slope": found.slope, "samples": found.samples},
        "fitted on": {"cases": len(fitted.error), "episodes": len(set(fitted.episode.tolist()))},
        "tested on": {"cases": len(test.error), "episodes": len(set(test.episode.tolist()))},
        "left out": left_out,
        "areas": told,
        "reliability": {**asdict(curve), "error": curve.error},
        "median error": {
            f"{kind}, {source}": float(np.median(test.error[chosen]))
            for kind in (OWN, *WRONG, LEFT)
            for source in sorted(set(test.source))
            if (chosen := (test.kind == kind) & (test.source == source)).any()
        },
        "rule": asdict(rule),
        "episodes": episodes_lost(trust, apart_from, rule),
    }


def table(told: Mapping[str, Any]) -> str:
    """The figures as text."""
    rows = [
        [
            name,
            "undefined" if one["auc"] is None else f"{one['auc']:.3f}",
            "" if one["low"] is None else f"{one['low']:.3f} - {one['high']:.3f}",
            f"{one['follow']} / {one['cases'] - one['follow']}",
        ]
        for name, one in told["areas"].items()
    ]
    curve = [
        [f"{b['low']:.1f} - {b['high']:.1f}", f"{b['probability']:.2f}", f"{b['rate']:.2f}", str(b["count"])]
        for b in told["reliability"]["bins"]
    ]
    lost = [[source, *(str(counts[name]) for name in counts)] for source, counts in told["episodes"].items()]
    return "\n\n".join(
        [
            grid(["held-out episodes", "AUC", "95 %", "follow / do not"], rows),
            grid(["trust", "mean", "follow", "chunks"], curve),
            grid(["episodes", "all", "lost trust", "left the true frames", "both"], lost),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="lift", help="a small world's name, folder or hub id")
    parser.add_argument("--inverse-dynamics", required=True, help="their folder, name or hub id")
    parser.add_argument("--data", type=Path, required=True, help="episodes that neither was trained on")
    parser.add_argument("--episodes", type=int, default=60, help="of the dataset, spread over it")
    parser.add_argument("--starts", type=int, default=20, help="of the world, for policies to act from; 0 for no twin")
    parser.add_argument("--policies", nargs="+", help="who acts; all shipped policies by default")
    parser.add_argument("--translation", type=int, default=3, help="how many of an action's first values to mirror")
    parser.add_argument("--stride", type=int, default=4, help="actions between the chunks that are judged")
    parser.add_argument("--samples", type=int, default=4, help="draws of the inverse dynamics")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", type=Path, help="folder of the inverse dynamics to write trust.json into")
    parser.add_argument("--out", type=Path, default=Path("experiments/trust.json"))
    arguments = parser.parse_args()
    count = dataset_info(arguments.data).episodes
    if not 4 <= arguments.episodes <= count:
        parser.error(f"--episodes must lie in 4 .. {count}, got {arguments.episodes}")
    if arguments.stride < 1:
        parser.error(f"--stride must be at least 1, got {arguments.stride}")
    world = World.from_pretrained(arguments.world, device=arguments.device)
    reader = load_inverse_dynamics(arguments.inverse_dynamics, device=world.device)
    trust = Trust(reader, TrustCalibration(0.0, -1.0, samples=arguments.samples))
    trust.check(world.spec)
    chosen = np.unique(np.linspace(0, count - 1, arguments.episodes).round().astype(int)).tolist()
    videos = list(recorded(world, list(read_episodes(arguments.data, chosen)), arguments.batch))
    if arguments.starts:
        names = arguments.policies or list(shipped("policy"))
        videos += paired(world, names, arguments.starts, arguments.batch)
    trust, told = study(trust, videos, translation=arguments.translation, stride=arguments.stride)
    told_apart = ("out", "write", "data", "inverse_dynamics")
    settings = {name: value for name, value in vars(arguments).items() if name not in told_apart}
    settings |= {"data": arguments.data.name, "inverse_dynamics": reader.metadata}
    found = {"format": "cosmos-sim trust study 1", **settings, "reader": reader.figures, **told}
    print(table(found))
    write_whole(arguments.out, strict_json(found))
    if arguments.write is not None:
        made = {"world": arguments.world, "data": arguments.data.name, "episodes": len(chosen)}
        print(f"written: {replace(trust.calibration, provenance=made).save(arguments.write)}")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
