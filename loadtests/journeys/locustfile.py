"""What Locust loads: users who go on journeys by the weights of the mix."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from locust import FastHttpUser, between, events, stats
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.journeys import JOURNEYS, Journey, Shopper, Unanswered
from loadtests.ops_log import OpsLog
from loadtests.plan import INVALID, MIXES, Account, LoadPlan, load_folder

TIMEOUT_SECONDS, HASTY_SECONDS = 15, 0.1

plan = LoadPlan.read(load_folder())


def whole_milliseconds(response_time: int | float) -> int:
    """Locust rounds to two digits, so that 104 ms becomes 100."""
    return round(response_time)


stats.bucket_response_time = whole_milliseconds


def task_of(journey: Journey) -> Callable[["ShopUser"], None]:
    def task(user: "ShopUser") -> None:
        user.shopper.journey = journey.__name__
        with suppress(Unanswered):  # it is in the statistics and in the ops log; the user goes on
            journey(user.shopper)

    task.__name__ = journey.__name__
    return task


class ShopUser(FastHttpUser):
    """One customer. Between two journeys a customer thinks for a moment."""

    wait_time = between(0.5, 1.5)
    network_timeout = connection_timeout = TIMEOUT_SECONDS
    tasks = [task_of(JOURNEYS[name]) for name, weight in MIXES[plan.mix].items() for _ in range(weight)]  # noqa: RUF012

    def on_start(self) -> None:
        environment = self.environment
        hasty = FastHttpSession(
            base_url=self.host,
            request_event=environment.events.request,
            user=self,
            network_timeout=HASTY_SECONDS,
            connection_timeout=TIMEOUT_SECONDS,
        )
        self.shopper = Shopper(next(accounts), plan.world, log, self.client, hasty)


accounts: Iterator[Account]
log: OpsLog


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def open_ops_log(environment: Environment, **_: Any) -> None:
    """Each process that sends requests has a log, and accounts that no other has. A master only counts."""
    global accounts, log
    if not isinstance(environment.runner, MasterRunner):
        worker = environment.runner.worker_index if isinstance(environment.runner, WorkerRunner) else 0
        accounts = islice(plan.accounts, worker, None, plan.processes)
        log = OpsLog(load_folder(), worker)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge_generator(environment: Environment, **_: Any) -> None:
    """Errors are judged by thresholds. A load is invalid when its generator was too slow, lost a worker or failed."""
    runner = environment.runner
    too_slow = runner is None or runner.cpu_warning_emitted or runner.worker_cpu_warning_emitted
    missing = isinstance(runner, MasterRunner) and runner.clients.missing
    failed = runner is not None and runner.exceptions  # of journeys, not of the system
    environment.process_exit_code = INVALID if too_slow or missing or failed else 0
