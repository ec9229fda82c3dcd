"""Make README.md from nbs/index.ipynb, with the pictures that its cells show.

usage: python tools/readme.py [--check]

Only what the notebook has saved is used: nothing is run, so the same notebook always gives the
same bytes. Pictures go to nbs/images/readme/, which holds nothing else. Links in the notebook are
relative to nbs/; in README.md they are relative to the repository, as GitHub wants them, and
setup.py makes them absolute, as PyPI wants them.
"""

import argparse
import base64
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "nbs/images/readme"
NOTICE = "<!-- Made from nbs/index.ipynb by tools/readme.py: edit that, not this. -->\n"
DIRECTIVE = re.compile(r"^#\|\s*(?P<name>[\w-]+)\s*(?::\s*(?P<value>.*?))?\s*$", re.M)
FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[ \t]*$)", re.M | re.S)
LINK = re.compile(r"(?P<head>\]\()(?P<target>[^)\s]+)(?P<tail>[^)]*\))")
LEFT_OUT = {"hide", "export", "exporti", "exports", "default_exp"}


def joined(text: str | list[str]) -> str:
    """Join text that a notebook may store as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def directives(source: str) -> dict[str, str]:
    """Read the `#|` lines of a cell: {"echo": "false"}, {"hide": ""}."""
    return {match["name"]: match["value"] or "" for match in DIRECTIVE.finditer(source)}


def repository_link(match: re.Match[str]) -> str:
    """Turn a link relative to nbs/ into one relative to the repository."""
    target = match["target"]
    if not re.match(r"[a-z]+:|#|/", target):
        target = posixpath.normpath(f"nbs/{target}")
    return match["head"] + target + match["tail"]


def markdown_cell(source: str) -> str:
    """Keep a cell of prose, without Quarto's ::: fences, its links set right outside of code."""
    parts = FENCE.split(source)
    for k in range(0, len(parts), 2):
        prose = re.sub(r"^:::.*\n?", "", parts[k], flags=re.M)
        parts[k] = LINK.sub(repository_link, prose)
    return "".join(parts).strip()


def output_markdown(output: dict[str, Any], alt: str, pictures: dict[str, bytes]) -> str:
    """Turn one saved output into markdown; a picture is added to `pictures`.

    Raises ValueError if the output is an error or of a kind that markdown cannot show.
    """
    kind, data = output["output_type"], output.get("data", {})
    if kind == "stream":
        return f"```text\n{joined(output['text']).rstrip()}\n```"
    if "image/png" in data:
        name = f"{PICTURES}/{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode(joined(data["image/png"]))
        return f"![{alt}]({name})"
    if "text/markdown" in data:
        return markdown_cell(joined(data["text/markdown"]))
    if "text/plain" in data:
        return f"```text\n{joined(data['text/plain']).rstrip()}\n```"
    raise ValueError(f"nbs/index.ipynb: README.md cannot show an output of type {kind}")


def code_cell(cell: dict[str, Any], pictures: dict[str, bytes]) -> list[str]:
    """Turn a code cell into markdown: its source, then its outputs."""
    source = joined(cell["source"])
    told = directives(source)
    if LEFT_OUT & told.keys() or told.get("include") == "false":
        return []
    code = DIRECTIVE.sub("", source).strip()
    blocks = [f"```python\n{code}\n```"] if code and told.get("echo") != "false" else []
    if told.get("output") != "false":
        alt = told.get("fig-alt", "What the code above shows").strip("\"'")
        blocks += [output_markdown(output, alt, pictures) for output in cell["outputs"]]
    return blocks


def readme(notebook: Path) -> dict[str, bytes]:
    """Make README.md and its pictures: the contents of each file by its name in the repository."""
    blocks, pictures = [NOTICE], dict[str, bytes]()
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            blocks.append(markdown_cell(joined(cell["source"])))
        elif cell["cell_type"] == "code":
            blocks += code_cell(cell, pictures)
    text = "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"
    return {"README.md": text.encode(), **pictures}


def differences(files: dict[str, bytes], root: Path) -> list[str]:
    """Name the files that are not as they should be, those that should not be there among them."""
    wrong = [name for name, data in files.items() if not same(root / name, data)]
    there = [path.relative_to(root).as_posix() for path in (root / PICTURES).glob("*")]
    return sorted(wrong + [name for name in there if name not in files])


def same(path: Path, data: bytes) -> bool:
    """Tell whether a file holds these bytes, be its line ends those of Windows or not."""
    if not path.is_file():
        return False
    found = path.read_bytes()
    return (found.replace(b"\r\n", b"\n") if path.suffix == ".md" else found) == data


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files that differ, or with --check only name them. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Make README.md from nbs/index.ipynb.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if not in sync"
    )
    check = parser.parse_args(arguments).check
    files = readme(root / "nbs" / "index.ipynb")
    changed = differences(files, root)
    for name in changed:
        print(f"{name} is not in sync with nbs/index.ipynb" if check else f"wrote {name}")
        if not check and name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(files[name])
        elif not check:
            (root / name).unlink()
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
