"""The days on which New York trades, as Dagster partitions."""

from datetime import date, datetime, time
from functools import cached_property

import dagster as dg

from tradebot_core.calendar import NEW_YORK, TradingCalendar

_WEEKENDS = "0 0 * * 6,0"
# A session's orders follow the decisions of the session before.
SESSION_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)


class SessionPartitions(dg.DailyPartitionsDefinition):
    """Dagster's own in everything but the time that its hash takes.

    Dagster makes it anew of a text with every closed day, and asks for it some six times for each asset and job while it loads.
    """

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()


def session_partitions(calendar: TradingCalendar, first_session: date) -> SessionPartitions:
    """One partition for each session from `first_session` on; today's exists from midnight in New York.

    Days are cut at midnight and closed days excluded. (A cron of weekdays would give the same keys, but its Friday would end
    on Monday; an end offset would make holidays into sessions; crons for the holidays that return, the third Monday of January, would be
    a quarter of the list, and make the question whether a day is a partition eight times as dear.)
    """
    closed = [datetime.combine(day, time.min) for day in calendar.holidays if day >= first_session]
    return SessionPartitions(
        start_date=datetime.combine(first_session, time.min),
        timezone=NEW_YORK.key,
        exclusions=[_WEEKENDS, *closed],
    )
