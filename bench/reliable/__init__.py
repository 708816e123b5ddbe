"""The parts of bench/reliability.py."""
