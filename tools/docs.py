"""Build the documentation site from what the notebooks have saved: nothing is run.

usage: python tools/docs.py [--out _docs] [--no-lite]

nbdev makes pages of the notebooks; Quarto lays them out where it is installed, and smalldocs does
where it is not. Both are given the same project: each notebook under the name of its page, with
links to match, a badge that opens it in Colab, an alternative text for every picture, and the
definitions folded up under their documentation. To that come a reference of all public names, the
changelog, and the contents for language models.
"""

import argparse
import ast
import inspect
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from execnb.nbio import write_nb
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup, nbglob
from nbdev.process import NBProcessor
from nbdev.processors import FilterDefaults, exec_show_docs
from nbdev.quarto import refresh_quarto_yml
from nbdev.showdoc import show_doc

ROOT = Path(__file__).resolve().parents[1]
Cell = dict[str, Any]

DEFAULT_EXPORT = re.compile(r"^#\|\s*default_exp\s+([\w.]+)", re.M)
SHOW_DOC = re.compile(r"^show_doc\(", re.M)
ARRAY = re.compile(r"numpy\.ndarray\[tuple\[[^\]]*\], numpy\.dtype\[(?:numpy\.|typing\.)?(\w+)\]\]")
OPEN_FOLD = '#| code-fold: show\n#| code-summary: "Exported source"\n'
FOLD = '#| code-fold: true\n#| code-summary: "Source"\n'
LITE = "lite/"  # which is built apart
LIVE = re.compile(r"^#\|\s*live:\s*(\w+)\s*\n", re.M)
LIVE_HTML = """<div class="live" data-step="{step}" data-lite="{lite}">
<button type="button">Move the sliders, here in this page</button>
<p role="status">That fetches Python and the digits, about 20 MB. Nothing leaves your machine.</p>
</div>
<script>
{script}</script>"""
WIDGET = "application/vnd.jupyter.widget-view+json"
TEMPORARY = re.compile(r"(?:/private)?(?:/var/folders/\w+/\w+/T|/tmp)/tmp\w+/")
FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[ \t]*$)", re.M | re.S)
LINK = re.compile(r"(?P<head>\]\(|href=\")(?P<target>[^)\s\"#]+)")
NOT_PROSE = re.compile(r"^(?::::|<|\||!\[|\s*$).*$", re.M)
MARKS = re.compile(r"^(?:#+|>|[-*]|\d+\.)\s+|\{[.#][^}]*\}|[*`]", re.M)
FONT_ELSEWHERE = re.compile(r"@import\s*(?:url\(\s*)?[\"']?https?:[^\"')]*[\"')]+\s*;")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LONGEST_ALT = 240  # characters; a screen reader cannot skim


@dataclass(frozen=True)
class Page:
    """One page of the site."""

    source: str  # what it is made from, relative to nbs: "05_compose.ipynb"
    path: str  # where it is in the project, under the name that readers see: "compose.ipynb"
    title: str
    description: str

    @property
    def address(self) -> str:
        return PurePosixPath(self.path).with_suffix(".html").as_posix()

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def is_chapter(self) -> bool:
        """Tell whether readers may want to run it: a step or a tutorial."""
        return self.source[0].isdigit() or self.folder == "tutorials"


