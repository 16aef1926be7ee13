"""The set-up examined, and what `up` refuses to start on."""

import socket
from contextlib import closing
from datetime import UTC, datetime

from tests.cli.conftest import WITH_CLOCK
from tests.ibkr.conftest import gateway  # noqa: F401  the fixture
from tests.markets import CONFIG, write_config


def levels(document) -> dict[str, str]:
    return {finding["what"]: finding["level"] for finding in document["findings"]}


def prepare_sample(desk) -> None:
    for name in ("bars.parquet", "actions.csv", "securities.csv"):
        (desk.clock.path.parent / name).write_text("")


def test_a_sound_set_up_is_healthy(desk):
    prepare_sample(desk)
    document = desk.json("doctor")
    assert document["healthy"]
    found = levels(document)
    assert {found[what] for what in ("packages", "configuration", "store", "calendar", "sample market")} == {"ok"}
    assert found["sources"] == "warn"


def test_an_unprepared_sample_market_is_a_failure_with_its_mend(desk):
    result = desk.run("doctor")
    assert result.exit_code == 1
    assert "lacks bars.parquet" in result.stdout and "Run `tradebot demo` once" in result.stdout


def test_a_missing_source_is_named(desk_with):
    block = (
        "collectors:\n  - name: price_bars\n    class_path: tradebot_core.collectors.file_bars.FileBars\n"
        "    params: {{path: {store}/none.parquet}}\nstrategies:"
    )
    desk = desk_with(CONFIG.replace("strategies:", block, 1))
    document = desk.json("doctor", exit_code=1)
    (finding,) = [finding for finding in document["findings"] if finding["what"] == "price_bars"]
    assert finding["level"] == "fail" and "none.parquet does not exist" in finding["text"] and finding["mend"]


def test_filings_that_are_missing_can_be_fetched(desk_with):
    block = (
        "collectors:\n  - name: fundamentals\n    class_path: tradebot_core.collectors.edgar.EdgarFacts\n"
        "    params: {{path: {store}/companyfacts.zip}}\nstrategies:"
    )
    document = desk_with(CONFIG.replace("strategies:", block, 1)).json("doctor", exit_code=1)
    (finding,) = [finding for finding in document["findings"] if finding["what"] == "fundamentals"]
    assert "edgar_api.EdgarApi" in finding["mend"]


SEC_BLOCK = (
    "collectors:\n  - name: fundamentals\n    class_path: tradebot_core.collectors.edgar_api.EdgarApi\n"
    "    params: {{cache_path: CACHE, user_agent: AGENT}}\nstrategies:"
)


def with_sec(agent: str, cache: str = "{store}/sec", text: str = CONFIG) -> str:
    return text.replace("strategies:", SEC_BLOCK.replace("AGENT", agent).replace("CACHE", cache), 1)


def test_a_collector_that_fetches_its_files_needs_none_yet(desk_with):
    prepare_sample(desk := desk_with(with_sec("Jane Doe jane@doe.net")))
    (finding,) = [finding for finding in desk.json("doctor")["findings"] if finding["what"] == "fundamentals"]
    assert finding["level"] == "ok" and "which the first collection makes" in finding["text"]


def test_a_folder_that_fetched_files_cannot_be_kept_in_is_named(desk_with):
    desk = desk_with(with_sec("Jane Doe jane@doe.net", "{store}/taken/sec"))
    (desk.folder / "store").mkdir(exist_ok=True)
    (desk.folder / "store" / "taken").write_text("a file")
    document = desk.json("doctor", exit_code=1)
    (finding,) = [finding for finding in document["findings"] if finding["what"] == "fundamentals"]
    assert finding["level"] == "fail" and "params.cache_path" in finding["mend"]


def test_who_does_not_say_who_asks_the_sec_is_told_so_with_the_line(desk):
    for agent, cause in (("Jane Doe", "a contact e-mail"), ("jane@example.com", "a placeholder")):
        write_config(desk.folder, with_sec(agent, text=WITH_CLOCK))
        last = desk.json("doctor", exit_code=1)["findings"][-1]
        assert last["level"] == "fail" and last["what"] == "configuration"
        assert "params.user_agent" in last["text"] and cause in last["text"] and ", line " in last["text"]


