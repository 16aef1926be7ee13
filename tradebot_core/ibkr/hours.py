"""When no order may be sent: while IBKR or the gateway is restarting it may vanish without an answer; after its open it means
another one.

IBKR resets its servers every night and longer on the weekend (https://www.interactivebrokers.com/en/software/systemStatus.php,
United States). The gateway itself restarts once a day at a time set in it, 23:45 as it comes; orders written in that very second
were lost (QuantConnect/Lean.Brokerages.InteractiveBrokers#242).
"""

from datetime import date, datetime, time, timedelta

from tradebot_core.calendar import NEW_YORK, TradingCalendar

_AROUND_RESTART = timedelta(minutes=5)
_NIGHTLY_RESET = (time(0, 15), time(1, 45))
_BOOKS_CLOSE = timedelta(minutes=2)  # before the open; both exchanges take no order for their opening auction after that
_FRIDAY, _SATURDAY = 4, 5
_WEEKEND_FROM, _WEEKEND_UNTIL = time(23, 0), time(3, 0)


def why_restarting(now: datetime, gateway_restart: time | None) -> str:
    """Why no order may be sent now; empty when one may. `gateway_restart`: New York, None for a gateway that does not."""
    local = now.astimezone(NEW_YORK)
    if (local.weekday() == _FRIDAY and local.time() >= _WEEKEND_FROM) or (
        local.weekday() == _SATURDAY and local.time() < _WEEKEND_UNTIL
    ):
        return "IBKR resets its servers from Friday 23:00 to Saturday 03:00 New York"
    if _NIGHTLY_RESET[0] <= local.time() < _NIGHTLY_RESET[1]:
        return "IBKR resets its servers from 00:15 to 01:45 New York"
    if gateway_restart is not None:
        near = [datetime.combine(local.date() + timedelta(days=days), gateway_restart, NEW_YORK) for days in (-1, 0, 1)]
        if any(abs(local - restart) < _AROUND_RESTART for restart in near):
            return f"the gateway restarts at {gateway_restart:%H:%M} New York (ibkr.gateway_restart)"
    return ""


def why_too_late(now: datetime, session: date, calendar: TradingCalendar) -> str:
    """Why an order decided in `session` may not be sent any more; empty when it may.

    An order for the opening auction that comes after it waits for the next one, a day that was not in the decision."""
    opens = calendar.opens_at(calendar.next(session))
    if now < opens - _BOOKS_CLOSE:
        return ""
    return f"the open it was meant for was on {opens.astimezone(NEW_YORK):%Y-%m-%d at %H:%M} New York"
