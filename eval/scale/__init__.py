"""What it takes to find pictures among so many: machines, hours, bytes and money, on paper.

    python -m eval.scale                            # all tables of docs/scale.md
    python -m eval.scale --pictures 250M --json     # one size

Arithmetic alone: what it is made of was measured (`python -m eval.bench.scale`) or published, and is named in
machines.py. published.py compares it with what others have said of such work.
"""

from eval.scale.plan import Plan, broken, limits, plan

__all__ = ["Plan", "broken", "limits", "plan"]
