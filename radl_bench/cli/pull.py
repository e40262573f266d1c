"""`radl-bench pull`; see `cli.sharing`."""

from radl_bench.cli.sharing import pull

__all__ = ["pull"]
