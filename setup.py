"""Build the import package ``reprise`` from the top-level folders ``conf``, ``lib``, ``udfs`` and ``jobs``.

``.src/reprise`` (ignored by git) contains a link to each of these folders. Editable installs, wheels, type checkers,
spawned workers and ``--py-files`` zips thus see an ordinary src layout.
"""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.2.0"
PACKAGES = ("conf", "lib", "udfs", "jobs")


def link_packages(top: Path) -> None:
    """Create ``.src/reprise`` in ``top``: ``__init__.py`` with the version, ``py.typed``, and links to the packages."""
    package = top / ".src" / "reprise"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(
        f'"""Covers of the songs you like in the genres you like, on Spark and Delta."""\n\n__version__ = "{VERSION}"\n'
    )
    (package / "py.typed").touch()
    for name in PACKAGES:
        link = package / name
        if not link.is_symlink():
            link.symlink_to(Path("..", "..", name), target_is_directory=True)


link_packages(Path(__file__).parent)

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
        "reprise.lib.covers": ["default/*", "default/instruments/*"],
        "reprise.lib.detect": ["default/*"],
        "reprise.lib.genres": ["default/*"],
    },
    install_requires=[
        "av",
        "delta-spark==4.4.0",
        "deltalake",
        "demucs==4.1.0",
        "duckdb",
        "gin-config",
        "h5py",
        "isal",
        "librosa",
        "matplotlib",
        "numba",
        "numpy",
        "onnxruntime",
        "pandas<3",
        "pyarrow",
        "pydantic",
        "pyspark==4.2.0",
        "pyyaml",
        "rich",
        "safetensors",
        "scikit-learn>=1.7",
        "scipy",
        "soundfile",
        "soxr",
        "swift-f0",
        "tensorflow==2.21.0",
        "tensorflow-probability==0.25.0",
        "tf-keras==2.21.0",
        "tinytag",
        "torch",
        "umap-learn",
    ],
    extras_require={"xgboost": ["xgboost"]},
    entry_points={"console_scripts": ["reprise=reprise.jobs._engine.cli:main"]},
)
