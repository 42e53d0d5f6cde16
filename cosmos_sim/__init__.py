"""cosmos-sim: learned, action-conditioned video worlds for robot learning.

Importing the package registers ``CosmosWorld-v0`` (the learned world) and ``CosmosTwin-v0`` (the simulator it learned
from) with Gymnasium and imports nothing heavy.
"""

import gymnasium

__version__ = "0.1.0"

gymnasium.register(
    id="CosmosWorld-v0",
    entry_point="cosmos_sim.envs.world:CosmosWorld",
    vector_entry_point="cosmos_sim.envs.world_vector:CosmosWorldVector",
)
gymnasium.register(id="CosmosTwin-v0", entry_point="cosmos_sim.envs.twin.env:CosmosTwin")
