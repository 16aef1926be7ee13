"""How fast, and in how much memory, the SEC's bulk file goes from the zip into the store and on to fundamentals.

Makes a companyfacts.zip (and submissions.zip) of the wanted size by giving whole real companies new CIKs, runs the real path on it
in a process of its own, and prints what that process took, beside the rate of a bare JSON parser on the same bytes. What it
makes is deleted when it ends. See README.md here.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

REAL_DATA = Path(os.environ.get("TRADEBOT_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
WHOLE_BYTES = 1_000_000  # the whole companies of the real data are larger, the excerpts smaller
SHARES = (1.0, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625)  # of a company's tags: a mean near the SEC's 1.1 MB a company
CIK_STEP = 45  # dense: the CIKs of filers from 1993 to today lie some 100 apart
START, END = date(2009, 1, 2), date(2026, 11, 20)
NOW = datetime(2026, 11, 23, 14, tzinfo=UTC)


@dataclass
class Stage:
    wall_seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of JSON in the archive")
    parser.add_argument("--figures", type=int, help="normalise this many companies only  [default: all]")
    parser.add_argument("--folder", type=Path, help="where the archive and the store are made  [default: a temporary folder]")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parse", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", default="0/1", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run or args.parse:
        print(json.dumps(run(args.run, args.figures) if args.run else parse(args.parse, args.part)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="edgar_bulk_") as made:
        folder = Path(made)
        companies, size = make(folder, int(args.gigabytes * 1e9))
        before, both, found, after = (
            child("--parse", folder),
            parse_on_all_cores(folder),
            child("--run", folder, *(["--figures", str(args.figures)] if args.figures else [])),
            child("--parse", folder),
        )
        bare = {key: before[key] + after[key] for key in before}  # what else the machine does changes within a minute
        result = {"companies": companies, "json_bytes": size, "parser": bare, "parser_wall_on_all_cores": both, **found}
    print(json.dumps(result, indent=1) if args.json else table(result))


def child(task: str, folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, task, str(folder), *options], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


# The archive


def make(folder: Path, wanted: int) -> tuple[int, int]:
    """companyfacts.zip of about `wanted` bytes of JSON with submissions.zip; returns the number of companies and the bytes."""
    bodies, times = templates()
    size = companies = 0
    with (
        zipfile.ZipFile(folder / "companyfacts.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as facts,
        zipfile.ZipFile(folder / "submissions.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as submissions,
    ):
        while size < wanted:
            cik = 1000 + CIK_STEP * companies
            body, filings = bodies[companies % len(bodies)], times[companies % len(times)]
            content = b'{"cik":%d,' % cik + body
            facts.writestr(f"CIK{cik:010d}.json", content)
            submissions.writestr(f"CIK{cik:010d}.json", filings)
            size += len(content)
            companies += 1
    return companies, size


def templates() -> tuple[list[bytes], list[bytes]]:
    """Bodies of companyfacts from behind the CIK on, by share and company, and the submissions of those companies."""
    bodies, times = [], []
    with zipfile.ZipFile(REAL_DATA / "edgar" / "companyfacts.zip") as facts:
        whole = sorted(member.filename for member in facts.infolist() if member.file_size > WHOLE_BYTES)
        documents = [json.loads(facts.read(name)) for name in whole]
    with zipfile.ZipFile(REAL_DATA / "edgar" / "submissions.zip") as submissions:
        filings = [submissions.read(name) for name in whole]
    for share in SHARES:
        for document, of_company in zip(documents, filings, strict=True):
            kept = {taxonomy: some(tags, share) for taxonomy, tags in document["facts"].items()}
            text = json.dumps({"entityName": document["entityName"], "facts": kept}, separators=(",", ":"))
            bodies.append(text[1:].encode())
            times.append(of_company)
    return bodies, times


def some(tags: dict[str, Any], share: float) -> dict[str, Any]:
    """Every second, fourth ... tag, and always those that figures are made of."""
    from tradebot_core.quant.concepts import concept_map  # noqa: PLC0415  not in the process that measures

    mapped = {tag.split(":", 1)[1] for tag, _ in concept_map().by_tag()}
    step = round(1 / share)
    return {name: tag for n, (name, tag) in enumerate(tags.items()) if n % step == 0 or name in mapped}


def ciks_in(folder: Path) -> Iterator[int]:
    with zipfile.ZipFile(folder / "companyfacts.zip") as archive:
        yield from (int(member.filename[3:13]) for member in archive.infolist())


# The bare parser


def parse_on_all_cores(folder: Path) -> dict[str, float]:
    """Unzipping and decoding by the clock, every seventh company, in as many processes as there are cores, all at once."""
    cores = os.cpu_count() or 1
    command = [sys.executable, __file__, "--parse", str(folder), "--part"]
    running = [subprocess.Popen([*command, f"{n}/{cores}"], stdout=subprocess.PIPE) for n in range(cores)]
    found = [json.loads(child.communicate()[0]) for child in running]
    if any(child.returncode for child in running):
        raise SystemExit("a process of the parser failed")
    return {"bytes": sum(part["bytes"] for part in found), "wall_seconds": max(part["wall_seconds"] for part in found)}


def parse(folder: Path, part: str) -> dict[str, Any]:
    """msgspec, typed, on every seventh company: the JSON alone, into objects that nobody uses; and the inflating beside it."""
    import msgspec  # noqa: PLC0415

    class Row(msgspec.Struct, gc=False):
        end: date
        val: float
        accn: str
        form: str
        filed: date
        start: date | None = None
        fy: int | None = None
        fp: str | None = None

    class Tag(msgspec.Struct, gc=False):
        units: dict[str, list[Row]]

    class Company(msgspec.Struct):
        cik: int
        facts: dict[str, dict[str, Tag]]

    decoder = msgspec.json.Decoder(Company)
    size, parsing, inflating = 0, 0.0, 0.0
    nth, of = map(int, part.split("/"))
    with zipfile.ZipFile(folder / "companyfacts.zip") as archive:
        began = time.perf_counter()
        for member in archive.infolist()[::7][nth::of]:
            before = time.process_time()
            content = archive.read(member)
            read = time.process_time()
            decoder.decode(content)
            parsing += time.process_time() - read
            inflating += read - before
            size += len(content)
        wall = time.perf_counter() - began
    return {"bytes": size, "parse_cpu_seconds": parsing, "inflate_cpu_seconds": inflating, "wall_seconds": wall}


# The real path


def run(folder: Path, figures_of: int | None) -> dict[str, Any]:
    import polars as pl  # noqa: PLC0415

    from tradebot_core.calendar import xnys  # noqa: PLC0415
    from tradebot_core.collectors.edgar import EdgarFacts  # noqa: PLC0415
    from tradebot_core.model.tables import FACTS, FUNDAMENTALS  # noqa: PLC0415
    from tradebot_core.quant.statements import normalise_many  # noqa: PLC0415
    from tradebot_core.stores.file_store import FileStore  # noqa: PLC0415
    from tradebot_core.trading.collection import collect, refresh_fundamentals  # noqa: PLC0415

    processes = min(os.cpu_count() or 1, 3)
    ciks = list(ciks_in(folder))
    securities = pl.DataFrame({"cik": ciks, "name": [f"Company {cik}" for cik in ciks]})
    few = securities.head(figures_of or len(ciks))
    params = EdgarFacts.Params(path=folder / "companyfacts.zip", submissions_path=folder / "submissions.zip")
    store, calendar = FileStore(folder / "store", xnys()), xnys()
    started = peak_bytes()
    stages: dict[str, Stage] = {}
    collected, stages["collect"] = timed(lambda: collect(store, EdgarFacts(params, calendar), securities, START, END, NOW))
    after_collect, collect_worker = peak_bytes(), peak_bytes(resource.RUSAGE_CHILDREN)
    figures, stages["fundamentals"] = timed(lambda: refresh_fundamentals(store, normalise_many, few, NOW, NOW, processes))
    after_figures, worker = peak_bytes(), peak_bytes(resource.RUSAGE_CHILDREN)
    again, stages["collect_again"] = timed(lambda: collect(store, EdgarFacts(params, calendar), securities, START, END, NOW))
    return {
        "facts": collected.new_rows,
        "refused": collected.refused,
        "facts_again": again.new_rows,
        "fundamentals": figures,
        "normalised_companies": len(few),
        "processes": processes,
        "stages": {name: asdict(stage) for name, stage in stages.items()},
        "peak_bytes": {
            "start": started,
            "collect": after_collect,
            "fundamentals": after_figures,
            "collect, largest worker": collect_worker,
            "all": peak_bytes(),
            "worker": worker,
        },
        "store_bytes": {
            table.name: sum(file.stat().st_size for file in (folder / "store" / "facts" / table.name).glob("*.parquet"))
            for table in (FACTS, FUNDAMENTALS)
        },
    }


def timed(task: Any) -> tuple[Any, Stage]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    done = task()
    return done, Stage(time.perf_counter() - wall, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Of this process and of those it started that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_bytes(of: int = resource.RUSAGE_SELF) -> int:
    """Of this process, or of the largest of those that it started."""
    return resource.getrusage(of).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table(result: dict[str, Any]) -> str:
    megabytes, bare = result["json_bytes"] / 1e6, result["parser"]
    parser = bare["bytes"] / 1e6 / bare["parse_cpu_seconds"]
    all_cores = result["parser_wall_on_all_cores"]
    by_the_clock = megabytes / result["stages"]["collect"]["wall_seconds"]
    alone, together = (run["bytes"] / 1e6 / run["wall_seconds"] for run in (bare, all_cores))
    lines = [
        f"{result['companies']:,} companies, {megabytes / 1e3:.1f} GB of JSON, {result['facts']:,} facts, "
        f"{result['fundamentals']:,} rows of fundamentals of {result['normalised_companies']:,} companies",
        f"msgspec typed decode alone: {parser:.0f} MB/s of CPU; inflating alone: "
        f"{bare['bytes'] / 1e6 / bare['inflate_cpu_seconds']:.0f} MB/s of CPU; {result['processes']} processes for figures",
        f"by the clock: unzip and msgspec {alone:.0f} MB/s on one core, {together:.0f} MB/s on all; zip to store {by_the_clock:.0f} MB/s "
        f"({by_the_clock / alone:.2f} and {by_the_clock / together:.2f} of it)",
    ]
    for name, stage in result["stages"].items():
        part = result["normalised_companies"] / result["companies"] if name == "fundamentals" else 1
        done, facts = megabytes * part, result["facts"] * part
        wall, cpu = stage["wall_seconds"], stage["cpu_seconds"]
        lines.append(
            f"{name}: {wall:.0f} s, {done / wall:.0f} MB/s, {facts / wall:,.0f} facts/s; {cpu:.0f} s of CPU, "
            f"{cpu / done * 1e3:.1f} ns a byte, {done / cpu:.0f} MB/s of CPU ({done / cpu / parser:.2f} of the parser)"
        )
    peaks = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in result["peak_bytes"].items())
    stored = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in result["store_bytes"].items())
    return "\n".join([*lines, f"peak memory in MiB: {peaks}", f"store: {stored}"])


if __name__ == "__main__":
    main()