def joined(text: str | list[str]) -> str:
    """Join text that a notebook may store as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


# What nbdev makes of a notebook


def documented(module: str | None) -> Callable[[Any], None]:
    """Make a step of nbdev's that shows each exported name as the finished module has it.

    nbdev's own runs the exported cells once more, one by one, and stops where a function speaks of
    a class that a later cell defines.
    """
    names = vars(import_module(f"digitseq.{module}")) if module else {}

    def fill(cell: Any) -> None:
        if cell.cell_type == "code" and SHOW_DOC.search(cell.source):
            shown = eval(cell.source, {**names, "show_doc": show_doc})
            text = ARRAY.sub(r"NDArray[\1]", shown._repr_markdown_())
            data = {"text/markdown": text.splitlines(keepends=True)}
            cell.outputs = [{"output_type": "display_data", "metadata": {}, "data": data}]

    return fill


def folded(cell: Any) -> None:
    """Let nbdev keep the source of an exported cell under its documentation, imports excepted."""
    statements = ast.parse(cell.source).body if "export" in cell.directives_ else []
    if any(not isinstance(one, ast.Import | ast.ImportFrom) for one in statements):
        cell.directives_["exports"] = cell.directives_.pop("export")


def process(notebook: Path, target: Path) -> None:
    """Let nbdev turn a notebook into a page: front matter, documentation, links, nothing hidden."""
    found = DEFAULT_EXPORT.search("\n".join(sources(notebook)))
    fill = documented(found[1] if found else None)
    steps = [fill if step is exec_show_docs else step for step in FilterDefaults().procs()]
    processor = NBProcessor(notebook, steps)
    for cell in processor.nb.cells:
        folded(cell)
    processor.process()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(processor.nb, target)


def sources(notebook: Path) -> list[str]:
    """Read the source of each cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [joined(cell["source"]) for cell in cells]


def read_page(notebook: Path, source: str) -> Page:
    """Read from a processed notebook what its page is called."""
    front = yaml.safe_load(sources(notebook)[0].strip().strip("-"))
    name = PurePosixPath(source).with_name(front["output-file"]).with_suffix(".ipynb")
    return Page(source, name.as_posix(), front["title"], front.get("description", ""))


# What both engines lack


def finish(notebook: dict[str, Any], page: Page, pages: Mapping[str, Page]) -> None:
    """Give a processed notebook what a page of this site needs, in place.

    The view of a widget is left out: it lives only as long as its kernel.
    """
    notebook["metadata"].pop("widgets", None)
    cells = notebook["cells"]
    front = joined(cells[0]["source"])
    cells[0]["source"] = re.sub(r"^output-file:.*\n", "", front, flags=re.M)
    for k, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            cell["source"] = with_links(joined(cell["source"]), page, pages)
        elif cell["cell_type"] == "code":
            outputs = [one for one in cell["outputs"] if WIDGET not in one.get("data", {})]
            cell["source"] = joined(cell["source"]).replace(OPEN_FOLD, FOLD)
            cell["outputs"] = [mended(output, page, pages) for output in outputs]
            describe_pictures(cell, cells[:k], page)
    notebook["cells"] = [one for cell in cells for one in (cell, *live_after(cell, page))]
    if page.is_chapter:
        notebook["cells"].insert(1, badge(page))


def live_after(cell: Cell, page: Page) -> list[Cell]:
    """Put a button after a picture that the reader can bring to life, in his own browser."""
    found = LIVE.search(joined(cell["source"])) if cell["cell_type"] == "code" else None
    if found is None:
        return []
    cell["source"] = LIVE.sub("", joined(cell["source"]))
    lite = posixpath.relpath("lite", page.folder or ".")
    script = (ROOT / "nbs" / "live.js").read_text(encoding="utf-8")
    html = LIVE_HTML.format(step=found[1], lite=lite, script=script)
    text = f"```{{=html}}\n{html}\n```\n"
    return [{"cell_type": "markdown", "id": f"live-{found[1]}", "metadata": {}, "source": text}]


def with_links(text: str, page: Page, pages: Mapping[str, Page]) -> str:
    """Point the links of prose at pages of this site by the names that they have there."""

    def renamed(match: re.Match[str]) -> str:
        return match["head"] + link_target(match["target"], page, pages)

    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(renamed, part) for part in parts[::2]]
    return "".join(parts)


def link_target(target: str, page: Page, pages: Mapping[str, Page]) -> str:
    """Give the target of a link as seen from a page, be it a notebook or an address of the site."""
    site = site_address()
    if target.startswith(site):
        return posixpath.relpath(target.removeprefix(site), page.folder or ".")
    source = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), target))
    if source in pages:
        return posixpath.relpath(pages[source].path, page.folder or ".")
    return target


def site_address() -> str:
    """Say where the site is published, as nbdev writes it into links."""
    config = get_config()
    return f"{config.doc_host}{config.doc_baseurl}/"


