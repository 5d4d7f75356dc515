"""/metrics' energy, on made-up sensors: counters that go up, around and away; nothing where nothing can be read."""
import os
import shutil
import tempfile
import unittest

from harness import Server

RANGE = 262143328850  # microjoules
PACKAGE = 'tern_energy_joules_total{source="rapl:package-0"}'
DRAM = 'tern_energy_joules_total{source="rapl:package-0:dram"}'
PER_TOKEN = 'tern_energy_joules_per_token{method="RAPL"}'
PROMPT = {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}


class Energy(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)

    def put(self, name, text):
        """In one step: the server may read at any time."""
        path = os.path.join(self.root, "class", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "~", "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        os.rename(path + "~", path)

    def serve(self, nvml="none"):
        server = Server("--sysfs", self.root, "--nvml", nvml)
        self.addCleanup(server.stop)
        return server

    def test_rapl(self):
        self.put("powercap/intel-rapl:0/name", "package-0")
        self.put("powercap/intel-rapl:0/max_energy_range_uj", RANGE)
        self.put("powercap/intel-rapl:0/energy_uj", RANGE - 1000000)
        self.put("powercap/intel-rapl:0:0/name", "dram")
        self.put("powercap/intel-rapl:0:0/max_energy_range_uj", RANGE)
        self.put("powercap/intel-rapl:0:0/energy_uj", 5000000)
        server = self.serve()
        metrics = server.metrics()
        self.assertEqual((metrics[PACKAGE], metrics[DRAM]), (0, 0))
        self.assertNotIn(PER_TOKEN, metrics)  # there has been no token
        server.good("/v1/completions", PROMPT)
        self.put("powercap/intel-rapl:0/energy_uj", 2000000)  # around
        self.put("powercap/intel-rapl:0:0/energy_uj", 5500000)
        metrics = server.metrics()
        self.assertAlmostEqual(metrics[PACKAGE], 3)
        self.assertAlmostEqual(metrics[DRAM], 0.5)
        tokens = metrics["tern_prompt_tokens_total"] + metrics["tern_generated_tokens_total"]
        self.assertGreater(tokens, 4)
        self.assertAlmostEqual(metrics[PER_TOKEN] * tokens, 3.5, places=6)
        os.remove(os.path.join(self.root, "class/powercap/intel-rapl:0/energy_uj"))
        metrics = server.metrics()
        self.assertNotIn(PACKAGE, metrics)
        self.assertAlmostEqual(metrics[DRAM], 0.5)
        self.put("powercap/intel-rapl:0/energy_uj", 4000000)  # it goes on from where it stopped
        self.assertAlmostEqual(server.metrics()[PACKAGE], 3)
        self.put("powercap/intel-rapl:0/energy_uj", 5000000)
        metrics = server.metrics()
        self.assertAlmostEqual(metrics[PACKAGE], 4)
        self.assertAlmostEqual(metrics[PER_TOKEN] * tokens, 0.5, places=6)  # what was there all the time

    def test_battery(self):
        """A power that does not change, on the battery and, read with it, from a sensor: time cancels out."""
        self.put("power_supply/BAT0/type", "Battery")
        self.put("power_supply/BAT0/status", "Discharging")
        self.put("power_supply/BAT0/power_now", 12000000)
        self.put("hwmon/hwmon0/name", 'odd"name\\')
        self.put("hwmon/hwmon0/power1_input", 3000000)
        server = self.serve()
        battery, sensor = ('tern_energy_joules_total{source="battery:BAT0"}',
                           'tern_energy_joules_total{source="hwmon:odd_name_:power1"}')
        metrics = server.metrics()
        self.assertGreater(metrics[battery], 0)
        self.assertAlmostEqual(metrics[battery], 4 * metrics[sensor], places=4)
        self.put("power_supply/BAT0/status", "Full")
        metrics = server.metrics()
        self.assertNotIn(battery, metrics)
        self.assertIn(sensor, metrics)

    @unittest.skipUnless("FAKE_NVML_LIBRARY" in os.environ, "no made-up library of NVIDIA's")
    def test_cards(self):
        """Their energy is shown, each card's; no token is said to have cost it."""
        cards = os.path.join(self.root, "class", "cards")
        os.environ["FAKE_NVML"] = cards
        self.put("cards", "NVIDIA_H200 5000 70000\nTesla_K80 - 60000")
        server = self.serve(os.environ["FAKE_NVML_LIBRARY"])
        server.good("/v1/completions", PROMPT)
        self.put("cards", "NVIDIA_H200 7500 70000\nTesla_K80 - 60000")
        metrics = server.metrics()
        self.assertAlmostEqual(metrics['tern_energy_joules_total{source="nvml:0:NVIDIA_H200"}'], 2.5)
        self.assertGreater(metrics['tern_energy_joules_total{source="nvml:1:Tesla_K80"}'], 0)
        self.assertEqual([name for name in metrics if name.startswith("tern_energy_joules_per_token")], [])

    def test_nothing(self):
        server = self.serve()
        server.good("/v1/completions", PROMPT)
        self.assertEqual([name for name in server.metrics() if "energy" in name], [])


if __name__ == "__main__":
    unittest.main()
