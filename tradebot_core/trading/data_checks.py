"""The data checks put to the stored fundamentals of the universe, whatever the strategies: findings by filing and by session.

What stops a purchase is decided on the panel (trading/layers.py). Here the same rules (quant/quality.py) are read off the
reports alone, without prices, so that a rule on the market value is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import QualitySettings
from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import FUNDAMENTALS, SECURITIES
from tradebot_core.quant.quality import KEY_FIGURES, Kind, findings
from tradebot_core.quant.reporting import with_reporting

_HISTORY = timedelta(days=5 * 366)  # as many reports as are compared, of a company that reports once a year
_FEWEST_ISSUERS = 10  # below that a rate says little


@dataclass(frozen=True)
class DataChecks:
    """`members` is the universe at all times (trading.universe.MEMBERS); None means every security of the store."""

    store: DataStore
    calendar: TradingCalendar
    quality: QualitySettings
    members: pl.DataFrame | None

    def of_filings(self, sessions: Sequence[date], *kinds: Kind) -> pl.DataFrame:
        """Findings on the figures as each filing left them that became known in the sessions (columns of quality.findings)."""
        before = self.calendar.cutoff(self.calendar.previous(sessions[0]))
        known_on = pl.col("known_at").dt.convert_time_zone(str(NEW_YORK)).dt.date()
        rows = self._reports(sessions[0], sessions[-1]).filter(pl.col("known_at") > before)
        return findings(_aged(rows.with_columns(session=known_on)), self.quality, *kinds)

    def of_session(self, session: date, *kinds: Kind) -> pl.DataFrame:
        """Findings on what was last known, at the session's cut-off, of each company that is listed in it."""
        return findings(self._latest(session), self.quality, *kinds)

    def null_rates(self, session: date, limit: float | str, figures: Sequence[str] = KEY_FIGURES) -> pl.DataFrame:
        """Figures missing at more than `limit` of the companies that have reported for a year: figure, missing (share),
        companies, limit. Nothing with fewer than ten such companies, or a limit of `off`."""
        grown = self._latest(session).filter(pl.col("report_lag_days").is_not_null())
        schema = {"figure": pl.String, "missing": pl.Float64, "companies": pl.Int64, "limit": pl.Float64}
        if limit == "off" or len(grown) < _FEWEST_ISSUERS:
            return pl.DataFrame(schema=schema)
        rates = [(figure, grown[figure].null_count() / len(grown), len(grown), float(limit)) for figure in figures]
        return pl.DataFrame([rate for rate in rates if not rate[1] <= rate[3]], schema=schema, orient="row")

    def without_facts(self, session: date) -> pl.DataFrame:
        """Securities listed in the session whose issuer has no figures at its cut-off: symbol, cik, name, listed_since."""
        without = self._listed(session).join(self._latest(session), on="cik", how="anti")
        return without.select("symbol", "cik", "name", listed_since="valid_from").sort("symbol")

    def _universe(self, session: date) -> pl.DataFrame:
        """The security master's rows of the universe known at the cut-off, those of the past among them."""
        known = self.store.read(SECURITIES, as_of=self.calendar.cutoff(session))
        return known if self.members is None else known.join(self.members, on="security_id", how="semi", maintain_order="left")

    def _listed(self, session: date) -> pl.DataFrame:
        listed = self._universe(session).filter(pl.lit(session).is_between("valid_from", "valid_to"))
        if self.members is None:
            return listed
        in_session = self.members.filter(pl.lit(session).is_between("first", "last"))
        return listed.join(in_session, on="security_id", how="semi", maintain_order="left")

    def _latest(self, session: date) -> pl.DataFrame:
        last = self._reports(session, session).unique("cik", keep="last", maintain_order=True)
        last = last.join(self._listed(session), on="cik", how="semi")
        return _aged(last.with_columns(session=pl.lit(session)))

    def _reports(self, first: date, last: date) -> pl.DataFrame:
        """Rows of the universe's issuers known at the cut-off of `last`, with the symbol they bore last, by cik and known_at."""
        as_of = self.calendar.cutoff(last)
        rows = self.store.read_versions(FUNDAMENTALS, as_of=as_of, start=first - _HISTORY, end=last, without=("provenance",))
        named = self._universe(last).sort("valid_from").unique("cik", keep="last").select("cik", "symbol")
        versions = rows.join(named, on="cik", how="semi").sort("cik", "known_at", "ingested_at")
        return with_reporting(versions.unique(["cik", "known_at"], keep="last", maintain_order=True)).join(
            named, on="cik", maintain_order="left"
        )


def _aged(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(fundamentals_age_days=(pl.col("session") - pl.col("period_end")).dt.total_days())
