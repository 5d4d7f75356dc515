"""The structures, constants and functions of the package are those of tern.h, as the C compiler sees them."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import support
from tern import _structs

HEADER = os.path.join(support.ROOT, "include", "tern", "tern.h")
COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

CONSTANTS = {
    "TERN_ERROR_SIZE": _structs.Error.message.size,
    "TERN_OK": _structs.OK,
    "TERN_ERR_CANCELLED": _structs.ERR_CANCELLED,
    "TERN_TOKENIZE_BOS": _structs.TOKENIZE_BOS,
    "TERN_TOKENIZE_SPECIAL": _structs.TOKENIZE_SPECIAL,
    "TERN_KV_F16": _structs.KV_TYPES["f16"],
    "TERN_KV_F32": _structs.KV_TYPES["f32"],
    "TERN_KV_Q8": _structs.KV_TYPES["q8"],
    "TERN_ACT_INT8": _structs.ACT_TYPES["int8"],
    "TERN_ACT_INT4": _structs.ACT_TYPES["int4"],
    "TERN_NUMA_NONE": _structs.NUMA["none"],
    "TERN_NUMA_INTERLEAVE": _structs.NUMA["interleave"],
    "TERN_NUMA_LOCAL": _structs.NUMA["local"],
    "TERN_STOP_LENGTH": _structs.STOP_REASONS.index("length"),
    "TERN_STOP_END": _structs.STOP_REASONS.index("end"),
    "TERN_STOP_STRING": _structs.STOP_REASONS.index("stop"),
    "TERN_STOP_CONTEXT": _structs.STOP_REASONS.index("context"),
    "TERN_STOP_CANCELLED": _structs.STOP_REASONS.index("cancelled"),
}


def in_python():
    """{"struct": size, "struct.field": (offset, size), constant: value}"""
    values = dict(CONSTANTS)
    for name, struct in _structs.STRUCTS.items():
        values[name] = ctypes.sizeof(struct)
        for field, *_ in struct._fields_:
            at = getattr(struct, field)
            values[f"{name}.{field}"] = (at.offset, at.size)
    return values


def program():
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <tern/tern.h>", "int main(void) {"]
    for name in CONSTANTS:
        lines.append(f'    printf("{name} %d\\n", (int){name});')
    for name, struct in _structs.STRUCTS.items():
        lines.append(f'    printf("{name} %zu\\n", sizeof({name}));')
        for field, *_ in struct._fields_:
            size = f"sizeof((({name} *)0)->{field})"
            lines.append(f'    printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), {size});')
    return "\n".join(lines + ["    return 0;", "}", ""])


def in_c():
    with tempfile.TemporaryDirectory() as folder:
        source, binary = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
        with open(source, "w") as file:
            file.write(program())
        subprocess.run([COMPILER, "-I", os.path.join(support.ROOT, "include"), source, "-o", binary], check=True)
        output = subprocess.run([binary], check=True, stdout=subprocess.PIPE).stdout.decode()
    values = {}
    for line in output.splitlines():
        name, *numbers = line.split()
        values[name] = int(numbers[0]) if len(numbers) == 1 else tuple(map(int, numbers))
    return values


def declarations():
    """{function: its parameters} of tern.h"""
    with open(HEADER) as file:
        text = re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
    found = {}
    for name, parameters in re.findall(r"TERN_API\b[^;(]*?\b(tern_\w+)\s*\(([^)]*)\)\s*;", text):
        parameters = [" ".join(part.split()) for part in parameters.split(",")]
        found[name] = [] if parameters == ["void"] else parameters
    return found


# What a C parameter begins with, and the ctypes that may stand for it
KINDS = (
    (r"size_t \w+$", (ctypes.c_size_t,)),
    (r"uint32_t \w+$", (ctypes.c_uint32,)),
    (r"int32_t \w+$", (ctypes.c_int32,)),
    (r"unsigned \w+$", (ctypes.c_uint,)),
    (r"bool \w+$", (ctypes.c_bool,)),
    (r"tern_text_fn \w+$", (_structs.TextFn,)),
)


@unittest.skipUnless(os.path.exists(HEADER), "no tern.h: not in a checkout")
class Layout(unittest.TestCase):
    @unittest.skipUnless(COMPILER, "no C compiler")
    def test_structures_and_constants(self):
        self.assertEqual(in_python(), in_c())

    @unittest.skipUnless(COMPILER, "no C compiler")
    def test_a_difference_is_found(self):
        wrong = type("Wrong", (ctypes.Structure,), {"_fields_": [("n_ctx", ctypes.c_uint64), ("kv_type", ctypes.c_int)]})
        right = _structs.STRUCTS["tern_session_params"]
        _structs.STRUCTS["tern_session_params"] = wrong
        try:
            self.assertNotEqual(in_python(), in_c())
        finally:
            _structs.STRUCTS["tern_session_params"] = right

    def test_functions(self):
        declared = declarations()
        self.assertGreater(len(declared), 50)
        for name, (_, argtypes) in _structs.FUNCTIONS.items():
            with self.subTest(function=name):
                self.assertIn(name, declared)
                self.assertEqual(len(argtypes), len(declared[name]), declared[name])
                for argtype, parameter in zip(argtypes, declared[name]):
                    scalar = [kinds for pattern, kinds in KINDS if re.match(pattern, parameter)]
                    if scalar:
                        self.assertIn(argtype, scalar[0], parameter)
                    else:
                        self.assertIn("*", parameter)
                        self.assertEqual(ctypes.sizeof(argtype), ctypes.sizeof(ctypes.c_void_p), parameter)
                        self.assertNotIn(argtype, (ctypes.c_size_t, ctypes.c_uint64), parameter)

    def test_version(self):
        with open(HEADER) as file:
            version = re.search(r'#define TERN_VERSION "(.*)"', file.read()).group(1)
        import tern

        self.assertEqual(tern.__version__, version)


if __name__ == "__main__":
    support.main()
