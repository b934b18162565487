"""How long each phase of one request took, for the header `Server-Timing`."""

from time import perf_counter_ns


class Stopwatch:
    """A stopwatch whose laps are named phases; it starts when it is made.

    `Response.timing` puts it into the response.
    """

    def __init__(self) -> None:
        self._lap_started = perf_counter_ns()
        self._laps: list[str] = []

    def lap(self, phase: str) -> None:
        """Ends a lap under the name of its phase, a word without spaces, and starts the next."""
        now = perf_counter_ns()
        self._laps.append(f"{phase};dur={(now - self._lap_started) / 1e6:.2f}")
        self._lap_started = now

    def header(self) -> str:
        """The header's value: `decode;dur=1.23, compute;dur=9.80`, in milliseconds."""
        return ", ".join(self._laps)
