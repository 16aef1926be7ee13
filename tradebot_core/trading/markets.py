"""The market as the session loop sees it: rows of the stored tables, a session at a time.

The tables of many sessions are laid out once as arrays in the order of session and security; what is asked of a session is found in
them by bisection, and nothing is made of the thousands of rows that nobody asks for.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from types import MappingProxyType

import numpy as np
import polars as pl

from tradebot_core.errors import MissingData
from tradebot_core.model.candidates import Candidates, FeatureTable, readable
from tradebot_core.model.decision import Verdict
from tradebot_core.model.keyed_rows import in_order, spans
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.portfolio import usd
from tradebot_core.trading.found import Found
from tradebot_core.trading.industries import Industries
from tradebot_core.trading.late_actions import LateWord
from tradebot_core.trading.outsiders import Outsiders
from tradebot_core.trading.session import Close, LastPrice, SessionMarket


def closes_of(bars: pl.DataFrame) -> dict[int, LastPrice]:
    """Of bars with session, security_id and close, one of each security."""
    rows = bars.select("session", "security_id", "close").iter_rows()
    return {security: LastPrice(usd(close), session) for session, security, close in rows}


def volumes_in(panel: pl.DataFrame) -> Callable[[int, date], float | None]:
    """The median dollar volume by security and session, of rows of the panel."""
    known = {
        (security, on): volume for security, on, volume in panel.select(*_ROW[::-1], "median_dollar_volume_20d").iter_rows()
    }
    return lambda security_id, session: known.get((security_id, session))


# An order decided before one of these means other shares than those that trade after it.
VOIDING_ACTIONS = (str(ActionType.SPLIT), str(ActionType.DELISTING))
_ROW = ("session", "security_id")
_EPOCH = date(1970, 1, 1).toordinal()


class SessionRows:
    """A table sorted by session, cut into its sessions without copying."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = in_order(rows, ["session"])
        self._at = spans(self._rows["session"])

    def of(self, session: date) -> pl.DataFrame:
        start, stop = self._at.get(session, (0, 0))
        return self._rows.slice(start, stop - start)


class _Bars:
    """Bars in the order of security and session, one of each."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.table = in_order(rows, ("security_id", "session"))
        self.closes = self.table["close"].to_numpy()
        self._days = self.table["session"].to_physical().cast(pl.Int64).to_numpy()
        self._spans = spans(self.table["security_id"])

    @property
    def securities(self) -> Collection[int]:
        return self._spans.keys()

    def place(self, session: date, security: int) -> int | None:
        at = self._after(session, security) - 1
        return at if at >= 0 and self._days[at] == _day(session) else None

    def last(self, session: date, security: int) -> tuple[date, float] | None:
        """The session and the close of the last bar up to a session."""
        at = self._after(session, security) - 1
        return (self.table["session"][at], float(self.closes[at])) if at >= 0 else None

    def _after(self, session: date, security: int) -> int:
        """The place after its last bar up to the session; 0 where it has none."""
        start, stop = self._spans.get(security, (0, 0))
        count = int(self._days[start:stop].searchsorted(_day(session), side="right"))
        return start + count if count else 0


def _day(session: date) -> int:
    return session.toordinal() - _EPOCH


class _Verdicts:
    """The table of a layer in the order of session and security."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.table = in_order(rows, _ROW)
        self._security_ids = self.table["security_id"].to_numpy()
        self._spans = spans(self.table["session"])
        self._columns = [readable(self.table[name]) for name in ("passed", "rule", "value", "threshold")]

    def of(self, session: date) -> tuple[int, int]:
        return self._spans.get(session, (0, 0))

    def places(self, session: date, securities: Sequence[int]) -> list[int | None]:
        start, stop = self.of(session)
        own = self._security_ids[start:stop]
        found = own.searchsorted(securities)
        there = own[np.minimum(found, len(own) - 1)] == securities if len(own) else np.zeros(len(found), bool)
        return [start + at if known else None for at, known in zip(found.tolist(), there.tolist(), strict=True)]

    def verdict(self, at: int) -> Verdict:
        return Verdict(*(read(at) for read in self._columns))


