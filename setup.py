"""Lists the packages; everything else stands in pyproject.toml, which cannot say both "find" and "and these"."""

from setuptools import find_namespace_packages, setup

# The configs lie beside the package in the repository, where commands name them, and inside it once installed.
configs = ["cnn.configs", *(f"cnn.configs.{name}" for name in find_namespace_packages("configs", exclude=["*__*"]))]

setup(
    packages=[*find_namespace_packages(include=["cnn", "cnn.*"], exclude=["*__pycache__*"]), *configs],
    package_dir={"cnn.configs": "configs"},
)
