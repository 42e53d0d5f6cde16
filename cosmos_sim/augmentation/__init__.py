"""Demonstrations given back in new scenes: controls out of video, prompts, generation, checks, export."""
