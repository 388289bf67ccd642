"""Straightforward implementations, which the benchmarks compare ours with: written as one reads the description."""