def mended(output: Cell, page: Page, pages: Mapping[str, Page]) -> Cell:
    """Mend the links of an output, and leave out the folder of the machine that it was made in."""
    data = dict(output.get("data", {}))
    if "text/markdown" in data:
        data["text/markdown"] = with_links(joined(data["text/markdown"]), page, pages)
    if "text/plain" in data:
        data["text/plain"] = TEMPORARY.sub("", joined(data["text/plain"]))
    if output["output_type"] == "stream":
        return {**output, "text": TEMPORARY.sub("", joined(output["text"]))}
    return {**output, "data": data} if data else output


def describe_pictures(cell: Cell, before: list[Cell], page: Page) -> None:
    """Say in words what a cell's pictures show, unless the cell says so itself."""
    source = joined(cell["source"])
    pictures = any(kind.startswith("image/") for o in cell["outputs"] for kind in o.get("data", {}))
    if pictures and "#| fig-alt:" not in source:
        alt = last_sentence(before) or page.title
        cell["source"] = f"#| fig-alt: {json.dumps(alt, ensure_ascii=False)}\n{source}"


def last_sentence(cells: Iterable[Cell]) -> str:
    """Find the sentence that leads to what follows, without its markup."""
    for cell in reversed(list(cells)):
        if cell["cell_type"] == "markdown":
            prose = NOT_PROSE.sub("", "".join(FENCE.split(joined(cell["source"]))[::2]))
            words = MARKS.sub("", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose)).strip()
            sentence = " ".join(SENTENCE_END.split(words)[-1].split()).rstrip(":")
            if sentence:
                return sentence[:LONGEST_ALT]
    return ""


def badge(page: Page) -> Cell:
    """Make the cell that opens the notebook in Colab."""
    config = get_config()
    repository = f"{config.user}/{config.repo}/blob/{config.branch}"
    address = f"https://colab.research.google.com/github/{repository}/nbs/{page.source}"
    text = f"[Open in Colab]({address}){{.colab-badge}}\n"
    return {"cell_type": "markdown", "id": "badge", "metadata": {}, "source": text}


# The project, and the site


def make_project(root: Path, project: Path) -> list[Page]:
    """Fill a folder with all that an engine needs; gives the pages."""
    os.chdir(root)  # where nbdev looks for its settings
    refresh_quarto_yml()
    notebooks = shutil.ignore_patterns("*.ipynb", ".*")
    shutil.copytree(root / "nbs", project, ignore=notebooks, dirs_exist_ok=True)
    pages = {}
    for notebook in nbglob(root / "nbs", as_path=True):
        source = notebook.relative_to(root / "nbs").as_posix()
        processed = project / "_processed" / source
        process(notebook, processed)
        pages[source] = read_page(processed, source)
    for source, page in pages.items():
        content = json.loads((project / "_processed" / source).read_text(encoding="utf-8"))
        finish(content, page, pages)
        target = project / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content), encoding="utf-8")
    shutil.rmtree(project / "_processed")
    rename_in_menus(project, pages)
    return [*pages.values(), add_reference(project, pages), add_changelog(root, project)]


def rename_in_menus(project: Path, pages: Mapping[str, Page]) -> None:
    """Name the notebooks in sidebar and navigation bar as they are named in the project."""

    def renamed(match: re.Match[str]) -> str:
        return pages[match[0]].path if match[0] in pages else match[0]

    for menu in project.glob("*.yml"):
        text = menu.read_text(encoding="utf-8")
        menu.write_text(re.sub(r"[\w./-]+\.ipynb", renamed, text), encoding="utf-8")


