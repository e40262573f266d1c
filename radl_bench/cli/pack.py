"""`radl-bench pack`; see `cli.sharing`."""

from radl_bench.cli.sharing import pack

__all__ = ["pack"]
