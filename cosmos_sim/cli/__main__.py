"""``python -m cosmos_sim.cli``: the command line for launchers that start modules, such as torchrun."""

from cosmos_sim.cli import main

if __name__ == "__main__":
    main()
