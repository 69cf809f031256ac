"""Work that outlives a request: jobs, schedules, tasks, durable events, signals and child processes."""
