"""Reading a figure off the face of a statement by the words of its line, as a person would: what filings say without their tags.

The SEC's Financial Statement Data Sets give, for each filing, the lines of its statements as printed (pre.txt: statement, line,
label, tag) and the numbers (num.txt). Normalisation knows tags only; here only labels count, so that the two can be compared.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from tradebot_core.model.tables import FACTS, INSTANT

_NOT_NET_INCOME = (
    r"per share|per common|noncontrolling|non-controlling|minorit|discontinued|continuing|before"
    r"|preferred|available|applicable|comprehensive|adjust|including"
)


@dataclass(frozen=True)
class Line:
    """One line of the face of a statement with its value for the filing's own period."""

    statement: str
    number: int
    label: str
    value: float


@dataclass(frozen=True)
class Filing:
    """A filing's own numbers as rows of FACTS, and the lines of its statements."""

    name: str
    cik: int
    accession: str
    period_end: date
    facts: pl.DataFrame
    lines: tuple[Line, ...]


def quarterly_filings(archive: Path) -> Iterator[Filing]:
    """The 10-Qs of a quarterly data set. Cash flows of the year to date stand as the quarter's, so that each is one period."""
    with zipfile.ZipFile(archive) as zipped:
        sub, num, pre = (_table(zipped, name) for name in ("sub", "num", "pre"))
    filings = sub.filter(pl.col("form") == "10-Q").sort("adsh")
    whole_company = pl.col("segments").fill_null("") == "", pl.col("coreg").fill_null("") == ""
    numbers = num.filter(*whole_company, pl.col("value").fill_null("") != "").with_columns(
        pl.col("value").cast(pl.Float64), pl.col("qtrs").cast(pl.Int64)
    )
    numbers_of = numbers.partition_by("adsh", as_dict=True)
    lines_of = pre.partition_by("adsh", as_dict=True)
    for row in filings.iter_rows(named=True):
        key = (row["adsh"],)
        if key in numbers_of and key in lines_of:
            yield _filing(row, numbers_of[key], lines_of[key])


def _table(zipped: zipfile.ZipFile, name: str) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(zipped.read(f"{name}.txt")), separator="\t", quote_char=None, infer_schema=False)


def _filing(row: dict, numbers: pl.DataFrame, pre: pl.DataFrame) -> Filing:
    end = datetime.strptime(row["period"], "%Y%m%d").replace(tzinfo=UTC).date()
    own = numbers.filter(pl.col("ddate") == row["period"])
    cash_flow_tags = set(pre.filter(pl.col("stmt") == "CF")["tag"])
    income_tags = set(pre.filter(pl.col("stmt").is_in(["IS", "CI"]))["tag"])
    to_date = own.filter(pl.col("tag").is_in(list(cash_flow_tags - income_tags)), pl.col("qtrs") > 0)
    longest = to_date.sort("qtrs").unique("tag", keep="last")
    periods = pl.concat(
        [own.filter(pl.col("qtrs") < 2), longest.filter(pl.col("qtrs") > 1).with_columns(qtrs=pl.lit(1, pl.Int64))]
    )
    filed = datetime.strptime(row["filed"], "%Y%m%d").replace(tzinfo=UTC)
    facts = [
        (
            int(row["cik"]),
            number["version"].split("/")[0],
            number["tag"],
            number["uom"],
            end - timedelta(days=90) if number["qtrs"] else None,
            end,
            row["adsh"],
            number["value"],
            "10-Q",
            None,
            None,
            filed.date(),
            filed + timedelta(hours=22),
        )
        for number in periods.unique(["tag", "qtrs"], keep="last").sort("tag", "qtrs").iter_rows(named=True)
    ]
    values = {(tag, quarters > 0): value for tag, quarters, value in periods.select("tag", "qtrs", "value").iter_rows()}
    lines = []
    for statement, number, label, tag in pre.select("stmt", "line", "plabel", "tag").iter_rows():
        value = values.get((tag, statement not in ("BS", "UN")), values.get((tag, statement in ("BS", "UN"))))
        if value is not None and label:
            lines.append(Line(statement, int(number), label, value))
    schema = {**FACTS.columns, "known_at": INSTANT}
    return Filing(
        row["name"],
        int(row["cik"]),
        row["adsh"],
        end,
        pl.DataFrame(facts, schema=schema, orient="row"),
        tuple(sorted(lines, key=lambda line: (line.statement, line.number))),
    )


def _matching(filing: Filing, statements: Sequence[str], wanted: str, unwanted: str = "$^") -> list[Line]:
    return [
        line
        for line in filing.lines
        if line.statement in (*statements, "UN")
        and re.search(wanted, line.label, re.I)
        and not re.search(unwanted, line.label, re.I)
    ]


def _first(lines: Sequence[Line]) -> float | None:
    return lines[0].value if lines else None


def _last(lines: Sequence[Line]) -> float | None:
    return lines[-1].value if lines else None


def _net_income(filing: Filing) -> float | None:
    named = _matching(filing, ["IS"], r"\bnet\b.*\b(income|earnings|loss|profit)", _NOT_NET_INCOME)
    parents = [line for line in named if re.search(r"attributable to|controlling", line.label, re.I)]
    return _first(parents or named)