@dataclass(frozen=True)
class _LookedAt:
    """What several books look at in the same sessions, once made: it is of the market and of no book."""

    candidates: dict[date, Candidates] = field(default_factory=dict)
    closes: dict[date, dict[int, LastPrice]] = field(default_factory=dict)


class MarketHistory:
    """Bars, actions and layer verdicts of a range, handed out session by session in order.

    It also answers the simulated engine about the session in hand. Prices carry forward over sessions without a bar.

    It is large and holds nothing that holds it: it goes with the last name for it, and does not wait for the garbage collector.
    """

    def __init__(
        self,
        bars: pl.DataFrame,
        actions: pl.DataFrame,
        layers: Mapping[str, pl.DataFrame],
        late: Sequence[LateWord] = (),
        outsiders: Outsiders | None = None,
        before: Mapping[int, LastPrice] = MappingProxyType({}),
        industries: Industries | None = None,
        volume_of: Callable[[int, date], float | None] = lambda security_id, session: None,
    ) -> None:
        """`bars` one version per security and session; `layers` in order; `outsiders` judges what is held and outside of the universe;
        `before` are the closes of the session before the first; `volume_of` gives the median dollar volume where it is known."""
        self._bars = _Bars(bars)
        self._open, self._low, self._high = (self._bars.table[name].to_numpy() for name in ("open", "low", "high"))
        self._traded = self._bars.table["volume"]
        self._volume_of = volume_of
        self._actions = SessionRows(actions.select("session", "security_id", "type", "value"))
        self._splits, self._voided = _splits_and_voided(actions)
        self._layers = [_Verdicts(frame) for frame in layers.values()]
        self._features = FeatureTable(self._layers[-1].table) if self._layers else None
        self._late: dict[date, list[LateWord]] = {}
        for word in late:
            self._late.setdefault(word.session, []).append(word)
        self._outsiders = outsiders
        self._industries = industries
        self._before = before
        self._looked_at: _LookedAt | None = None
        self._carried = dict(before)  # prices of before the first session
        self._session_before: date | None = None
        self._session: date | None = max((last.session for last in before.values()), default=None)
        self._begun: date | None = self._session

    def again(self) -> "MarketHistory":
        """The same market for another book, before its first session. What was laid out is shared, and so is what one of the books has
        looked at: the next finds it made."""
        self._looked_at = self._looked_at or _LookedAt()
        other = copy(self)
        other._carried = dict(self._before)
        other._session_before, other._session = None, self._begun
        return other

    def warm_up(self, prices: Mapping[int, LastPrice]) -> None:
        """Prices known before the first session, so that a held security which does not trade has one."""
        self._carried.update(prices)

    def close(self, session: date) -> Close:
        """The session's close; call in session order."""
        actions = [
            CorporateAction(security, on, ActionType(kind), value)
            for on, security, kind, value in self._actions.of(session).iter_rows()
        ]
        self._session_before, self._session = self._session, session
        return Close(session, self._prices(session), actions, self._late.get(session, ()))

    def market(self, session: date, held: Sequence[int]) -> SessionMarket:
        """What a decision at the close may look at. `held` are the securities held then, the day's purchases included."""
        assert self._features is not None
        candidates = self._looked_at.candidates.get(session) if self._looked_at else None
        if candidates is None:
            price_of = partial(_close_of, self._bars, session)
            candidates = self._features.candidates(*self._layers[-1].of(session), price_of)
            if self._looked_at:
                self._looked_at.candidates[session] = candidates
        verdicts = self._verdicts(session, held)
        if self._outsiders is not None:
            verdicts |= self._outsiders.verdicts(session, [security for security in held if security not in verdicts])
        before = self._session_before
        return SessionMarket(
            session,
            candidates,
            verdicts,
            self._prices(session),
            Found(lambda security: self._volume_of(security, session), self._securities),
            Found(lambda security: self._previous_close(security, before, session), self._securities),
            self._industries.of(session) if self._industries is not None else None,
        )

    def open_price(self, security_id: int, session: date) -> float | None:
        at = self._in_hand(security_id, session)
        return float(self._open[at]) if at is not None else None

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        at = self._in_hand(security_id, session)
        return (float(self._low[at]), float(self._high[at])) if at is not None else None

    def close_price(self, security_id: int, session: date) -> float | None:
        at = self._in_hand(security_id, session)
        return float(self._bars.closes[at]) if at is not None else None

    def traded_volume(self, security_id: int, session: date) -> float | None:
        at = self._in_hand(security_id, session)
        return self._traded[at] if at is not None else None

    def _in_hand(self, security_id: int, session: date) -> int | None:
        """The place of the bar, where it is of the session that was closed last."""
        return self._bars.place(session, security_id) if session == self._session else None

    def voids_orders(self, security_id: int, session: date) -> bool:
        return (session, security_id) in self._voided

    # Prices

    def _prices(self, session: date) -> Found[LastPrice]:
        return Found(lambda security: self._last_price(security, session), self._securities)

    def _last_price(self, security: int, session: date) -> LastPrice | None:
        """The last close up to the session; a price carried over a split is stated in the new shares."""
        known = self._looked_at.closes.setdefault(session, {}) if self._looked_at else {}
        if security in known:
            return known[security]
        at = self._bars.place(session, security)
        if at is not None:
            known[security] = LastPrice(usd(float(self._bars.closes[at])), session)
            return known[security]
        last = self._bars.last(session, security)
        if last is None:
            last = self._carried.get(security)
            return self._restated(security, last, self._begun, session) if last is not None else None
        return self._restated(security, LastPrice(usd(last[1]), last[0]), last[0], session)

    def _restated(self, security: int, last: LastPrice, after: date | None, session: date) -> LastPrice:
        price = last.price
        for on, ratio in self._splits.get(security, ()):
            if (after is None or on > after) and on <= session:
                price = usd(price / usd(ratio))
        return LastPrice(price, last.session) if price is not last.price else last

    def _previous_close(self, security: int, before: date | None, session: date) -> Decimal | None:
        """That of the session before, in the shares of this one."""
        if before is None:
            return None
        at = self._bars.place(before, security)
        if at is not None:
            last: LastPrice | None = LastPrice(usd(float(self._bars.closes[at])), before)
        else:
            last = self._carried.get(security)
        if last is None or last.session != before:
            return None
        return self._restated(security, last, before, session).price

    def _securities(self) -> Sequence[int]:
        return sorted({*self._bars.securities, *self._carried})

    # Verdicts

    def _verdicts(self, session: date, held: Sequence[int]) -> dict[int, Verdict]:
        """Of each held security the verdict of the last layer that saw it."""
        verdicts: dict[int, Verdict] = {}
        unseen = list(held)
        for layer in reversed(self._layers):
            if unseen:
                places = layer.places(session, unseen)
                verdicts |= {security: layer.verdict(at) for security, at in zip(unseen, places, strict=True) if at is not None}
                unseen = [security for security, at in zip(unseen, places, strict=True) if at is None]
        return verdicts


def _close_of(bars: _Bars, session: date, security: int) -> float:
    at = bars.place(session, security)
    if at is None:  # a layer judged it in this session, so there was one
        raise MissingData(
            f"There is no bar of security {security} in {session}, though a layer has judged it.",
            "Materialize the strategy's layers again: the bars have changed since.",
        )
    return float(bars.closes[at])


def _splits_and_voided(
    actions: pl.DataFrame,
) -> tuple[Mapping[int, Sequence[tuple[date, float]]], frozenset[tuple[date, int]]]:
    rows = actions.filter(pl.col("type").is_in(VOIDING_ACTIONS)).sort("session")
    splits: dict[int, list[tuple[date, float]]] = {}
    for on, security, ratio in rows.filter(type=str(ActionType.SPLIT)).select(*_ROW, "value").iter_rows():
        splits.setdefault(security, []).append((on, ratio))
    return splits, frozenset(rows.select(*_ROW).iter_rows())
