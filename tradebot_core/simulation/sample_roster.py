"""The fictional companies themselves. Every name, number and event here is invented.

Most live by their style alone. Those with a comment are cases that a trading system must get right.
"""

from dataclasses import replace
from datetime import date, datetime, time

from tradebot_core.simulation.sample_companies import (
    Charge,
    Company,
    Industry,
    Overstatement,
    Regime,
    Sentiment,
    Style,
    Takeover,
)

RAIL = Industry("Industrial", "Transportation", "4011", "Railroads, Line-Haul Operating")
MACHINES = Industry("Industrial", "Machinery-Diversified", "3560", "General Industrial Machinery & Equipment")
SOFTWARE = Industry("Technology", "Software", "7372", "Services-Prepackaged Software")
CHIPS = Industry("Technology", "Semiconductors", "3674", "Semiconductors & Related Devices")
FOOD = Industry("Consumer, Non-cyclical", "Food", "2000", "Food and Kindred Products")
DEVICES = Industry("Consumer, Non-cyclical", "Healthcare-Products", "3841", "Surgical & Medical Instruments & Apparatus")
RETAIL = Industry("Consumer, Cyclical", "Retail", "5651", "Retail-Family Clothing Stores", (0.90, 0.95, 0.95, 1.20))
ENERGY = Industry("Energy", "Oil&Gas", "1311", "Crude Petroleum & Natural Gas")
CHEMICALS = Industry("Basic Materials", "Chemicals", "2800", "Chemicals & Allied Products")
POWER = Industry("Utilities", "Electric", "4911", "Electric Services", (1.10, 0.90, 1.05, 0.95))
BANKS = Industry("Financial", "Banks", "6022", "State Commercial Banks")

#                    growth swing  margin swing  gross  capital leverage mispricing beta
STEADY = Style(0.040, 0.030, 0.145, 0.018, 0.42, 0.76, 0.30, 0.22, 0.8)
COMPOUNDER = Style(0.075, 0.045, 0.175, 0.026, 0.52, 0.78, 0.22, 0.26, 1.0)
GROWER = Style(0.145, 0.075, 0.145, 0.036, 0.62, 0.55, 0.05, 0.32, 1.3)
CYCLICAL = Style(0.030, 0.100, 0.105, 0.045, 0.30, 0.66, 0.30, 0.28, 1.2)
MEDIOCRE = Style(0.020, 0.040, 0.065, 0.020, 0.28, 0.70, 0.35, 0.25, 1.0)
REGULATED = Style(0.030, 0.020, 0.220, 0.010, 0.45, 2.30, 0.50, 0.15, 0.5)
LENDER = Style(0.040, 0.030, 0.300, 0.030, 0.60, 2.00, 0.20, 0.20, 1.0)

TOTAL = "Revenues"
NASDAQ = "NASDAQ"
NO_SHARE_COUNT_ON_COVER = frozenset({"EntityCommonStockSharesOutstanding"})
NO_OPERATING_INCOME = frozenset({"OperatingIncomeLoss"})
NO_TOTAL_OF_LIABILITIES = frozenset({"Liabilities"})
NO_GROSS_PROFIT = frozenset({"GrossProfit"})
NO_EQUITY = frozenset({"StockholdersEquity", "Liabilities", "LiabilitiesAndStockholdersEquity"})
NOT_IN_BANKS = frozenset(
    {
        "AssetsCurrent",
        "LiabilitiesCurrent",
        "PaymentsToAcquirePropertyPlantAndEquipment",
        "CostOfGoodsAndServicesSold",
        "GrossProfit",
        "OperatingIncomeLoss",
        "LongTermDebtCurrent",
    }
)


def _at(day: date, hour: int, minute: int) -> datetime:
    return datetime.combine(day, time(hour, minute))


