"""Types of arguments that several commands take."""

from datetime import date, datetime
from typing import Any

import click

from tradebot_core.calendar import NEW_YORK
from tradebot_core.errors import UsageError
from tradebot_core.wiring import Sleeve, Tradebot


class _Day(click.ParamType):
    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day. Write it as 2024-03-28.", param, ctx)


class _Instant(click.ParamType):
    """A day stands for its decision cut-off; an instant needs its time zone."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:
        if isinstance(value, date):
            return value
        try:
            if len(value) == len("2024-03-28"):
                return date.fromisoformat(value)
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time. Write 2024-03-28 or 2024-03-28T22:00:00+00:00.", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone. Write 2024-03-28T22:00:00+00:00.", param, ctx)
        return instant


DAY, INSTANT = _Day(), _Instant()


def instant_of(given: date | datetime | None, bot: Tradebot) -> datetime:
    """The instant that --as-of names: a day is its cut-off (of today too, before it has come), nothing is now."""
    now = bot.clock.now()
    if given is None:
        return now
    instant = given if isinstance(given, datetime) else bot.calendar.cutoff(given)
    today = now.astimezone(NEW_YORK).date()
    if instant > max(now, bot.calendar.cutoff(today)):
        raise UsageError(f"{given} is in the future: nobody knows what will be known then.", f"Give --as-of {today} or before.")
    return instant


def sleeve_of(bot: Tradebot, strategy: str | None) -> Sleeve:
    """The strategy named, or the only one there is. For commands that read: it may be a variant, strategy@variant."""
    if strategy is None and len(bot.sleeves) != 1:
        raise UsageError("Which strategy's?", f"Add --strategy with one of: {', '.join(bot.sleeves) or 'none is enabled'}.")
    return bot.tested(strategy or next(iter(bot.sleeves)))


def past_sessions(bot: Tradebot, start: date, end: date) -> list[date]:
    """All sessions of the range; both ends must be sessions, and over."""
    calendar = bot.calendar
    calendar.require_session(start)
    calendar.require_session(end)
    first, last = bot.config.first_session, calendar.last_cut_off(bot.clock.now())
    if start < first:
        raise UsageError(f"{start} is before first_session {first}.", "Start later, or set first_session in the configuration.")
    if end > last:
        raise UsageError(f"{end} is not over: the last session with all its data is {last}.", f"End at {last} or before.")
    return list(calendar.sessions(start, end))
