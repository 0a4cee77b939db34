"""What the notification service serves over HTTP: its problem, and the operations that other services call."""

from chassis.errors import Problem
from contracts.notification import PreferencesView, SetPreferences, Unsubscribe, api


class UnsubscribeTokenInvalid(Problem):
    """The token of an unsubscribe request was not signed by this service, or only a part of it was sent.

    The client takes the whole token from the link in the mail, or lets its user sign in and change the preferences.
    """

    status, code, detail = 422, "unsubscribe_token_invalid", "The token is not one from an unsubscribe link of ours."


get_preferences = api.get("/me/preferences", PreferencesView)
set_preferences = api.put("/me/preferences", PreferencesView, body=SetPreferences)
unsubscribe_by_token = api.post("/unsubscriptions", body=Unsubscribe, raises=(UnsubscribeTokenInvalid,))
