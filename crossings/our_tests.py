"""Makes ``tests`` the folder of this repository: Chainlit and Weave bring packages of that name."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

_spec = ModuleSpec("tests", None, is_package=True)
_spec.submodule_search_locations = [str(Path(__file__).parent.parent / "tests")]
sys.modules["tests"] = module_from_spec(_spec)