_RAILS = (
    Company("ZALDR", "Alder Rail", RAIL, STEADY, 4_200, 62, payout=0.40, older_page_until=date(2021, 12, 31)),
    Company("ZASPN", "Aspen Freight", RAIL, CYCLICAL, 2_600, 38, payout=0.25, revenue_tag=TOTAL),
    Company("ZCEDR", "Cedar Lines", RAIL, MEDIOCRE, 3_100, 24, payout=0.35),
    Company("ZHICK", "Hickory Logistics", RAIL, COMPOUNDER, 1_300, 71, exchange=NASDAQ, year_end=6),
)
_MACHINES = (
    Company("ZOAKM", "Oakmoor Machines", MACHINES, COMPOUNDER, 2_200, 88, payout=0.30, splits={date(2024, 6, 10): 2.0}),
    Company("ZLARC", "Larch Pumps", MACHINES, STEADY, 1_500, 54, year_end=9, weekly=True, payout=0.35),
    Company("ZTEAK", "Teakwood Tools", MACHINES, CYCLICAL, 1_900, 46, payout=0.30, has_submissions=False),
    Company("ZELMG", "Elmgrove Motors", MACHINES, CYCLICAL, 5_400, 33, revenue_tag=TOTAL),
    Company(  # files its 10-K of 2024 and the 10-Q after it months late
        "ZLATE",
        "Linden Turbines",
        MACHINES,
        MEDIOCRE,
        1_100,
        29,
        accepted={date(2024, 12, 31): _at(date(2025, 7, 8), 17, 12), date(2025, 3, 31): _at(date(2025, 8, 4), 16, 44)},
    ),
)
_SOFTWARE = (
    Company("ZBAOB", "Baobab Software", SOFTWARE, GROWER, 420, 120, exchange=NASDAQ, splits={date(2025, 3, 24): 4.0}),
    Company("ZJUNI", "Juniper Ledger Software", SOFTWARE, COMPOUNDER, 900, 95, exchange=NASDAQ, year_end=6),
    Company("ZSEQU", "Sequoia Cloud", SOFTWARE, GROWER, 650, 84, exchange=NASDAQ, retagged=date(2024, 1, 1)),
    Company(  # loses money until 2023, then grows into profit
        "ZKAPO",
        "Kapok Analytics",
        SOFTWARE,
        replace(GROWER, margin=-0.14),
        260,
        31,
        exchange=NASDAQ,
        unreported=NO_GROSS_PROFIT,
        regimes=(Regime(date(2022, 6, 1), 0.20, 0.16),),
    ),
    Company(  # its largest customer leaves: 10-Q accepted before the open of 2026-07-06
        "ZMIMO",
        "Mimosa Networks",
        SOFTWARE,
        replace(GROWER, growth=0.15, growth_swing=0.02, margin=0.20, margin_swing=0.01),
        560,
        66,
        exchange=NASDAQ,
        year_end=8,
        regimes=(Regime(date(2026, 5, 1), 0.03, 0.12, sudden=True, step=-0.58),),
        sentiments=(Sentiment(date(2025, 9, 1), date(2026, 7, 2), 0.80),),
        shocks={date(2026, 7, 6): 0.60},
        accepted={date(2026, 5, 31): _at(date(2026, 7, 6), 7, 2)},
    ),
)
_CHIPS = (
    Company(  # writes off what it cannot sell: a loss over twelve months from the 10-Q of spring 2025 on
        "ZEBON",
        "Ebony Semiconductor",
        CHIPS,
        COMPOUNDER,
        1_700,
        74,
        exchange=NASDAQ,
        year_end=9,
        weekly=True,
        regimes=(Regime(date(2025, 3, 1), 0.02, 0.12),),
        charges=(Charge(date(2025, 3, 29), 0.90),),
    ),
    Company("ZGING", "Ginkgo Photonics", CHIPS, GROWER, 380, 48, exchange=NASDAQ),
    Company("ZHAZL", "Hazel Circuits", CHIPS, CYCLICAL, 1_250, 41, exchange=NASDAQ, year_end=3),
    Company(
        "ZTUPL", "Tupelo Memory", CHIPS, replace(CYCLICAL, growth=0.06, margin=0.14), 2_800, 52, exchange=NASDAQ, year_end=8
    ),
    Company("ZPAWP", "Pawpaw Sensors", CHIPS, replace(GROWER, growth=0.12), 310, 36, exchange=NASDAQ, has_submissions=False),
)
_FOOD = (
    Company("ZBEEC", "Beechen Foods", FOOD, STEADY, 6_100, 58, payout=0.55),
    Company("ZCHST", "Chestnut Mills", FOOD, STEADY, 2_900, 43, payout=0.50, year_end=5),
    Company("ZFIGG", "Figgrove Beverages", FOOD, COMPOUNDER, 1_800, 79, payout=0.40, unreported=NO_TOTAL_OF_LIABILITIES),
    Company("ZMULB", "Mulberry Snacks", FOOD, replace(STEADY, margin=0.13), 1_400, 37, payout=0.45, year_end=6),
    Company(  # cheap and sound for years, until a recall costs it a year's profit: 10-Q accepted after the close of 2026-07-02
        "ZQUIN",
        "Quince Dairies",
        FOOD,
        replace(STEADY, growth=0.06, growth_swing=0.01, margin=0.155, margin_swing=0.006, leverage=0.15),
        2_300,
        49,
        payout=0.40,
        year_end=11,
        regimes=(Regime(date(2026, 5, 1), 0.02, 0.10, sudden=True, step=-0.08),),
        charges=(Charge(date(2026, 5, 31), 0.80),),
        sentiments=(
            Sentiment(date(2023, 1, 3), date(2026, 7, 2), 0.66),
            Sentiment(date(2026, 7, 3), date(2026, 10, 30), 1.00),
        ),
        shocks={date(2026, 7, 6): 0.50},  # much of it had been feared
        accepted={date(2026, 5, 31): _at(date(2026, 7, 2), 16, 21)},
    ),
)
_DEVICES = (
    Company("ZBRCH", "Birchwell Devices", DEVICES, COMPOUNDER, 1_150, 102, payout=0.25, splits={date(2022, 6, 13): 2.0}),
    Company("ZCYPR", "Cypress Implants", DEVICES, GROWER, 480, 77, exchange=NASDAQ, year_end=6),
    Company("ZHOLL", "Holly Diagnostics", DEVICES, STEADY, 1_600, 66, payout=0.30, unreported=NO_SHARE_COUNT_ON_COVER),
    Company("ZMAGN", "Magnolia Surgical", DEVICES, COMPOUNDER, 2_050, 91, payout=0.25),
    Company(  # a strong 10-Q on 2026-07-02 and a fall without a cause of its own on 2026-07-06: good and newly cheap
        "ZROWN",
        "Rowan Prosthetics",
        DEVICES,
        replace(COMPOUNDER, growth=0.12, growth_swing=0.015, margin=0.20, margin_swing=0.008),
        1_450,
        83,
        exchange=NASDAQ,
        payout=0.20,
        year_end=2,
        regimes=(Regime(date(2026, 5, 1), 0.14, 0.23, sudden=True, step=0.08),),
        sentiments=(
            Sentiment(date(2025, 10, 1), date(2026, 7, 2), 0.75),
            Sentiment(date(2026, 7, 3), date(2026, 10, 30), 0.55),
        ),
        shocks={date(2026, 7, 6): -0.29},
        accepted={date(2026, 5, 31): _at(date(2026, 7, 2), 6, 47)},
    ),
    Company(  # loses a fifth of its sales at the end of 2024, and goes on shrinking; margins follow
        "ZFADE",
        "Fadewood Therapeutics",
        DEVICES,
        replace(COMPOUNDER, growth=0.08),
        1_300,
        64,
        regimes=(Regime(date(2024, 12, 1), -0.06, 0.15, sudden=True, step=-0.22), Regime(date(2025, 9, 1), -0.10, -0.05)),
        sentiments=(
            Sentiment(date(2022, 10, 3), date(2024, 2, 29), 0.75),
            Sentiment(date(2024, 3, 1), date(2025, 12, 31), 1.30),
        ),
    ),
)
_RETAIL = (
    Company("ZACAC", "Acacia Outfitters", RETAIL, STEADY, 3_700, 51, payout=0.35, year_end=1, weekly=True),
    Company("ZDOGW", "Dogwood Homeware", RETAIL, CYCLICAL, 2_100, 27, year_end=1, revenue_tag=TOTAL),
    Company("ZMYRT", "Myrtle Markets", RETAIL, MEDIOCRE, 8_800, 32, payout=0.30, unreported=NO_OPERATING_INCOME),
    Company("ZPLUM", "Plumtree Sports", RETAIL, COMPOUNDER, 1_050, 59, exchange=NASDAQ, year_end=5),
    Company(  # falls for years, then puts ten shares together into one
        "ZSUMC",
        "Sumac Stores",
        RETAIL,
        replace(MEDIOCRE, growth=0.0, margin=0.03),
        1_700,
        4.2,
        turnover=0.006,
        regimes=(Regime(date(2022, 1, 1), -0.08, -0.01), Regime(date(2025, 1, 1), 0.02, 0.05)),
        splits={date(2024, 9, 16): 0.1},
        sentiments=(Sentiment(date(2023, 1, 3), date(2024, 9, 13), 0.55),),
    ),
    Company(  # a product scandal: falls by half within three sessions from 2026-07-06, its books still sound
        "ZWLLW",
        "Willow Cosmetics",
        RETAIL,
        replace(STEADY, growth=0.055, growth_swing=0.01, margin=0.16, margin_swing=0.006, leverage=0.12),
        1_950,
        57,
        payout=0.30,
        sentiments=(Sentiment(date(2023, 1, 3), date(2026, 7, 2), 0.68), Sentiment(date(2026, 7, 6), date(2026, 10, 30), 0.34)),
        shocks={date(2026, 7, 6): -0.36, date(2026, 7, 7): -0.16, date(2026, 7, 8): -0.10},
    ),
)
_RESOURCES = (
    Company("ZPINE", "Pinecrest Energy", ENERGY, CYCLICAL, 7_200, 44, payout=0.30, revenue_tag=TOTAL),
    Company("ZSPRC", "Spruce Drilling", ENERGY, replace(CYCLICAL, margin_swing=0.06), 2_400, 21, revenue_tag=TOTAL),
    Company("ZTAMR", "Tamarind Resources", ENERGY, CYCLICAL, 3_300, 35, payout=0.25, year_end=9),
    Company("ZCAMP", "Camphor Chemicals", CHEMICALS, STEADY, 2_700, 47, payout=0.40),
    Company("ZSAND", "Sandalwood Coatings", CHEMICALS, COMPOUNDER, 1_250, 68, payout=0.25, year_end=8),
    Company(  # overstated the last quarter of 2024 and restated it with a 10-K/A
        "ZRSIN",
        "Resinwood Plastics",
        CHEMICALS,
        STEADY,
        1_350,
        39,
        payout=0.30,
        overstatement=Overstatement(2024, 0.16, _at(date(2025, 6, 17), 17, 48)),
        shocks={date(2025, 6, 18): -0.17},
    ),
    Company(  # acquired for cash: announced 2024-08-06, delisted 2024-11-18
        "ZYEWT",
        "Yewtree Chemicals",
        CHEMICALS,
        replace(STEADY, margin=0.16, margin_swing=0.008, leverage=0.15),
        1_600,
        42,
        payout=0.30,
        sentiments=(Sentiment(date(2022, 10, 3), date(2024, 8, 5), 0.70),),
        takeover=Takeover(date(2024, 8, 6), date(2024, 11, 18), 0.32),
    ),
    Company(  # under a dollar
        "ZTUMB",
        "Tumbleweed Mining",
        CHEMICALS,
        replace(MEDIOCRE, growth=-0.02, margin=0.01),
        240,
        0.72,
        unreported=NO_GROSS_PROFIT,
    ),
)
_OTHERS = (
    Company("ZBAMB", "Bamboo Power", POWER, REGULATED, 3_900, 55, payout=0.60),
    Company("ZPOPL", "Poplar Water & Light", POWER, REGULATED, 1_700, 36, payout=0.60, has_submissions=False),
    Company(  # a bank: no current assets, no capital expenditure, no operating income
        "ZOLIV",
        "Olive Bank",
        BANKS,
        LENDER,
        1_500,
        45,
        payout=0.35,
        loans=16.0,
        revenue_tag=TOTAL,
        unreported=NOT_IN_BANKS,
    ),
    Company("ZNUTM", "Nutmeg Brands", FOOD, STEADY, 1_900, 40, payout=0.40, unreported=NO_EQUITY),  # never reports equity
    Company("ZTINY", "Tinywood Gauges", MACHINES, COMPOUNDER, 14, 9, turnover=0.0004),  # sound, but hardly ever traded
    Company("ZGHST", "Ghostpine Holdings", FOOD, STEADY, 800, 22, has_facts=False, has_submissions=False),  # never files
)

COMPANIES = tuple(
    replace(company, number=number)
    for number, company in enumerate(
        (*_RAILS, *_MACHINES, *_SOFTWARE, *_CHIPS, *_FOOD, *_DEVICES, *_RETAIL, *_RESOURCES, *_OTHERS)
    )
)
