"""Sessions for LLM applications: made lazily, exactly once, and known everywhere in their scope."""
