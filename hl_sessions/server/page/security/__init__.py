"""Who may look, and what keeps foreign pages and foreign content out."""
