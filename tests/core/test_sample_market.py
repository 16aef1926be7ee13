"""The sample market keeps what it promises: real shapes, figures that add up, and every special case."""

import csv
import hashlib
import json
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.errors import StoreError
from tradebot_core.quant.scores import F_SCORE, F_UNKNOWN
from tradebot_core.quant.statements import normalise_many
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.sample_market import (
    BACKTEST_END,
    BACKTEST_START,
    FIRST_SESSION,
    LAST_SESSION,
    LIVE_START,
    SampleMarket,
    prepare,
)
from tradebot_core.simulation.sample_roster import COMPANIES

CIK = {company.symbol: company.cik for company in COMPANIES}
SESSIONS = xnys().sessions(FIRST_SESSION, LAST_SESSION)
FILES = ("companyfacts", "submissions", "bars", "actions", "securities")
EARLY_LIVE = xnys().sessions(LIVE_START, date(2026, 7, 15))


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> SampleMarket:
    return prepare(tmp_path_factory.mktemp("sample") / "market")


@pytest.fixture(scope="session")
def companies(market: SampleMarket) -> Mapping[int, dict[str, Any]]:
    with zipfile.ZipFile(market.companyfacts) as archive:
        found = [json.loads(archive.read(name)) for name in archive.namelist()]
    return {company["cik"]: company for company in found}


@pytest.fixture(scope="session")
def acceptances(market: SampleMarket) -> Mapping[str, tuple[datetime, date]]:
    """Accession -> when it was accepted, and its filing date."""
    found = {}
    with zipfile.ZipFile(market.submissions) as archive:
        for name in archive.namelist():
            document = json.loads(archive.read(name))
            filings = document["filings"]["recent"] if "filings" in document else document
            for row in zip(filings["accessionNumber"], filings["acceptanceDateTime"], filings["filingDate"], strict=True):
                found[row[0]] = (datetime.fromisoformat(row[1]), date.fromisoformat(row[2]))
    return found


@pytest.fixture(scope="session")
def bars(market: SampleMarket) -> pl.DataFrame:
    return pl.read_parquet(market.bars)


@pytest.fixture(scope="session")
def actions(market: SampleMarket) -> list[dict[str, str]]:
    with market.actions.open(newline="") as file:
        return list(csv.DictReader(file))


def rows(company: Mapping[str, Any], tag: str, taxonomy: str = "us-gaap") -> list[dict[str, Any]]:
    units = company["facts"].get(taxonomy, {}).get(tag, {"units": {}})["units"]
    return [row for found in units.values() for row in found]


