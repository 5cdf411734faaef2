"""Puts on the site what stands outside of ``docs/``: the README as its front page, and the examples.

MkDocs calls these functions, as ``mkdocs.yml`` says. The texts have the links of the checkout; here these are
led to the pages of the site.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent
#: The pages of the root, and what they are called here. On some systems files may not differ in case only.
PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "reporting.md",
}


def on_files(files: "Files", config: Any) -> "Files":
    """Add the pages of the root, and a page for each example.

    Args:
        files: What MkDocs has found in ``docs/``.
        config: That of MkDocs.
    """
    for page, path in PAGES.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / page).read_text(encoding="utf-8"))
        files.append(File.generated(config, path, content=_with_links_of_the_site(text)))
    examples = ROOT / "examples"
    table = re.sub(r"\]\((\w+)\.py\)", r"](\1.md)", (examples / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "examples/index.md", content=table.replace("](../docs/", "](../")))
    for example in sorted(examples.glob("*.py")):
        code = example.read_text(encoding="utf-8")
        text = f"# {example.name}\n\n```python\n{code}```\n"
        files.append(File.generated(config, f"examples/{example.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Return the text of a page with links that lead out of ``docs/`` led to the site."""
    if page.file.src_uri.startswith("examples/"):
        return markdown
    return _with_links_of_the_site(re.sub(r"\]\(\.\./", "](", markdown))


def _with_links_of_the_site(text: str) -> str:
    text = re.sub(r"\]\((examples/\w+)\.py\)", r"](\1.md)", text)
    text = text.replace("](examples)", "](examples/index.md)")
    return re.sub(r"\]\(([A-Z]+\.md)", lambda link: f"]({PAGES.get(link[1], link[1])}", text)