def add_changelog(root: Path, project: Path) -> Page:
    """Make a page of CHANGELOG.md."""
    title, _, text = (root / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")
    page = Page("CHANGELOG.md", "changelog.qmd", title.lstrip("# "), "What each version changed.")
    return write_page(page, text, project)


def add_reference(project: Path, pages: Mapping[str, Page]) -> Page:
    """Make a page of all public names: what each is, and where it is documented."""
    page = Page("digitseq", "reference.qmd", "Reference", "Every name of `import digitseq`.")
    package = import_module("digitseq")
    rows = [reference_row(name, getattr(package, name)) for name in package.__all__]
    text = "\n".join(["| name | what it is |", "|---|---|", *filter(None, rows)])
    return write_page(page, with_links(text, page, pages), project)


def reference_row(name: str, value: Any) -> str:
    """Make the row of a public name; there is none of a name that no chapter documents."""
    address = NbdevLookup().doc(f"{getattr(value, '__module__', '')}.{name}")
    about = (inspect.getdoc(value) or "").partition("\n")[0]
    return f"| [`{name}`]({address}) | {about} |" if address else ""


def write_page(page: Page, text: str, project: Path) -> Page:
    front = f"---\ntitle: {page.title}\ndescription: {page.description}\n---\n"
    (project / page.path).write_text(f"{front}\n{text}\n", encoding="utf-8")
    return page


def render(project: Path) -> Path:
    """Lay out the pages with the engine that is there; gives the folder of the site.

    Raises ValueError if smalldocs finds a broken link. Quarto says so itself.
    """
    if shutil.which("quarto"):
        subprocess.run(["quarto", "render", "--no-cache"], cwd=project, check=True)
    else:
        import smalldocs.site

        site = smalldocs.site.build(project, quiet=True)
        lines = [f"{source}: {link}" for source, link in site.broken if not link.startswith(LITE)]
        if lines:
            raise ValueError("\n".join(["these links lead nowhere:", *lines]))
    return project / str(get_config().doc_path.name)


def forget_fonts(site: Path) -> None:
    """Drop the fonts that themes fetch from elsewhere: styles.css names those that readers have."""
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        if FONT_ELSEWHERE.search(text):
            sheet.write_text(FONT_ELSEWHERE.sub("", text), encoding="utf-8")


def llms_text(project: Path, pages: Iterable[Page]) -> str:
    """Write the site's contents for language models: a line on each page, by the sidebar."""
    config, at = get_config(), {page.path: page for page in pages}
    sidebar = yaml.safe_load((project / "sidebar.yml").read_text(encoding="utf-8"))
    blocks = [f"# {config.title}", f"> {at['index.ipynb'].description}"]
    for section in sidebar["website"]["sidebar"]["contents"]:
        if isinstance(section, dict):
            lines = [llms_line(at[path]) for path in section["contents"]]
            blocks += [f"## {section['section']}", "\n".join(lines)]
    return "\n\n".join(blocks) + "\n"


def llms_line(page: Page) -> str:
    return f"- [{page.title}]({site_address()}{page.address}): {page.description}"


def add_beside_pages(site: Path, project: Path, pages: list[Page], lite: bool) -> None:
    """Add to the site what no engine makes: a list for machines, and Python for the browser."""
    (site / "llms.txt").write_text(llms_text(project, pages), encoding="utf-8")
    if lite:
        tool = [sys.executable, str(ROOT / "tools" / "lite.py"), "--out", str(site / "lite")]
        subprocess.run(tool, check=True)


def replace_site(site: Path, out: Path) -> None:
    """Put a new site in the place of an old one.

    Raises ValueError if `out` holds anything but a site that this tool has built.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / "llms.txt").is_file():
            raise ValueError(f"{out} holds other things than a site: name another folder")
        shutil.rmtree(out)
    shutil.copytree(site, out, dirs_exist_ok=True)


def build(out: Path, root: Path = ROOT, lite: bool = True) -> int:
    """Build the site into `out`, all of it or without `lite`; gives the number of its pages."""
    with TemporaryDirectory() as folder:
        project = Path(folder).resolve()
        pages = make_project(root, project)
        site = render(project)
        forget_fonts(site)
        add_beside_pages(site, project, pages, lite)
        replace_site(site, out)
    return len(pages)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Build the site. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Build the documentation site from nbs.")
    parser.add_argument("--out", type=Path, default=root / "_docs", help="where to (default _docs)")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--lite", action=switch, default=True, help="Python in the browser, too")
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    try:
        count = build(out, root, options.lite)
    except ValueError as error:
        print(f"no site was built: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {count} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