def _equity(filing: Filing) -> float | None:
    named = _matching(
        filing,
        ["BS"],
        r"total.*(holders?|owners?|owner|member|partner|investor|company)?.*(equity|deficit|investment$|deficiency|interest$)",
        (
            r"liabilit|and equity|noncontrolling|non-controlling|minority|redeemable|investments|"
            r"securities|affiliat|total equity$|total equity \("
        ),
    )
    return _last(named) if named else _last(_matching(filing, ["BS"], r"^total equity"))


_DEBT = (
    r"borrowings?|\bdebt\b|\bnotes\b|loans? payable|commercial paper|debentures|convertible|credit (facility|agreement)|"
    r"long-term (obligations|financing)|term debt|securities due within|maturities of|revolving|financing obligations|mortgage|bonds|"
    r"subsidiary trust"
)
# Leases, deposits, repurchase agreements, securities lent and what is owed to suppliers are no debt here (docs/figures.md).
_NO_DEBT = (
    r"^total|account|accrued|deferred|(?<!and capital )(?<!and )lease|pension|retire|benefit|tax|derivative|preferred stock|"
    r"stock|accumulated|commitment|contingen|fair value|amortized|discount|allowance|premium|"
    r"other long-term (liabilities|obligations)|other credits|interest payable|receivable|loans held|incremental|"
    r"securities (borrowed|loaned)|repurchase|customer|minority|convertible pre|\(note|collateral|cumulative"
)
_ASIDE = (
    r"\s*\((note|see note|h|including|includes|net of|fair value)[^)]*\)?|,? (less|excluding|net of|exclusive of|including).*"
)


def debt_lines(filing: Filing) -> list[Line]:
    """The lines of borrowings of a balance sheet, between total assets and equity, without a total of those before it."""
    sheet = [line for line in filing.lines if line.statement in ("BS", "UN")]
    named: list[Line] = []
    for line in sheet[_after_assets(sheet) :]:
        words = re.sub(_ASIDE, "", line.label, flags=re.I)
        if re.search(r"^total (liabilities|capitalization) and|liabilities and .*equity", words, re.I):
            break
        if not re.search(_DEBT, words, re.I) or re.search(_NO_DEBT, words, re.I):
            continue
        repeated = any((line.label, line.value) == (other.label, other.value) for other in named)
        sums = (sum(other.value for other in named[first:]) for first in range(len(named) - 1))
        if not repeated and not any(abs(total - line.value) < 1000 for total in sums):
            named.append(line)
    return named


def _debt(filing: Filing) -> float | None:
    named = debt_lines(filing)
    return sum(line.value for line in named) if named else None


def _after_assets(sheet: Sequence[Line]) -> int:
    totals = (at for at, line in enumerate(sheet) if re.search(r"^total assets|^total$|^assets$", line.label, re.I))
    return next(totals, -1) + 1


def label_value(filing: Filing, figure: str) -> float | None:
    """What the face of the statements says of a figure, by the words of its lines; None where no line has such words."""
    match figure:
        case "net_income":
            return _net_income(filing)
        case "revenue":
            totals = _matching(
                filing,
                ["IS"],
                r"^total.*(revenue|sales)|^(net )?(operating )?(revenues?|sales)\b|net sales|net revenue",
                "cost|tax|expens|interest|deduct|other rev|other income|non-?interest|fee",
            )
            return max((line.value for line in totals), default=None)
        case "operating_income":
            return _first(
                _matching(
                    filing,
                    ["IS"],
                    (
                        r"^(total )?\(?(operating|income|earnings|profit|loss).{0,22}(operat|operations)|"
                        r"^operating (income|profit|earnings|\(?loss)|(income|profit|earnings|"
                        r"loss\)?) from operations"
                    ),
                    r"before|continuing|discontinued|tax|expens|revenue|segment|cost|per share|partner",
                )
            )
        case "operating_cash_flow":
            return _first(
                _matching(
                    filing,
                    ["CF"],
                    r"^(total |net )?\(?(net )?cash.*(operat|operations)",
                    r"discontinued|adjust|investing|change in|paid|reconcil",
                )
            )
        case "capital_expenditure":
            return _first(
                _matching(
                    filing,
                    ["CF"],
                    (
                        r"^(net )?(capital (expenditures?|spending|additions|investments)|(purchases?|additions?|"
                        r"acquisitions?|expenditures?|payments?|investments?|purchasing).{0,25}(property|properties|"
                        r"plant|premises|fixed assets|capital assets|equipment))"
                    ),
                    r"proceed|sale|accrued|payable|business|real estate|leased|lease|discontinued|software dev",
                )
            )
        case "assets":
            return _last(_matching(filing, ["BS"], r"^total assets|^total$|assets, total", "current"))
        case "current_liabilities":
            return _first(
                _matching(
                    filing,
                    ["BS"],
                    r"(total current liabilit|liabilities, current, total|^current liabilities$)",
                    r"noncurrent|non-current",
                )
            )
        case "cash":
            return _first(_matching(filing, ["BS"], r"^cash", r"restricted|segregated|collateral|proceeds"))
        case "equity" | "debt":
            return _equity(filing) if figure == "equity" else _debt(filing)
    raise ValueError(figure)
