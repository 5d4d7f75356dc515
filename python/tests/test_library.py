"""Finding the library, refusing wrong ones, and the package's exceptions."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import unittest

import support
import tern
from tern import _errors

SHOW = "import tern, os; print(os.path.realpath(tern.library_path))"


def python(code, folder=support.PACKAGE, **environment):
    """Run code in a new interpreter -> (status, output)."""
    env = {name: value for name, value in os.environ.items() if name != "TERN_LIBRARY"}
    env.update(environment, PYTHONPATH=folder)
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tempfile.gettempdir(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return run.returncode, run.stdout.decode().strip()


class Library(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.library = os.path.realpath(tern.library_path)

    def package(self):
        """A copy of the package with nothing around it."""
        source = os.path.join(support.PACKAGE, "tern")
        shutil.copytree(source, os.path.join(self.folder, "tern"), ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        return self.folder

    def test_named_in_the_environment(self):
        self.assertEqual(python(SHOW, self.package(), TERN_LIBRARY=self.library), (0, self.library))

    def test_what_is_named_is_not_replaced(self):
        status, output = python(SHOW, TERN_LIBRARY="/nowhere/libtern.so")
        self.assertEqual(status, 1)
        self.assertIn("ImportError: tern: no libtern that can be used (/nowhere/libtern.so:", output)
        self.assertIn("TERN_LIBRARY", output)

    def test_another_library(self):
        import _ctypes

        status, output = python(SHOW, TERN_LIBRARY=getattr(_ctypes, "__file__", "/bin/true"))
        self.assertEqual(status, 1)
        self.assertIn("ImportError", output)

    def test_in_the_package(self):
        folder = self.package()
        inside = os.path.join(folder, "tern", os.path.basename(tern.library_path).split(".so")[0] + ".so")
        if sys.platform == "darwin":
            inside = os.path.join(folder, "tern", "libtern.dylib")
        shutil.copyfile(self.library, inside)
        self.assertEqual(python(SHOW, folder), (0, os.path.realpath(inside)))

    def test_another_version(self):
        folder = self.package()
        with open(os.path.join(folder, "tern", "_version.py"), "w") as file:
            file.write('__version__ = "99.0"\n')
        status, output = python(SHOW, folder, TERN_LIBRARY=self.library)
        self.assertEqual(status, 1)
        self.assertIn(f"version {tern.__version__}, but this package is of version 99.0", output)


class Errors(unittest.TestCase):
    def test_classes(self):
        for status, kind in {1: ValueError, 2: OSError, 3: ValueError, 5: MemoryError}.items():
            error = _errors.error_of(status, "a line")
            self.assertIsInstance(error, kind)
            self.assertIsInstance(error, tern.TernError)
            self.assertEqual(str(error), "a line")
        self.assertIs(type(_errors.error_of(99, "new")), tern.TernError)

    def test_every_status_has_a_class(self):
        names = [kind.__name__ for kind in _errors._CLASSES.values()]
        self.assertEqual(len(set(names)), 8)

    def test_missing_file(self):
        with self.assertRaises(FileNotFoundError) as caught:
            tern.Model.from_pretrained("/nowhere/model.gguf")
        self.assertIsInstance(caught.exception, tern.FileError)
        self.assertEqual(caught.exception.filename, "/nowhere/model.gguf")
        self.assertIn("/nowhere/model.gguf", str(caught.exception))

    def test_not_a_model(self):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(b"GGUF\3\0\0\0" + b"\1" * 8)  # version 3, and then not even a whole header
            file.flush()
            for function in (tern.Model.from_pretrained, tern.inspect, tern.Tokenizer.from_pretrained):
                with self.assertRaises(tern.FormatError):
                    function(file.name)

    def test_pickle(self):
        error = _errors.error_of(6, "full")
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(copy), str(copy)), (tern.ContextError, "full"))


if __name__ == "__main__":
    support.main()
