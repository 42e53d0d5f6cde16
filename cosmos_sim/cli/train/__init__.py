"""Train a part of a world, or a policy, on a LeRobot dataset."""
