"""Notification: writes to people what happened to their account and their orders, once for each cause."""

from chassis.service import Service
from contracts import notification as contract

service = Service(contract.api)
