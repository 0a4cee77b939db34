"""Messages, and the brokers that carry them, behind one port."""
