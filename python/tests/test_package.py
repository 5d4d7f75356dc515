"""The package as a wheel: built, installed into a fresh environment, used. Without network; skipped where pip,
setuptools or venv cannot do that."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import support
import tern

USE = "import tern; print(tern.library_path); print(len(tern.Model.from_pretrained().generate('Once', max_tokens=3, ignore_end=True).ids))"


def output(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    return done.returncode, done.stdout.decode(errors="replace")


def what_is_missing():
    """Why no wheel can be built here, or None."""
    code = (
        "import setuptools, venv\n"  # setuptools first: pip may have loaded what it wants to replace
        "assert int(setuptools.__version__.split('.')[0]) >= 77, 'setuptools is older than 77'\n"
        "import pip\n"
        "assert tuple(map(int, pip.__version__.split('.')[:2])) >= (22, 3), 'pip is older than 22.3'\n"
    )
    status, text = output(sys.executable, "-c", code)
    return text.strip().splitlines()[-1] if status else None


class Package(unittest.TestCase):
    def test_wheel(self):
        missing = what_is_missing()
        if missing:
            self.skipTest(f"pip cannot build a wheel offline: {missing}")
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        source = os.path.join(folder, "python")  # a copy: a build leaves files behind
        shutil.copytree(support.PACKAGE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        environment = dict(os.environ, TERN_LIBRARY=os.path.realpath(tern.library_path), PIP_DISABLE_PIP_VERSION_CHECK="1")
        offline = ("--no-index", "--no-deps")
        status, text = output(
            sys.executable, "-m", "pip", "wheel", "--no-build-isolation", *offline, "-w", folder, source, env=environment
        )
        self.assertEqual(status, 0, text)
        (wheel,) = [name for name in os.listdir(folder) if name.endswith(".whl")]
        self.assertRegex(wheel, rf"^tern-{tern.__version__}-py3-none-(linux|manylinux|macosx)\w+\.whl$")
        with zipfile.ZipFile(os.path.join(folder, wheel)) as archive:
            names = archive.namelist()
        for name in ("tern/__init__.py", "tern/py.typed", "tern/" + ("libtern.dylib" if sys.platform == "darwin" else "libtern.so")):
            self.assertIn(name, names)
        self.assertTrue([name for name in names if name.endswith("/LICENSE")])
        self.assertEqual([name for name in names if "test" in name], [])

        place = os.path.join(folder, "venv")
        inside = os.path.join(place, "bin", "python")
        status, text = output(sys.executable, "-m", "venv", "--without-pip", place)
        self.assertEqual(status, 0, text)
        status, text = output(
            sys.executable, "-m", "pip", "--python", inside, "install", *offline, os.path.join(folder, wheel), env=environment
        )
        self.assertEqual(status, 0, text)
        clean = {name: value for name, value in os.environ.items() if name not in ("TERN_LIBRARY", "PYTHONPATH")}
        status, text = output(inside, "-c", USE, cwd=folder, env=clean)
        self.assertEqual(status, 0, text)
        library, n = text.split()
        self.assertTrue(os.path.realpath(library).startswith(os.path.realpath(place)), library)
        self.assertEqual(n, "3")


if __name__ == "__main__":
    support.main()
