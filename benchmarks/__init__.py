"""What WebSocket servers cost, side by side: run `python -m benchmarks` (see README.md)."""
