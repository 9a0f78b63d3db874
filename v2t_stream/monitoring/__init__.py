"""The whole system in numbers: queues, jobs and machines, for people and for Prometheus."""
