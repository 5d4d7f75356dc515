"""Puts libtern into the wheel: the one that $TERN_LIBRARY names, or else one that CMake builds from the checkout around
this folder (or from the sources that an sdist carries along)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent
LIBRARY = "libtern.dylib" if sys.platform == "darwin" else "libtern.so"
CARRIED = HERE / "libtern"  # the C sources inside an sdist
SOURCES = ("CMakeLists.txt", "LICENSE", "README.md", "cmake", "include", "src", "models/demo.gguf", "bench", "completions", "man")


def source_tree():
    for folder in (HERE.parent, CARRIED):
        if (folder / "include" / "tern" / "tern.h").is_file() and (folder / "CMakeLists.txt").is_file():
            return folder
    return None


def build_library(folder):
    """Build libtern in `folder` with CMake -> its path."""
    source = source_tree()
    if source is None:
        raise SystemExit(
            "tern: neither the C sources nor a library: install from a checkout (pip install CHECKOUT/python), "
            "or name a libtern in the environment variable TERN_LIBRARY"
        )
    if shutil.which("cmake") is None:
        raise SystemExit("tern: cmake is missing; tools/bootstrap.sh of a checkout installs what a build needs")
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DTERN_TESTS=OFF"]
    subprocess.run(["cmake", "-S", str(source), "-B", str(folder)] + ninja + options, check=True)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", str(folder), "--target", "tern_shared", "--parallel", jobs], check=True)
    return Path(folder) / LIBRARY


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):
            return  # the package then finds ../build/libtern.so, or $TERN_LIBRARY
        given = os.environ.get("TERN_LIBRARY")
        library = Path(given) if given else build_library(Path(self.get_finalized_command("build").build_temp) / "libtern")
        if not library.is_file():
            raise SystemExit(f"tern: {library}: there is no such library")
        target = Path(self.build_lib) / "tern" / LIBRARY
        shutil.copyfile(library, target)  # follows the link to the file
        target.chmod(0o755)


class Wheel(bdist_wheel):
    """For this platform, and any Python 3."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class SourcesToo(sdist):
    """An sdist that can be built without a checkout."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        source = source_tree()
        if source is None:
            raise SystemExit("tern: an sdist carries the C sources; make it in a checkout")
        for name in SOURCES:
            target = Path(base_dir) / "libtern" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, target)
            else:
                shutil.copyfile(source / name, target)


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True  # not a pure package: libraries go to platlib


setup(
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": Wheel, "sdist": SourcesToo},
    distclass=WithLibrary,
)
