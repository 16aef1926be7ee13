"""What every collector that fetches the SEC's files is told, and the client it asks with."""

from pathlib import Path

from tradebot_core.collectors.edgar import Params
from tradebot_core.collectors.sec_http import SecClient
from tradebot_core.collectors.sec_manners import SHARED, BaseUrl, Limiter, Rate, UserAgent
from tradebot_core.config import Settings


class FetchParams(Settings):
    """`user_agent`: your name and a contact e-mail, which the SEC asks every program for. `cache_path`: the folder of the
    SEC's files, made when it is not there. `taxonomies` and `tags` as in EdgarFacts."""

    user_agent: UserAgent
    cache_path: Path
    requests_per_second: Rate = 8
    taxonomies: tuple[str, ...] = ("us-gaap", "dei", "ifrs-full")
    tags: tuple[str, ...] | None = None
    archives_url: BaseUrl = "https://www.sec.gov/Archives/edgar"

    def of_files(self, facts: Path, submissions: Path) -> Params:
        """How EdgarFacts reads what was fetched."""
        return Params(path=facts, submissions_path=submissions, taxonomies=self.taxonomies, tags=self.tags)


def client_for(params: FetchParams, limiter: Limiter | None) -> SecClient:
    """Without a limiter: the one that all clients of the process share."""
    return SecClient(params.user_agent, params.requests_per_second, limiter or SHARED)
