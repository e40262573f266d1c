"""`radl-bench verify`; see `cli.sharing`."""

from radl_bench.cli.sharing import verify

__all__ = ["verify"]
