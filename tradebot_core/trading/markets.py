"""The market as the session loop sees it: rows of the stored tables, a session at a time."""

from collections.abc import Mapping, Sequence, Set
from datetime import date
from decimal import Decimal
from types import MappingProxyType

import polars as pl

from tradebot_core.model.decision import Candidate, Verdict
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.portfolio import usd
from tradebot_core.trading.industries import Industries
from tradebot_core.trading.late_actions import LateWord
from tradebot_core.trading.outsiders import Outsiders
from tradebot_core.trading.session import Close, LastPrice, SessionMarket


def closes_of(bars: pl.DataFrame) -> dict[int, LastPrice]:
    """Of bars with session, security_id and close, one of each security."""
    rows = bars.select("session", "security_id", "close").iter_rows()
    return {security: LastPrice(usd(close), session) for session, security, close in rows}


# An order decided before one of these means other shares than those that trade after it.
VOIDING_ACTIONS = (str(ActionType.SPLIT), str(ActionType.DELISTING))


class SessionRows:
    """A table sorted by session, cut into its sessions without copying."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows.sort("session", maintain_order=True)
        counts = self._rows.group_by("session", maintain_order=True).len()
        self._at: dict[date, tuple[int, int]] = {}
        offset = 0
        for session, length in counts.iter_rows():
            self._at[session] = (offset, length)
            offset += length

    def of(self, session: date) -> pl.DataFrame:
        offset, length = self._at.get(session, (0, 0))
        return self._rows.slice(offset, length)


class MarketHistory:
    """Bars, actions and layer verdicts of a range, handed out session by session in order.

    It also answers the simulated engine about the session in hand. Prices carry forward over sessions without a bar.
    """

    def __init__(
        self,
        bars: pl.DataFrame,
        actions: pl.DataFrame,
        layers: Mapping[str, pl.DataFrame],
        panel_columns: pl.DataFrame,
        late: Sequence[LateWord] = (),
        outsiders: Outsiders | None = None,
        before: Mapping[int, LastPrice] = MappingProxyType({}),
        industries: Industries | None = None,
    ) -> None:
        """`bars` one version per security and session, `layers` in order, `panel_columns` (of the universe) with session,
        security_id, close and median_dollar_volume_20d; `outsiders` judges what is held and outside of the universe;
        `before` are the closes of the session before the first."""
        self._bars = SessionRows(bars.select("session", "security_id", "open", "close", "low", "high"))
        self._actions = SessionRows(actions.select("session", "security_id", "type", "value"))
        self._layers = [SessionRows(frame) for frame in layers.values()]
        self._panel = SessionRows(panel_columns.select("session", "security_id", "close", "median_dollar_volume_20d"))
        self._late = late
        self._outsiders = outsiders
        self._industries = industries
        self._prices: dict[int, LastPrice] = dict(before)
        self._previous: dict[int, LastPrice] = {}  # as they stood before the session in hand, in its shares
        self._session_before: date | None = None
        self._session: date | None = max((last.session for last in before.values()), default=None)
        self._opens: dict[int, float] = {}

    def warm_up(self, prices: Mapping[int, LastPrice]) -> None:
        """Prices known before the first session, so that a held security which does not trade has one."""
        self._prices.update(prices)

    def close(self, session: date) -> Close:
        """The session's close; call in session order."""
        actions = [
            CorporateAction(security, on, ActionType(kind), value)
            for on, security, kind, value in self._actions.of(session).iter_rows()
        ]
        self._restate_prices(actions)
        self._learn_prices(session)
        return Close(session, self._prices, actions, [word for word in self._late if word.session == session])

    def market(self, session: date, held: Sequence[int]) -> SessionMarket:
        """What a decision at the close may look at. `held` are the securities held then, the day's purchases included."""
        panel = self._panel.of(session)
        volumes = {
            security: volume
            for security, volume in panel.select("security_id", "median_dollar_volume_20d").iter_rows()
            if volume is not None
        }
        candidates, verdicts = self._candidates(session, panel), self._verdicts(session, held)
        if self._outsiders is not None:
            verdicts |= self._outsiders.verdicts(session, held)
        concerned = {*(candidate.security_id for candidate in candidates), *held}
        industries = self._industries.of(session, concerned) if self._industries is not None else None
        previous = self._previous_closes(concerned)
        return SessionMarket(session, candidates, verdicts, self._prices, volumes, previous, industries)

    def _previous_closes(self, concerned: Set[int]) -> dict[int, Decimal]:
        found = {security: self._previous[security] for security in concerned & self._previous.keys()}
        return {security: last.price for security, last in found.items() if last.session == self._session_before}

    def open_price(self, security_id: int, session: date) -> float | None:
        return self._opens.get(security_id) if session == self._session else None

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        if session != self._session:
            return None
        found = self._bars.of(session).filter(security_id=security_id).select("low", "high").rows()
        return found[0] if found else None

    def voids_orders(self, security_id: int, session: date) -> bool:
        rows = self._actions.of(session).filter(security_id=security_id)
        return not rows.filter(pl.col("type").is_in(VOIDING_ACTIONS)).is_empty()

    def _restate_prices(self, actions: Sequence[CorporateAction]) -> None:
        """A price carried over a split is stated in the new shares; where the security trades, its close replaces it."""
        for action in actions:
            if action.type is ActionType.SPLIT and action.security_id in self._prices:
                carried = self._prices[action.security_id]
                self._prices[action.security_id] = LastPrice(usd(carried.price / usd(action.value)), carried.session)

    def _learn_prices(self, session: date) -> None:
        bars = self._bars.of(session)
        ids = bars["security_id"].to_list()
        self._previous, self._prices = self._prices, dict(self._prices)
        self._session_before = self._session
        self._session, self._opens = session, dict(zip(ids, bars["open"].to_list(), strict=True))
        for security, close in zip(ids, bars["close"].to_list(), strict=True):
            self._prices[security] = LastPrice(usd(close), session)

    def _verdicts(self, session: date, held: Sequence[int]) -> dict[int, Verdict]:
        """Of each held security the verdict of the last layer that saw it."""
        verdicts: dict[int, Verdict] = {}
        for layer in self._layers if held else ():
            seen = layer.of(session).filter(pl.col("security_id").is_in(held))
            for row in seen.select("security_id", "passed", "rule", "value", "threshold").iter_rows():
                verdicts[row[0]] = Verdict(*row[1:])
        return verdicts

    def _candidates(self, session: date, panel: pl.DataFrame) -> list[Candidate]:
        passed = self._layers[-1].of(session).filter("passed").join(panel, on=["session", "security_id"], how="left")
        order = ["rank", "security_id"] if "rank" in passed.columns else ["symbol"]
        plain = ("session", "security_id", "symbol", "passed", "rule", "value", "threshold", "median_dollar_volume_20d")
        features = [c for c in passed.columns if c not in plain]
        return [
            Candidate(row["security_id"], row["symbol"], row["close"], {c: row[c] for c in features})
            for row in passed.sort(order, nulls_last=True).iter_rows(named=True)
        ]
