"""Whether the figures a session rests on are what the facts known at its cut-off give: a value that was restated later, and stands
under its first date, is no look-ahead of any layer, and is seen by all."""

import polars as pl

from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.model.keyed_rows import in_order, is_last_of
from tradebot_core.model.tables import FACTS, FUNDAMENTALS
from tradebot_core.quant.statements import NORMALISATION, normalise_many
from tradebot_core.trading.leaks import Leak
from tradebot_core.trading.lookahead_worlds import Worlds

_ISSUERS = 2  # of a session: normalising one takes up to 70 ms
_CAUSE = (
    "The facts known at the cut-off give another figure: a later one stands under an earlier date, or facts of that date came in after the "
    "figures were made. Materialize fundamentals, and the backtest, anew."
)


def figures_of_later(worlds: Worlds, decided: pl.DataFrame) -> tuple[int, list[Leak]]:
    """How many issuers were looked at, and each whose last figures known at the cut-off are not what its facts known then give.

    `decided`: cik and symbol of what was decided about. Those that file next are looked at: of them a later word could be
    known. An issuer without facts (its source delivers figures), and figures that other rules made, are not looked at.
    """
    rows = worlds.kept.whole(FUNDAMENTALS, without=("provenance",)).join(decided, on="cik", how="semi", maintain_order="left")
    rows = in_order(rows, ["cik", "known_at", "ingested_at"])
    last = rows.filter(pl.col("known_at") <= worlds.cutoff).filter(is_last_of(["cik"])).filter(normalised_by=NORMALISATION)
    following = rows.filter(pl.col("known_at") > worlds.cutoff).group_by("cik").agg(next=pl.col("known_at").min())
    chosen = last.join(following, on="cik", how="left").sort("next", "cik", nulls_last=True).head(_ISSUERS)
    if chosen.is_empty():
        return 0, []
    facts = worlds.cut_store.read_versions(FACTS, as_of=worlds.cutoff, ciks=chosen["cik"].to_list())
    made = in_order(normalise_many(facts, {}), ["cik", "known_at"]).filter(is_last_of(["cik"]))
    pairs = chosen.join(made, on="cik", suffix="_then").join(decided.unique("cik"), on="cik").sort("cik")
    return len(pairs), [
        Leak("fundamentals", worlds.session, row["symbol"], name, str(row[name]), str(row[f"{name}_then"]), _CAUSE)
        for row in pairs.iter_rows(named=True)
        for name in [n for n in ("period_end", *FIGURES) if repr(row[n]) != repr(row[f"{n}_then"])][:1]
    ]
