"""Episodes of one origin in a dataset that holds variants."""

import json
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.lerobot import write_dataset
from cosmos_sim.data.origins import held_out_of, labelled_of, read_origins, read_provenance
from cosmos_sim.data.sources.lerobot import LeRobotSource
from cosmos_sim.data.split import held_out
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.types import Episode


def test_variants_are_of_one_group_with_their_source(tmp_path: Path):
    images = np.zeros((3, 16, 24, 3), np.uint8)
    episode = Episode({"top": images}, np.zeros((3, 2), np.float32), np.zeros((3, 4), np.float32), "look")
    data = write_dataset([episode] * 4, tmp_path / "data")
    assert read_provenance(data) is None
    assert read_origins(data, 4) == (0, 1, 2, 3)
    assert held_out_of(data, 40, fraction=0.3) == held_out(40, fraction=0.3)
    file = data / "meta" / "augmentation.jsonl"
    told = [{"episode": k, "source_episode": source, "variant": 0} for k, source in ((1, 7), (2, 0), (3, 7))]
    file.write_text("".join(json.dumps(line) + "\n" for line in told))
    assert read_provenance(data) == told
    assert read_origins(data, 4) == (0, 7, 0, 7)
    items = LeRobotSource(data).items(FileRecords(tmp_path / "files.jsonl"))
    assert [item.group for item in items] == ["0", "7", "0", "7"]
    store = EpisodeStore(data, cache=tmp_path / "cache", fraction=0.5)
    assert {store.train, store.held_out} == {(0, 2), (1, 3)}
    assert held_out_of(data, 4, fraction=0) == ()
    assert {labelled_of(data, (0, 1, 2, 3), share=0.5), labelled_of(data, (0, 1, 3), share=0.5)} <= {
        (0, 2),
        (1, 3),
        (0,),
    }
    assert labelled_of(data, (1, 2, 3), share=1.0) == (1, 2, 3)
    for text in ("{", "3", json.dumps({"episode": 1})):
        file.write_text(text + "\n")
        with pytest.raises(ValueError, match=r"augmentation.jsonl' cannot be read"):
            read_origins(data, 4)
