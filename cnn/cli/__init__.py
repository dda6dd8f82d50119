"""What the terminal sees: a module for each command, `commands` with what each takes, and what they share."""