def test_a_gateway_that_does_not_answer_is_named(desk_with):
    desk = desk_with(CONFIG.replace("strategies:", "ibkr: {{port: 9, account: DU1234567}}\nstrategies:", 1))
    document = desk.json("doctor", exit_code=1)
    assert levels(document)["ibkr gateway"] == "fail"


def test_a_gateway_is_examined_and_another_account_stops_up(desk_with, gateway):  # noqa: F811
    gateway.clock.set(datetime.now(UTC))
    with gateway.serving() as port:
        right = CONFIG.replace("strategies:", f"ibkr: {{{{port: {port}, account: DU0000001}}}}\nstrategies:", 1)
        desk = desk_with(right)
        found = levels(desk.json("doctor", exit_code=1))
        assert {found[what] for what in ("ibkr account", "ibkr link", "clock", "ibkr orders", "ibkr client id")} == {"ok"}
        assert found["ibkr data"] == "fail"  # the broker does not know the companies of this store
        write_config(desk.folder, right.replace("DU0000001", "DU0000002"))
        result = desk.run("up", "--port", 0)
    assert result.exit_code == 2
    assert "not to DU0000002" in result.stderr and "ibkr.account" in result.stderr


def test_a_broken_configuration_ends_the_examination_with_its_line(desk):
    path = desk.folder / "config.yaml"
    path.write_text(path.read_text() + "colour: red\n")
    document = desk.json("doctor", exit_code=1)
    last = document["findings"][-1]
    assert last["what"] == "configuration" and "colour: no such setting" in last["text"]


def test_a_store_of_a_newer_version_is_refused(desk):
    (desk.folder / "store" / "schema_version").write_text("99")
    document = desk.json("doctor", exit_code=1)
    assert "written by a newer version" in document["findings"][-1]["text"]


def test_up_refuses_a_port_that_is_taken(desk):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = desk.run("up", "--port", port)
    assert result.exit_code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in result.stderr and "--port" in result.stderr


def test_up_refuses_an_unsound_set_up(desk):
    result = desk.run("up", "--port", 0)
    assert result.exit_code == 2
    assert "lacks bars.parquet" in result.stderr


def test_up_hands_over_to_dagster_on_loopback(desk, monkeypatch):
    prepare_sample(desk)
    started = {}
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr("os.chdir", lambda folder: None)
    monkeypatch.setattr("os.execve", lambda program, command, env: started.update(command=command, env=env))
    assert desk.run("up", "--port", 0).exit_code == 0
    assert started["command"][1:2] == ["dev"]
    assert started["command"][-4:] == ["--host", "127.0.0.1", "--port", "0"]
    env = started["env"]
    assert env["TRADEBOT_CONFIG"] == str(desk.folder / "config.yaml")
    assert env["DAGSTER_HOME"].startswith(str(desk.folder / "store"))
    assert env["DAGSTER_EVENT_BATCH_SIZE"] == "1000" and "PYTHONDONTWRITEBYTECODE" not in env


def test_simulate_tws_needs_a_sample_market(desk_with):
    desk = desk_with(CONFIG)
    result = desk.run("simulate-tws")
    assert result.exit_code == 2
    assert "no sample_market block" in result.stderr


def test_simulate_tws_lists_its_faults_without_serving(desk):
    listed = desk.json("simulate-tws", "--list-faults")
    assert {"fault": "no_ack", "places": ["order"]}.items() <= listed[0].items()
    assert desk.run("simulate-tws", "--list-faults").stdout.startswith("no_ack ")


def test_simulate_tws_refuses_a_fault_that_it_does_not_know_and_names_those_it_does(desk):
    result = desk.run("simulate-tws", "--fault", "no_ack@order:3", "--fault", "gremlin")
    assert result.exit_code == 2
    assert "'gremlin' is not a fault" in result.stderr and "two_perm_ids" in result.stderr
