"""The folder of a model, which the manifest mounts: its card, its labels and other files."""

import os
import tomllib
from typing import Any, Self

from modelfn_guest.problem import Problem

# The environment variable by which a host gives the card that it serves, where the file does not say everything.
_CARD_VARIABLE = "MODELFN_CARD"

# Larger than any card, list of labels or vocabulary should be.
MAX_FILE_BYTES = 4 << 20


class Folder:
    """A folder of files that the host mounts, read-only; its path is in `path`."""

    def __init__(self, path: str):
        self.path = path

    @classmethod
    def open(cls) -> Self:
        """`/model`, the folder of a function's only model."""
        return cls("/model")

    @classmethod
    def of(cls, name: str) -> Self:
        """`/models/NAME`, the folder of one of several models.

        In spin.toml: `files = [{ source = "models/NAME", destination = "/models/NAME" }, ...]`.
        """
        return cls(f"/models/{name}")

    def bytes(self, name: str) -> bytes:
        """The content of a file of at most 4 MiB; raises `Problem` 500 where it cannot be read."""
        shown = f"{self.path}/{name}"
        try:
            with open(shown, "rb", buffering=0) as file:  # noqa: PTH123, pathlib costs a tenth of a millisecond
                size = os.fstat(file.fileno()).st_size
                if size > MAX_FILE_BYTES:
                    raise Problem.internal(f"{shown} has more than {MAX_FILE_BYTES >> 20} MiB; make it smaller")
                return file.read(size)
        except OSError as error:
            raise Problem.internal(
                f"{shown} cannot be read ({error.strerror}): mount the model's folder at {self.path}"
            ) from None

    def text(self, name: str) -> str:
        """The content of a file in UTF-8; raises `Problem` 500 where it cannot be read or is no text."""
        try:
            return self.bytes(name).decode()
        except UnicodeDecodeError:
            raise Problem.internal(f"{self.path}/{name} is not UTF-8 text; convert it") from None

    def labels(self, name: str) -> list[str]:
        """The lines of a file: line n names class n. Raises what `text` does."""
        return self.text(name).splitlines()

    def card_text(self) -> str:
        """The text of the card, completed by what the host knows; raises `Problem` 500 where it cannot be read."""
        completed = os.environ.get(_CARD_VARIABLE) if self.path == "/model" else None
        return self.text("model.toml") if completed is None else completed

    def card(self) -> dict[str, Any]:
        """The card (`model.toml`), completed by what the host knows; raises `Problem` 500 where it is broken."""
        try:
            return tomllib.loads(self.card_text())
        except tomllib.TOMLDecodeError as error:
            raise Problem.internal(f"the model's card {self.path}/model.toml is broken: {error}") from None
