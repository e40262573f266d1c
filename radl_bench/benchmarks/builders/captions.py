"""Captions by template that tell the relations of a layout."""

from __future__ import annotations

from collections.abc import Sequence

from radl_bench.types import Instance, Relation


def told(instances: Sequence[Instance], relations: Sequence[Relation]) -> str:
    """ "a cat on top of a bed, a cup and a dog": things in a relation together, the others alone, in order."""
    predicates = {r.subject: (r.predicate, r.object) for r in relations}
    taken = {r.object for r in relations}
    clauses = []
    for i, item in enumerate(instances):
        if i in predicates:
            predicate, goal = predicates[i]
            clauses.append(f"{item.phrase} {predicate} {instances[goal].phrase}")
        elif i not in taken:
            clauses.append(item.phrase)
    return " and ".join([", ".join(clauses[:-1]), clauses[-1]] if len(clauses) > 1 else clauses)
