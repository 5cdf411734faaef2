"""What hl-sessions costs, beside what it cannot cost less than and beside its neighbours.

``python -m benchmarks`` measures everything; each module here holds one row of the report, or a few.
"""
