"""The days on which New York trades, as Dagster partitions."""

from datetime import date, datetime, time

import dagster as dg

from tradebot_core.calendar import NEW_YORK, TradingCalendar

_WEEKENDS = "0 0 * * 6,0"
# A session's orders follow the decisions of the session before.
SESSION_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)


def session_partitions(calendar: TradingCalendar, first_session: date) -> dg.DailyPartitionsDefinition:
    """One partition for each session from `first_session` on; today's exists from midnight in New York.

    Days are cut at midnight and closed days excluded. (A cron of weekdays would give the same keys, but its Friday would end
    on Monday; an end offset would make holidays into sessions.)
    """
    closed = [datetime.combine(day, time.min) for day in calendar.holidays if day >= first_session]
    return dg.DailyPartitionsDefinition(
        start_date=datetime.combine(first_session, time.min),
        timezone=NEW_YORK.key,
        exclusions=[_WEEKENDS, *closed],
    )
