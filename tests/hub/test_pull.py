"""What tern pull does when all goes well: what it chooses, and the cache."""

import json
import os
import unittest

from fake_hub import STORY, HubTest, sha256

COMMIT, OTHER_COMMIT = "1" * 40, "abcdef0123" * 4


class Pulling(HubTest):
    def add_ggufs(self, *names, **others):
        self.hub.add("org/many", {**{name: name.encode() * 10 for name in names}, "README.md": b"#", **others})

    def pulled_names(self, *arguments):
        status, out, err = self.pull(*arguments)
        self.assertEqual(status, 0, err)
        folder = out.strip() if os.path.isdir(out.strip()) else os.path.dirname(out.strip())
        return sorted(os.path.relpath(os.path.join(place, name), folder)
                      for place, _, names in os.walk(folder) for name in names)

    # --- the cache

    def test_layout(self):
        self.hub.add("org/story", {"sub/story.gguf": STORY, "README.md": b"#"})
        path = self.assert_pulled(self.pull("org/story"), STORY)
        base = os.path.join(self.cache, "models--org--story")
        self.assertEqual(path, os.path.join(base, "snapshots", COMMIT, "sub", "story.gguf"))
        self.assertEqual(os.readlink(path), "../../../blobs/" + sha256(STORY))
        with open(os.path.join(base, "refs", "main"), encoding="ascii") as file:
            self.assertEqual(file.read(), COMMIT)
        self.assertEqual(self.models(), [path])
        self.assertEqual(len(self.files(sha256(STORY))), 1)

    def test_places(self):
        self.hub.add("org/small", {"a.gguf": b"a" * 1000})
        for number, (variables, place) in enumerate((
                ({"HF_HUB_CACHE": self.folder + "/x"}, "x"), ({"HUGGINGFACE_HUB_CACHE": self.folder + "/y"}, "y"),
                ({"HF_HOME": self.folder + "/z"}, "z/hub"),
                ({"HF_HOME": "", "XDG_CACHE_HOME": self.folder + "/c"}, "c/huggingface/hub"),
                ({"HF_HOME": ""}, ".cache/huggingface/hub"))):
            path = self.assert_pulled(self.pull("org/small", **variables), b"a" * 1000)
            self.assertTrue(path.startswith(os.path.join(self.folder, place, "models--org--small/")), path)
            self.assertEqual(self.hub.count("resolve"), number + 1)

    def test_again(self):
        """What is in the cache does not come again; a new commit with old contents neither."""
        self.hub.add("org/story", {"a.gguf": STORY, "config.json": b"{}"})
        self.assert_pulled(self.pull("org/story"), STORY)
        self.hub.requests.clear()
        status, _, err = self.pull("org/story")
        self.assertEqual((status, self.hub.count("store")), (0, 0))
        self.assertIn("all in the cache", err)
        self.hub.add("org/story", {"b.gguf": STORY}, commit=OTHER_COMMIT)
        path = self.assert_pulled(self.pull("org/story"), STORY)
        self.assertIn(OTHER_COMMIT, path)
        self.assertEqual(self.hub.count("store"), 0)

    def test_revisions(self):
        self.hub.add("org/small", {"a.gguf": b"a" * 1000}, **{"v1.0": OTHER_COMMIT, "refs/pr/1": "2" * 40})
        for revision, commit in ("v1.0", OTHER_COMMIT), ("refs/pr/1", "2" * 40), ("main", COMMIT), ("2" * 40, "2" * 40):
            path = self.assert_pulled(self.pull("org/small@" + revision), b"a" * 1000)
            self.assertIn("/%s/" % commit, path)
            self.assertEqual(self.pull("--offline", "org/small@%s:a.gguf" % revision)[1].strip(), path)

    def test_offline(self):
        self.hub.add("org/small", {"a.gguf": b"a" * 1000})
        self.assert_fails(self.pull("--offline", "org/small"), "not in the cache")
        path = self.assert_pulled(self.pull("org/small"), b"a" * 1000)
        self.hub.requests.clear()
        self.assertEqual(self.pull("--offline", "org/small"), (0, path + "\n", ""))
        self.assertEqual(self.pull("org/small", HF_HUB_OFFLINE="1"), (0, path + "\n", ""))
        self.assertEqual(self.hub.requests, [])

    def test_list_and_remove(self):
        self.assertEqual(self.pull("--list")[0], 0)
        self.hub.add("org/story", {"story.gguf": STORY})
        self.hub.add("org/small", {"a.gguf": b"a" * 1000}, tag=COMMIT)
        self.pull("org/story", "org/small", "org/small@tag")
        status, out, _ = self.pull("--list")
        self.assertEqual(status, 0)
        lines = [line.split() for line in out.splitlines()]
        self.assertEqual([line[2] for line in lines if len(line) == 3 and line[2].startswith("org/")],
                         ["org/small", "org/story"])
        self.assertIn(["main", "tag", COMMIT[:7], "a.gguf"], lines)
        self.assertIn(["main", COMMIT[:7], "story.gguf"], lines)
        listed = json.loads(self.pull("--list", "--json")[1])
        self.assertEqual(listed["cache"], self.cache)
        self.assertEqual([entry["repository"] for entry in listed["repositories"]], ["org/small", "org/story"])
        self.assertGreaterEqual(listed["repositories"][1]["bytes"], len(STORY))
        self.assertEqual(self.pull("--remove", "org/story")[:2], (0, ""))
        self.assertEqual(self.files(sha256(STORY)), [])
        self.assertFalse(os.path.exists(os.path.join(self.cache, "models--org--story")))
        status, out, err = self.pull("--remove", "org/story")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("not in the cache", err)
        self.assertEqual(len(json.loads(self.pull("--list", "--json")[1])["repositories"]), 1)

    def test_removal_stays_inside(self):
        """A link in the place of a repository goes, what it leads to stays."""
        outside = os.path.join(self.folder, "outside")
        os.makedirs(outside)
        os.makedirs(self.cache)
        with open(os.path.join(outside, "file"), "w", encoding="ascii") as file:
            file.write("x")
        os.symlink(outside, os.path.join(self.cache, "models--org--link"))
        self.assertEqual(self.pull("--remove", "org/link")[0], 0)
        self.assertTrue(os.path.exists(os.path.join(outside, "file")))
        self.assertFalse(os.path.lexists(os.path.join(self.cache, "models--org--link")))

    # --- choices

    def test_best_gguf(self):
        for names, best in ((("x.gguf",), "x.gguf"), (("a-f16.gguf", "b-I2_S.gguf", "c-tq1_0.gguf"), "b-I2_S.gguf"),
                            (("a-F16.gguf", "a-Q4_K.gguf"), "a-F16.gguf"), (("a-BF16.gguf", "a-f16.gguf"), "a-BF16.gguf")):
            self.add_ggufs(*names)
            self.assertEqual(os.path.basename(self.pull("org/many")[1].strip()), best)
        self.add_ggufs("a.gguf", "b.gguf")
        status, _, err = self.pull("org/many")
        self.assertEqual(status, 1)
        self.assertIn("a.gguf, b.gguf", err)

    def test_named_file(self):
        self.add_ggufs("a-i2_s.gguf", "a-tq1_0.gguf", "b-tq1_0.gguf")
        self.assertEqual(self.pulled_names("org/many:a-tq1_0.gguf"), ["a-tq1_0.gguf"])
        self.assertEqual(self.pulled_names("org/many:B-TQ"), ["a-tq1_0.gguf", "b-tq1_0.gguf"])
        self.assertEqual(self.pulled_names("org/many:README.md")[0], "README.md")
        status, _, err = self.pull("org/many:tq1_0")
        self.assertEqual(status, 1)
        self.assertIn("a-tq1_0.gguf, b-tq1_0.gguf", err)

    def test_folder(self):
        small = {"config.json": b"{}", "tokenizer.json": b"[]", "README.md": b"#", "pytorch_model.bin": b"x" * 1000}
        self.hub.add("org/one", {**small, "model.safetensors": b"w" * 1000, "other.safetensors": b"o"})
        self.assertEqual(self.pulled_names("org/one"), ["config.json", "model.safetensors", "tokenizer.json"])
        index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
        shards = {"model.safetensors.index.json": index, "model-1.safetensors": b"1", "model-2.safetensors": b"2"}
        self.hub.add("org/two", {**small, **shards})
        names = self.pulled_names("org/two")
        self.assertEqual(names, sorted([*shards, "config.json", "tokenizer.json"]))
        path = self.pull("--offline", "org/two")[1].strip()
        os.remove(os.path.join(path, "model-2.safetensors"))  # not whole any more
        self.assertEqual(self.pull("--offline", "org/two")[0], 1)
        self.hub.add("org/none", small)
        status, _, err = self.pull("org/none")
        self.assertEqual(status, 1)
        self.assertIn("neither", err)

    def add_index(self, contents, **shards):
        self.hub.add("org/shards", {"config.json": b"{}", "model.safetensors.index.json": contents, "other.safetensors": b"o" * 1000,
                                    **{name.replace("__", "/") + ".safetensors": data for name, data in shards.items()}})

    def test_index_says_which(self):
        """The files of the index, wherever they are, and no others."""
        index = {"weight_map": {"a": "model-1.safetensors", "b": "more/model-2.safetensors", "c": "model-1.safetensors"}}
        self.add_index(json.dumps(index).encode(), **{"model-1": b"1" * 1000, "more__model-2": b"2" * 1000})
        self.assertEqual(self.pull("org/shards")[0], 0)
        names = sorted(path.split("/snapshots/")[1].split("/", 1)[1] for path in self.models())
        self.assertEqual(names, ["config.json", "model-1.safetensors", "model.safetensors.index.json", "more/model-2.safetensors"])
        self.assertEqual(self.pull("--offline", "org/shards")[0], 0)

    def test_index_is_wrong(self):
        """One line, and nothing is fetched."""
        for contents, message in ((b"{}", "no weight_map"), (b"", "no weight_map"), (b"<html>", "no weight_map"),
                                  (b'{"weight_map": {}}', "no weight_map"), (b'{"weight_map": []}', "no weight_map"),
                                  (b'{"weight_map": {"a": 1}}', "no file for tensor a"),
                                  (b'{"weight_map": {"a": "../x.safetensors"}}', "no file for tensor a"),
                                  (b'{"weight_map": {"a": "config.json"}}', "no file for tensor a"),
                                  (b'{"weight_map": {"a": "x.safetensors"}}', "names x.safetensors, which the repository does not have")):
            self.add_index(contents)
            self.assert_fails(self.pull("org/shards"), "org/shards: model.safetensors.index.json", message)
        self.assertEqual(self.files(""), [])

    def test_index_with_faults(self):
        index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
        self.add_index(index, **{"model-1": b"1" * 1000})
        lie = index.replace(b"-1", b"-2")

        def fault(handler, kind, count):
            if not handler.path.endswith(".index.json"):
                return False
            if len(seen) < 2:
                seen.append(503)
                handler.send_response(503)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return True
            return False
        seen = []
        self.hub.faults.append(fault)
        status, _, err = self.pull("org/shards")
        self.assertEqual(status, 0, err)
        self.assertEqual(len(seen), 2)

        def other(handler, kind, count):
            if not handler.path.endswith(".index.json"):
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(lie)))
            handler.end_headers()
            handler.wfile.write(lie)
            return True
        self.hub.faults[:] = [other]
        status, _, err = self.pull("org/shards@main")
        self.assertEqual(status, 1)
        self.assertIn("org/shards:model.safetensors.index.json: what came is not what the hub's list says", err)

    def test_config_comes_last(self):
        self.hub.add("org/one", {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": b"w" * 1000})
        self.assertEqual(self.pull("org/one")[0], 0)
        fetched = [path.rsplit("/", 1)[1] for method, kind, path, _ in self.hub.requests if kind == "resolve" and method == "GET"]
        self.assertEqual(fetched[-1], "config.json")

    def test_odd_names(self):
        """What an address and a path have to be quoted for."""
        name = "a b/#1?%20é+&.gguf"
        self.hub.add("org/odd", {name: b"odd" * 1000})
        self.assert_pulled(self.pull("org/odd"), b"odd" * 1000)
        self.assert_pulled(self.pull("org/odd:" + name), b"odd" * 1000)

    def test_empty_file(self):
        self.hub.add("org/empty", {"a.gguf": b""})
        self.assert_pulled(self.pull("org/empty"), b"")

    def test_without_lfs_digest(self):
        """A mirror whose list has no digests: X-Linked-ETag has them."""
        self.hub.add("org/story", {"a.gguf": STORY})
        self.hub.edit_listing = lambda body: [entry.pop(key, None) for entry in body["siblings"] for key in ("lfs", "blobId")]
        self.assert_pulled(self.pull("org/story"), STORY)
        self.assertEqual(len(self.files(sha256(STORY))), 1)


if __name__ == "__main__":
    unittest.main()
