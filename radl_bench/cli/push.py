"""`radl-bench push`; see `cli.sharing`."""

from radl_bench.cli.sharing import push

__all__ = ["push"]
