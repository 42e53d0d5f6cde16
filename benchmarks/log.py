"""What a benchmark prints, kept beside it."""

from pathlib import Path


class Log:
    """Prints lines and keeps them in a file, which is complete after every line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("")

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")
