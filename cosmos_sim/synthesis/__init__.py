"""Dreams: imagined videos of what instructions say, with actions read off them, filtered and judged."""
