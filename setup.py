"""Build digitseq: everything that can be said once is said in settings.ini."""

import posixpath
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
STATUS = {"3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(HERE / "settings.ini", encoding="utf-8")
config = parser["DEFAULT"]


def requirements(key: str) -> list[str]:
    """Read a list of requirements; those with a marker stand in quotes."""
    return shlex.split(config[key])


def readme() -> str:
    """Read README.md with its links made absolute: PyPI shows it without the files beside it."""
    raw = config["git_url"].replace("github.com", "raw.githubusercontent.com")
    tag = f"v{config['version']}"

    def absolute(match: re.Match[str]) -> str:
        root = f"{raw}/{tag}" if match["picture"] else f"{config['git_url']}/blob/{tag}"
        return f"{match['picture']}[{match['text']}]({root}/{posixpath.normpath(match['target'])}"

    relative = r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?![a-z]+:|#)(?P<target>[^)\s]+)"
    return re.sub(relative, absolute, (HERE / "README.md").read_text(encoding="utf-8"))


extras = {
    key.removesuffix("_requirements"): requirements(key)
    for key in config
    if key.endswith("_requirements")
}

setup(
    name=config["lib_name"],
    version=config["version"],
    description=config["description"],
    long_description=readme(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    author=config["author"],
    author_email=config["author_email"],
    keywords=config["keywords"].split(),
    url=config["git_url"],
    project_urls={
        "Documentation": f"{config['doc_host']}{config['doc_baseurl']}",
        "Changelog": f"{config['git_url']}/blob/{config['branch']}/CHANGELOG.md",
    },
    classifiers=[
        f"Development Status :: {STATUS[config['status']]}",
        *(f"Intended Audience :: {audience}" for audience in config["audience"].split()),
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=f">={config['min_python']}",
    install_requires=requirements("requirements"),
    extras_require=extras,
    packages=find_packages(include=["digitseq", "digitseq.*"]),
    package_data={"digitseq": ["py.typed", "data/*", "data/pages/*"]},
    entry_points={
        "console_scripts": config["console_scripts"].split(),
        "nbdev": ["digitseq=digitseq._modidx:d"],
    },
    zip_safe=False,
)
