"""Channel tracing, plans, surgery and schedules."""
