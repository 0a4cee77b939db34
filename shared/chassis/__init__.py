"""What every service stands on: transactions, messages, HTTP, settings, tracing. It has no business word."""
