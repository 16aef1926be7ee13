"""The only places that know what time it is. Everything else is given an instant."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tradebot_core.errors import MissingData


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class FixedClock:
    at: datetime

    def now(self) -> datetime:
        return self.at


@dataclass(frozen=True, slots=True)
class SampleClock:
    """The sample market's time, kept in a file so that every process sees the same; the demonstration moves it on."""

    path: Path

    def now(self) -> datetime:
        try:
            return datetime.fromisoformat(self.path.read_text().strip())
        except FileNotFoundError:
            raise MissingData(
                f"The sample market has no clock at {self.path}.", "Run `make run` or `tradebot demo` once to prepare it."
            ) from None

    def set(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("an instant needs its time zone")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(at.astimezone(UTC).isoformat())
        fresh.replace(self.path)
