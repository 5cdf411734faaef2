"""What is kept: a module for each kind of record, and for what concerns all of them."""
