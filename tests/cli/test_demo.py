"""Beginning anew takes away what Tradebot made, and nothing else."""

from tradebot_dagster.cli.demo import _forget


def test_a_fresh_start_leaves_what_it_did_not_make(desk):
    store, market = desk.folder / "store", desk.folder / "store" / "market"
    desk.backtest()
    desk.json("halt", "to make a ledger")
    for made in ("facts", "results", "ledger.sqlite", "HALT", "holds", "schema_version"):
        assert (store / made).exists()
    (market / "broker_account.json").write_text("{}")
    foreign = [store / "README.md", store / "notes.txt", store / "my_research" / "prices.csv", market / "bars.parquet"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    _forget(desk.bot)
    left = sorted(path for path in store.rglob("*") if path.is_file())
    assert left == sorted(foreign)
    assert all(path.read_text() == "mine" for path in foreign)
