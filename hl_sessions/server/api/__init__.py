"""The calls of the v4 API: a module for each kind of record, and the parts that they share."""
