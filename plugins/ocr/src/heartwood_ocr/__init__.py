"""Documents: taken in, read page by page in child processes, and found again."""
