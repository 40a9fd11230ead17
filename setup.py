"""Build the one import package, ``reprise``, from the rooms at the top of the tree.

The rooms (``conf lib udfs jobs``) stand at the top level; ``.src/reprise`` (ignored by git) holds one link a room, so
that editable installs, wheels, type checkers, spawned workers and ``--py-files`` zips all see an ordinary src layout.
"""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"
ROOMS = ("conf", "lib", "udfs", "jobs")


def link_rooms(top: Path) -> None:
    """Make ``.src/reprise`` in ``top``: ``__init__.py`` with the version, ``py.typed``, and a link to each room."""
    package = top / ".src" / "reprise"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(
        f'"""Covers of the songs you like in the genres you like, on Spark and Delta."""\n\n__version__ = "{VERSION}"\n'
    )
    (package / "py.typed").touch()
    for room in ROOMS:
        link = package / room
        if not link.is_symlink():
            link.symlink_to(Path("..", "..", room), target_is_directory=True)


link_rooms(Path(__file__).parent)

setup(
    name="reprise",
    version=VERSION,
    description="Covers of the songs you like in the genres you like, on Spark and Delta",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"": ".src"},
    packages=find_packages(".src"),
    package_data={
        "reprise": ["py.typed"],
        "reprise.conf": ["*.yaml", "spark/*.conf"],
        "reprise.lib.genres": ["default/*"],
    },
    install_requires=[
        "av",
        "delta-spark==4.4.0",
        "deltalake",
        "duckdb",
        "h5py",
        "isal",
        "librosa",
        "matplotlib",
        "numba",
        "numpy",
        "pandas<3",
        "pyarrow",
        "pydantic",
        "pyspark==4.2.0",
        "pyyaml",
        "rich",
        "safetensors",
        "scikit-learn==1.9.*",  # the default genre model is of this version
        "scipy",
        "skops",
        "soundfile",
        "soxr",
        "tinytag",
        "torch",
        "umap-learn",
    ],
    extras_require={"xgboost": ["xgboost"]},
    entry_points={"console_scripts": ["reprise=reprise.jobs._engine.cli:main"]},
)
