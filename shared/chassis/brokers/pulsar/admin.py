"""Pulsar's admin API: topics, how long they are kept, and the lag of groups."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from chassis.brokers.port import RETENTION, BrokerUnavailable, TopicMismatch

NAMESPACE = "public/default"
ASK_SECONDS = 5
MAX_COUNTED_ENTRIES = 1000  # entries whose messages are counted, at 0.2 ms each

_DEFAULTS = {
    "retentionTimeInMinutes": "defaultRetentionTimeInMinutes",
    "retentionSizeInMB": "defaultRetentionSizeInMB",
    "message_ttl_in_seconds": "ttlDurationDefaultInSeconds",
}
_WANTED = {
    "retentionTimeInMinutes": RETENTION.total_seconds() // 60,
    "retentionSizeInMB": -1,  # no limit
    "message_ttl_in_seconds": 0,  # otherwise messages that a group has not read in time are deleted
}


class Admin:
    """Paths and fields: https://pulsar.apache.org/admin-rest-api/."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.AsyncClient(base_url=f"{url}/admin/v2", timeout=ASK_SECONDS)

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        """Create missing topics, without partitions. A topic that an operator has partitioned works, too."""
        await self._check_namespace()
        for topic in topics:
            await self._ask("PUT", f"/persistent/{NAMESPACE}/{topic}", also=409)

    async def _check_namespace(self) -> None:
        policies = (await self._ask("GET", f"/namespaces/{NAMESPACE}")).json()
        defaults = (await self._ask("GET", "/brokers/configuration/runtime")).json()
        found = {name: float(defaults[default]) for name, default in _DEFAULTS.items()}
        found |= {"message_ttl_in_seconds": policies.get("message_ttl_in_seconds") or found["message_ttl_in_seconds"]}
        found |= policies.get("retention_policies") or {}
        differences = [
            f"{name} {found[name]:g}, not {value:g}" for name, value in _WANTED.items() if found[name] != value
        ]
        if differences:
            raise TopicMismatch(
                f"the topics of the namespace {NAMESPACE} have {'; '.join(differences)}. Change it (pulsar-admin"
                " namespaces set-retention, set-message-ttl), or RETENTION in chassis/brokers/port.py"
            )

    async def lag(self, topic: str, group: str) -> int:
        """In messages for up to 1,000 waiting entries; in entries above that. An entry has one message or more."""
        return sum([await self._lag(path, group) async for path in self._partitions(topic)])

    async def _partitions(self, topic: str) -> AsyncIterator[str]:
        path = f"/persistent/{NAMESPACE}/{topic}"
        answer = await self._ask("GET", f"{path}/partitions", also=404)
        if answer.status_code != 404:
            for number in range(answer.json()["partitions"]):
                yield f"{path}-partition-{number}"
            if answer.json()["partitions"] == 0:
                yield path

    async def _lag(self, path: str, group: str) -> int:
        stats = (await self._ask("GET", f"{path}/stats?getPreciseBacklog=true", also=404)).json()
        subscription: dict[str, Any] = stats.get("subscriptions", {}).get(group, {})
        entries = int(subscription.get("msgBacklog", 0))
        if not 0 < entries <= MAX_COUNTED_ENTRIES:
            return entries
        return int((await self._ask("POST", f"{path}/subscription/{group}/analyzeBacklog")).json()["messages"])

    async def _ask(self, method: str, path: str, also: int = 0) -> httpx.Response:
        try:
            answer = await self._http.request(method, path)
        except httpx.HTTPError as error:
            raise BrokerUnavailable(f"Pulsar's admin API at {self._url}: {error!r}") from error
        if answer.is_error and answer.status_code != also:
            raise BrokerUnavailable(f"Pulsar's admin API: {method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def close(self) -> None:
        await self._http.aclose()
