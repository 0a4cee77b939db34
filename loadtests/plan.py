"""The plan of a load: written by `loadtests.run_load`, read by each process of Locust."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER_VARIABLE = "LOAD_FOLDER"
INVALID = 3  # exit code: the load generator was too slow, so its times say nothing about the system

# How often each journey of `loadtests.journeys` is begun. `marketplace` has the ratios of the Online Marketplace
# benchmark (Laigner et al., SIGMOD 2025): 30 checkouts and 30 dashboards to 40 changes by merchants.
MIXES = {
    "everyday": {"browse": 40, "buy": 40, "regret": 8, "impatient": 6, "flash_sale": 4, "merchant": 2},
    "buyers": {"buy": 1},
    "flash-sale": {"browse": 10, "flash_sale": 90},
    "marketplace": {"browse": 30, "buy": 30, "merchant": 40},
}


@dataclass(frozen=True)
class Account:
    """A customer who was registered before the load."""

    id: str
    access_token: str
    access_token_ends: float  # seconds since 1970
    refresh_token: str
    address_id: str


@dataclass(frozen=True)
class World:
    """What all customers and merchants of a load know."""

    catalogue: list[str]  # product ids, the most popular one first
    sale: list[str]  # ids of products with almost no stock
    internal_url: str
    service_key: str


@dataclass(frozen=True)
class LoadPlan:
    """Who takes part in a load, and what they do."""

    mix: str
    processes: int
    accounts: list[Account]  # one for each user of Locust, and one more for each process: users may be shared unevenly
    world: World

    def write(self, folder: Path) -> None:
        path = folder / "plan.json"
        path.touch(mode=0o600)  # it has tokens, and the key of the services
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "LoadPlan":
        values = json.loads((folder / "plan.json").read_text())
        accounts = [Account(**it) for it in values.pop("accounts")]
        return cls(accounts=accounts, world=World(**values.pop("world")), **values)


def load_folder() -> Path:
    """The folder of the load that this process takes part in."""
    return Path(os.environ[FOLDER_VARIABLE])
