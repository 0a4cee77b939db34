"""Processes in which a consumer stops with messages in hand, many after each other: prints how many ended how.

python -m brokers.stops COUNT SEED BROKER ADDRESS TOPIC [ADMIN ADDRESS]
"""

import asyncio
import json
import os
import random
import sys
from collections import Counter

from brokers.member import Member, connect
from chassis.process.run import end_process
from ledger.waiting import until

AT_ONCE = 8


async def consume_and_stop(kind: str, address: str, topic: str, *admin: str) -> None:
    broker = connect(kind, address, *admin)
    member = Member(broker, topic, f"{topic} {os.getpid()}", "stops")
    running = asyncio.create_task(member.run(member.stop))
    await until(lambda: bool(member.handled), 60)
    await asyncio.sleep(random.uniform(0, 0.05))
    member.stop.set()
    await running
    await broker.close()


def main(count: int, seed: int, *broker: str) -> None:
    """Each process is a fork of this one, which has imported everything: a start takes no second then."""
    codes, running, started = Counter[int](), set[int](), 0
    while started < count or running:
        if started < count and len(running) < AT_ONCE:
            started += 1
            if (child := os.fork()) == 0:
                random.seed(f"{seed} {started}")
                asyncio.run(consume_and_stop(*broker))
                end_process()
            running.add(child)
        else:
            child, status = os.wait()
            running.discard(child)
            codes[os.waitstatus_to_exitcode(status)] += 1
    sys.stdout.write(json.dumps(codes))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