def all_rows(companies: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for company in companies.values():
        for tags in company["facts"].values():
            for tag, described in tags.items():
                for found in described["units"].values():
                    yield from ((tag, row) for row in found)


def closes(bars: pl.DataFrame, symbol: str) -> dict[date, float]:
    return dict(bars.filter(symbol=symbol).select("session", "close").iter_rows())


def annual(company: Mapping[str, Any], tag: str, form: str = "10-K") -> dict[date, float]:
    """Whole fiscal years by their end, each as its own filing first reported it."""
    found: dict[date, float] = {}
    for row in sorted(rows(company, tag), key=lambda row: row["filed"]):
        start, end = date.fromisoformat(row["start"]), date.fromisoformat(row["end"])
        if row["form"] == form and (end - start).days > 350:
            found.setdefault(end, row["val"])
    return found


# The files ---------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(market: SampleMarket, tmp_path: Path):
    def digests(made: SampleMarket) -> dict[str, str]:
        return {name: hashlib.sha256(getattr(made, name).read_bytes()).hexdigest() for name in FILES}

    assert digests(prepare(tmp_path)) == digests(market)


def test_another_seed_makes_another_market_in_the_same_place_and_leaves_the_clock_alone(market: SampleMarket, tmp_path: Path):
    path = Path(shutil.copytree(market.path, tmp_path / "market"))
    SampleMarket(path).clock_path.write_text("2026-07-01T20:00:00+00:00")
    made = prepare(path, seed=21)
    assert made.bars.read_bytes() != market.bars.read_bytes()
    assert made.companyfacts.read_bytes() != market.companyfacts.read_bytes()
    assert made.clock_path.read_text() == "2026-07-01T20:00:00+00:00"


def test_a_market_that_is_there_is_not_made_again_and_a_damaged_one_is(market: SampleMarket, tmp_path: Path):
    made = SampleMarket(Path(shutil.copytree(market.path, tmp_path / "market")))
    before = made.bars.stat().st_mtime_ns
    assert prepare(made.path) == made
    assert made.bars.stat().st_mtime_ns == before
    made.actions.unlink()
    prepare(made.path)
    assert made.actions.read_bytes() == market.actions.read_bytes()
    assert not list(made.path.glob(".making-*"))


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Give a folder"):
        prepare(tmp_path / "file" / "market")


def test_it_is_small_and_labelled(market: SampleMarket, companies):
    assert sum(file.stat().st_size for file in market.path.iterdir()) < 15_000_000
    assert (market.path / "README.txt").read_text().startswith("FICTIONAL")
    names = [row[2] for row in csv.reader(market.securities.open(newline=""))][1:]
    assert len(names) == len(set(names)) >= 48
    assert all(name.endswith("(sample)") for name in names)
    assert all(company["entityName"].endswith("(sample)") for company in companies.values())


def test_the_identities_belong_to_nobody(companies):
    assert all(len(symbol) == 5 and symbol.startswith("Z") for symbol in CIK)
    assert all(9_900_000_001 <= cik < 9_900_000_100 for cik in companies)


# Filings -----------------------------------------------------------------------------------------------------------------


def test_nothing_is_filed_before_its_period_ends(companies):
    assert all(row["filed"] >= row["end"] for _, row in all_rows(companies))


def test_acceptance_is_on_the_filing_date_or_after_hours_before_it(acceptances):
    after_hours = 0
    for accepted, filed in acceptances.values():
        at = accepted.astimezone(NEW_YORK)
        late = at.time().hour * 60 + at.time().minute >= 17 * 60 + 30
        after_hours += late
        assert filed == (xnys().first_after(at.date()) if late else at.date())
    assert 0.05 < after_hours / len(acceptances) < 0.4


def test_a_row_is_shaped_as_the_secs(companies):
    keys = {"end", "val", "accn", "fy", "fp", "form", "filed"}
    for tag, row in all_rows(companies):
        assert keys <= set(row) <= keys | {"start"}, tag
        assert row["fp"] == "FY" if row["form"].startswith("10-K") else row["fp"] in ("Q1", "Q2", "Q3")
        assert row["accn"][11:13] in (row["filed"][2:4], f"{int(row['filed'][2:4]) - 1:02d}")


def test_assets_are_liabilities_and_equity_in_every_filing(companies):
    checked = 0
    for company in companies.values():
        sheets: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for tag in ("Assets", "Liabilities", "StockholdersEquity", "LiabilitiesAndStockholdersEquity"):
            for row in rows(company, tag):
                sheets[row["accn"], row["end"]][tag] = row["val"]
        for sheet in sheets.values():
            if len(sheet) == 4:
                checked += 1
                assert sheet["Assets"] == sheet["Liabilities"] + sheet["StockholdersEquity"]
                assert sheet["Assets"] == sheet["LiabilitiesAndStockholdersEquity"]
    assert checked > 2_000


def test_quarters_add_up_to_the_year_to_date(companies):
    company = companies[CIK["ZALDR"]]
    revenue = {
        (row["start"], row["end"]): row["val"]
        for row in rows(company, "RevenueFromContractWithCustomerExcludingAssessedTax")
        if row["form"] == "10-Q"
    }
    assert revenue["2025-01-01", "2025-06-30"] == revenue["2025-01-01", "2025-03-31"] + revenue["2025-04-01", "2025-06-30"]


def test_cash_flows_are_reported_to_date_only_and_comparatives_repeat(companies):
    found = [r for r in rows(companies[CIK["ZALDR"]], "NetCashProvidedByUsedInOperatingActivities") if r["form"] == "10-Q"]
    assert all(row["start"].endswith("-01-01") for row in found)
    first_quarter = [row for row in found if row["end"] == "2024-03-31"]
    assert [row["fy"] for row in first_quarter] == [2024, 2025]
    assert len({row["val"] for row in first_quarter}) == 1


def test_history_reaches_back_far_enough_for_three_years_of_growth_in_2021(companies):
    revenue = annual(companies[CIK["ZALDR"]], "RevenueFromContractWithCustomerExcludingAssessedTax")
    assert min(revenue) == date(2016, 12, 31)  # a comparative in the 10-K of 2018
    assert max(revenue) == date(2025, 12, 31)


def test_fiscal_years_differ_and_some_have_53_weeks(companies):
    ends = {cik: set(annual(company, "NetIncomeLoss")) for cik, company in companies.items()}
    assert len({max(found).month for found in ends.values()}) >= 8
    lengths = set()
    for symbol in ("ZLARC", "ZACAC"):
        years = sorted(ends[CIK[symbol]])
        assert all(day.weekday() == 5 for day in years)
        lengths |= {(after - before).days // 7 for before, after in pairwise(years)}
    assert lengths == {52, 53}


def test_an_overstated_year_is_restated_by_an_amendment(companies):
    company = companies[CIK["ZRSIN"]]
    end = date(2024, 12, 31)
    before = annual(company, "NetIncomeLoss")[end]
    after = annual(company, "NetIncomeLoss", form="10-K/A")[end]
    assert after < 0.8 * before
    equity = {
        (row["form"], row["filed"]): row["val"] for row in rows(company, "StockholdersEquity") if row["end"] == end.isoformat()
    }
    assert {form for form, _ in equity} == {"10-K", "10-Q", "10-K/A"}
    amended = next(filed for form, filed in equity if form == "10-K/A")
    assert amended == "2025-06-18"  # accepted in the evening before
    assert len({value for (_, filed), value in equity.items() if filed < amended}) == 1
    assert len({value for (_, filed), value in equity.items() if filed >= amended}) == 1


def test_one_filer_is_late(companies):
    filed = {row["filed"] for row in rows(companies[CIK["ZLATE"]], "Assets") if row["form"] == "10-K" and row["fy"] == 2024}
    assert filed == {"2025-07-08"}


def test_one_company_changes_the_tag_of_its_revenue(companies):
    company = companies[CIK["ZSEQU"]]
    old = {row["filed"] for row in rows(company, "Revenues")}
    new = {row["filed"] for row in rows(company, "RevenueFromContractWithCustomerExcludingAssessedTax")}
    assert max(old) < "2024-01-01" <= min(new)


def test_missing_tags_are_missing(companies):
    assert CIK["ZGHST"] not in companies
    assert not rows(companies[CIK["ZNUTM"]], "StockholdersEquity")
    bank = companies[CIK["ZOLIV"]]
    assert not rows(bank, "AssetsCurrent") and not rows(bank, "PaymentsToAcquirePropertyPlantAndEquipment")
    holly = companies[CIK["ZHOLL"]]
    assert "dei" not in holly["facts"] and rows(holly, "CommonStockSharesOutstanding")


def test_one_company_turns_a_loss_into_a_profit_and_others_the_reverse(companies):
    kapok = annual(companies[CIK["ZKAPO"]], "NetIncomeLoss")
    assert kapok[date(2021, 12, 31)] < 0 < kapok[date(2025, 12, 31)]
    fading = annual(companies[CIK["ZFADE"]], "RevenueFromContractWithCustomerExcludingAssessedTax")
    assert fading[date(2025, 12, 31)] < 0.85 * fading[date(2024, 12, 31)]
    ebony = annual(companies[CIK["ZEBON"]], "NetIncomeLoss")
    assert ebony[max(day for day in ebony if day.year == 2025)] < 0 < ebony[max(day for day in ebony if day.year == 2024)]


def test_share_figures_are_restated_after_a_split(companies):
    found = [
        row
        for row in rows(companies[CIK["ZBAOB"]], "EarningsPerShareDiluted")
        if (row["start"], row["end"]) == ("2024-01-01", "2024-12-31")
    ]
    before, after = (row["val"] for row in sorted(found, key=lambda row: row["filed"])[:2])
    assert before / after == pytest.approx(4, rel=0.02)


def test_acceptance_times_are_missing_for_some_and_paged_for_one(market: SampleMarket, companies):
    with zipfile.ZipFile(market.submissions) as archive:
        names = set(archive.namelist())
        main = json.loads(archive.read(f"CIK{CIK['ZALDR']}.json"))
    (page,) = main["filings"]["files"]
    assert page["name"] in names and page["filingTo"] <= "2021-12-31" < min(main["filings"]["recent"]["filingDate"])
    without = {cik for cik in companies if f"CIK{cik}.json" not in names}
    assert without == {CIK[symbol] for symbol in ("ZTEAK", "ZPAWP", "ZPOPL")}


# Prices ------------------------------------------------------------------------------------------------------------------


def test_bars_are_valid_and_in_whole_cents(bars: pl.DataFrame):
    prices = [pl.col(name) for name in ("open", "high", "low", "close")]
    assert bars.filter(
        (pl.col("high") < pl.max_horizontal(prices)) | (pl.col("low") > pl.min_horizontal(prices)) | (pl.col("low") <= 0)
    ).is_empty()
    assert bars.filter(pl.any_horizontal((p * 100 - (p * 100).round()).abs() > 1e-6 for p in prices)).is_empty()
    assert bars["volume"].min() >= 0
    assert bars.null_count().sum_horizontal().item() == 0


def test_every_session_has_a_bar_of_every_listed_company(bars: pl.DataFrame):
    delisted = {"ZYEWT": date(2024, 11, 15)}
    for symbol in CIK:
        expected = [session for session in SESSIONS if session <= delisted.get(symbol, LAST_SESSION)]
        assert bars.filter(symbol=symbol)["session"].to_list() == list(expected)


def test_raw_prices_jump_with_the_splits(bars: pl.DataFrame, actions):
    splits = {
        row["symbol"]: (date.fromisoformat(row["session"]), float(row["value"])) for row in actions if row["type"] == "split"
    }
    assert sorted(ratio for _, ratio in splits.values()) == [0.1, 2.0, 2.0, 4.0]
    for symbol, (ex_date, ratio) in splits.items():
        close = closes(bars, symbol)
        assert close[xnys().previous(ex_date)] / close[ex_date] == pytest.approx(ratio, rel=0.1)


def test_about_half_pay_regular_dividends(actions):
    paid: dict[str, list[float]] = defaultdict(list)
    for row in actions:
        if row["type"] == "dividend":
            assert xnys().is_session(date.fromisoformat(row["session"]))
            paid[row["symbol"]].append(float(row["value"]))
    assert 20 <= len(paid) <= 32
    assert sum(len(amounts) >= 20 for amounts in paid.values()) >= 20


def test_a_takeover_ends_in_cash(bars: pl.DataFrame, actions, market: SampleMarket):
    (delisting,) = [row for row in actions if row["type"] == "delisting"]
    assert (delisting["symbol"], delisting["session"]) == ("ZYEWT", "2024-11-18")
    close = closes(bars, "ZYEWT")
    assert close[date(2024, 8, 6)] > 1.2 * close[date(2024, 8, 5)]
    assert close[date(2024, 11, 15)] == pytest.approx(float(delisting["value"]), rel=0.01)
    ended = [row for row in csv.DictReader(market.securities.open(newline="")) if row["valid_to"]]
    assert [(row["symbol"], row["valid_to"]) for row in ended] == [("ZYEWT", "2024-11-18")]


def test_one_share_is_thinly_traded_and_one_costs_less_than_a_dollar(bars: pl.DataFrame):
    traded = bars.group_by("symbol").agg((pl.col("close") * pl.col("volume")).median().alias("usd"), pl.col("close").max())
    found = {symbol: (usd, highest) for symbol, usd, highest in traded.iter_rows()}
    assert found["ZTINY"][0] < 100_000
    assert found["ZTUMB"][1] < 1
    assert sum(usd > 1_000_000 for usd, _ in found.values()) >= 45


def test_the_simulated_broker_reads_it(market: SampleMarket):
    data = MarketData.read(market.path)
    listing = data.listing(LIVE_START, symbol="ZQUIN")
    assert listing is not None and data.bar(listing.con_id, LIVE_START) is not None
    assert data.listing(LIVE_START, symbol="ZYEWT") is None


# What there is to decide -------------------------------------------------------------------------------------------------


def known_by(company: Mapping[str, Any], session: date) -> Mapping[str, Any]:
    """Annual figures of the last 10-K filed before a session, and the year before it."""
    income, revenue = {}, {}
    for row in rows(company, "NetIncomeLoss"):
        if row["fp"] == "FY" and row["filed"] < session.isoformat():
            income[row["end"]] = row["val"]
    for tag in ("Revenues", "RevenueFromContractWithCustomerExcludingAssessedTax"):
        for row in rows(company, tag):
            if row["fp"] == "FY" and row["filed"] < session.isoformat():
                revenue[row["end"]] = row["val"]
    end, before = sorted(income)[-1], sorted(income)[-2]
    equity = [row for row in rows(company, "StockholdersEquity") if row["end"] == end]
    shares = sorted(
        (row for row in rows(company, "EntityCommonStockSharesOutstanding", "dei") if row["filed"] < session.isoformat()),
        key=lambda row: row["end"],
    )
    return {
        "income": income[end],
        "growth": revenue[end] / revenue[before] - 1,
        "return": income[end] / equity[0]["val"] if equity else None,
        "shares": shares[-1]["val"] if shares else None,
    }


@pytest.fixture(scope="session")
def candidates(companies, bars) -> dict[date, tuple[set[str], set[str]]]:
    """Good and cheap, good and growing, once a year."""
    found = {}
    for year in range(BACKTEST_START.year, LIVE_START.year + 1):
        session = xnys().first_after(date(year, 6, 30))
        price = dict(bars.filter(session=session).select("symbol", "close").iter_rows())
        cheap, growing = set(), set()
        for company in COMPANIES:
            if company.cik not in companies or company.symbol not in price:
                continue
            known = known_by(companies[company.cik], session)
            if known["return"] is None or known["shares"] is None or known["return"] < 0.15:
                continue
            if known["income"] / (known["shares"] * price[company.symbol]) >= 0.06:
                cheap.add(company.symbol)
            if known["growth"] >= 0.08:
                growing.add(company.symbol)
        found[session] = (cheap, growing)
    return found


def test_there_is_always_something_worth_buying_and_never_everything(candidates):
    for cheap, growing in candidates.values():
        assert 6 <= len(cheap) <= 24
        assert 5 <= len(growing) <= 20


def test_what_is_worth_buying_changes(candidates):
    sets = list(candidates.values())
    for (cheap, growing), (cheap_later, growing_later) in pairwise(sets):
        assert len(cheap ^ cheap_later) >= 3
        assert len(growing ^ growing_later) >= 2


def test_the_first_live_sessions_bring_filings_that_matter(companies, acceptances):
    start, end = (
        datetime.combine(day, datetime.min.time(), UTC) for day in (EARLY_LIVE[0], EARLY_LIVE[-1] + timedelta(days=1))
    )
    accepted = {accession for accession, (at, _) in acceptances.items() if start <= at < end}
    assert {CIK[symbol] for symbol in ("ZQUIN", "ZROWN", "ZMIMO")} <= {int(accession[:10]) for accession in accepted}
    quince = [row["val"] for row in rows(companies[CIK["ZQUIN"]], "NetIncomeLoss") if row["end"] == "2026-05-31"]
    assert min(quince) < 0
    mimosa = {
        row["end"]: row["val"]
        for row in rows(companies[CIK["ZMIMO"]], "RevenueFromContractWithCustomerExcludingAssessedTax")
        if row["fp"] == "Q3" and row["start"][5:] == "03-01"
    }
    assert mimosa["2026-05-31"] < 0.6 * mimosa["2025-05-31"]


def test_the_first_live_sessions_bring_falls_that_matter(bars: pl.DataFrame):
    willow, rowan = closes(bars, "ZWLLW"), closes(bars, "ZROWN")
    assert willow[date(2026, 7, 6)] < 0.7 * willow[date(2026, 7, 2)]
    assert willow[date(2026, 7, 8)] < 0.55 * willow[date(2026, 7, 2)]
    assert rowan[date(2026, 7, 6)] < 0.75 * rowan[date(2026, 7, 2)]


def test_the_backtest_ends_the_session_before_the_live_window_begins():
    assert xnys().next(BACKTEST_END) == LIVE_START
    assert xnys().require_session(BACKTEST_START) == BACKTEST_START


def test_the_sample_market_can_be_scored(market: SampleMarket):
    """All that Piotroski's nine signals need is reported by every company but the one without a classified balance sheet."""
    collector = EdgarFacts(EdgarFacts.Params(path=market.companyfacts, submissions_path=market.submissions), xnys())
    ciks = pl.DataFrame({"cik": [company.cik for company in COMPANIES]})
    facts = pl.concat([batch.rows for batch in collector.collect(ciks, date(2020, 1, 2), date(2026, 6, 30))])
    latest = normalise_many(facts, {}).group_by("cik", maintain_order=True).last()
    scored = latest.select(F_SCORE.alias("score"), F_UNKNOWN.alias("unknown"))
    assert scored.filter(pl.col("score").is_null())["unknown"].to_list() == ["f_rising_liquidity, f_rising_margin"]
    assert set(scored["score"].drop_nulls()) >= {4.0, 7.0, 9.0}
