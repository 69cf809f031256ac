"""The command ``heartwood``. Nothing here imports what only a command needs before that command is typed."""
