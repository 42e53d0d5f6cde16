"""Figures of merit: of video, of rates, and of the agreement between a learned world and the truth."""
