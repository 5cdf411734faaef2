"""One script for each change of the tables, from the first release on."""
