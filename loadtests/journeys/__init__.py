"""What customers and merchants do: a journey a module, a function of a `Shopper`.

A journey ends by returning, or with `Unanswered` when the system did not answer in time. Only Locust's processes import
this package, because Locust replaces Python's sockets by gevent's.
"""

from collections.abc import Callable

from loadtests.journeys.browse import browse
from loadtests.journeys.buy import buy
from loadtests.journeys.flash_sale import flash_sale
from loadtests.journeys.impatient import impatient
from loadtests.journeys.merchant import merchant
from loadtests.journeys.regret import regret
from loadtests.journeys.shopper import Shopper, Unanswered

Journey = Callable[[Shopper], None]

JOURNEYS: dict[str, Journey] = {it.__name__: it for it in (browse, buy, flash_sale, impatient, merchant, regret)}

__all__ = ["JOURNEYS", "Journey", "Shopper", "Unanswered"]
