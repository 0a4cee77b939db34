"""What every service stands on: transactions, messages, HTTP, settings, tracing. Knows no business word."""
