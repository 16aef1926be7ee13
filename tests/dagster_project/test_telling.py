"""What the core says while it works is heard where people look."""

import logging
from datetime import date

from tests import markets
from tests.dagster_project.project import project
from tests.sec_server import sec_server
from tradebot_dagster.telling import heard_by

SEC = """\
collectors:
  - name: fundamentals
    class_path: tradebot_core.collectors.edgar_api.EdgarApi
    params: {{cache_path: {store}/sec, user_agent: Jane Doe jane@doe.net, data_url: 'URL', archives_url: 'URL/archives'}}
strategies:"""


def test_words_of_the_core_are_heard_and_only_within():
    heard: list[str] = []
    logger = logging.getLogger("tradebot_core.collectors.any")
    with heard_by(heard.append):
        logger.info("%d of %d", 1, 2)
        logger.debug("a detail")
        logging.getLogger("another").warning("not ours")
    logger.info("afterwards")
    assert heard == ["1 of 2"]
    assert not logging.getLogger("tradebot_core").isEnabledFor(logging.INFO)


def test_the_log_of_an_asset_shows_how_far_a_collection_is(tmp_path):
    with sec_server() as sec:
        bot = markets.tradebot(tmp_path, text=markets.CONFIG.replace("strategies:", SEC.replace("URL", sec.url), 1))
        markets.fill_store(bot)
        with project(bot) as running:
            result = running.run("fundamentals", first=date(2024, 6, 27))
            said = [entry.user_message for entry in running.instance.all_logs(result.run_id)]
    assert result.success and "SEC: 4 of 4 companies done, 4 with a problem" in said
