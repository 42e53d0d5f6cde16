"""The same actions, carried out in the simulator: would they have done what the world imagined?"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cosmos_sim.data.files import new_file
from cosmos_sim.evaluation.outcome import Outcome


def replays(
    task: str,
    outcomes: Sequence[Outcome],
    *,
    split: str | None = None,
    cache: Path | None = None,
    progress: Callable[[], None] | None = None,
) -> list[bool]:
    """For each imagined episode, whether its actions from its start solve the simulator's ``task``.

    Closed-loop runs on two sides part ways with the first difference a policy sees. A replay takes the policy out: with
    the same start and the same actions, a difference in verdict is the world's own, of its frames or of its success
    head. Nothing is rendered, so it costs little; what ``cache`` (a JSON file) knows already costs nothing.
    """
    keys = [_key(task, split, outcome) for outcome in outcomes]
    verdicts: dict[str, bool] = json.loads(cache.read_text()) if cache is not None and cache.is_file() else {}
    missing = {key: outcome for key, outcome in zip(keys, outcomes, strict=True) if key not in verdicts}
    if missing:
        for key, verdict in zip(missing, _simulate(task, split, list(missing.values()), progress), strict=True):
            verdicts[key] = verdict
        if cache is not None:
            with new_file(cache) as partial:
                partial.write_text(json.dumps(verdicts))
    return [verdicts[key] for key in keys]


def _simulate(
    task: str, split: str | None, outcomes: Sequence[Outcome], progress: Callable[[], None] | None
) -> list[bool]:
    from cosmos_sim.envs.twin.replay import replay

    verdicts = []
    for outcome in outcomes:
        verdicts.append(replay(task, outcome.seed, outcome.action, split=split).success)
        if progress is not None:
            progress()
    return verdicts


def _key(task: str, split: str | None, outcome: Outcome) -> str:
    told = task if split is None else f"{task} {split}"
    return hashlib.sha256(f"{told} {outcome.seed} ".encode() + outcome.action.tobytes()).hexdigest()
