"""What is trained of a world, by which loss: the recipes that :func:`cosmos_sim.training.train` runs."""
