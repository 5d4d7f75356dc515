"""contrib/: the systemd unit, the Kubernetes and Prometheus files say what tern and each other understand."""
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

from harness import ROOT, TERN, Server

try:
    import yaml
except ImportError:
    yaml = None
SYSTEMD = shutil.which("systemd-analyze")
PROMTOOL = shutil.which("promtool")
CONTRIB = os.path.join(ROOT, "contrib")


def text(name):
    with open(os.path.join(CONTRIB, name), encoding="utf-8") as file:
        return file.read()


def default_seconds(option):
    """What `tern serve --help` says."""
    said = subprocess.run([TERN, "serve", "--help"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return int(re.search(rf"{option} SECONDS .*\(default: (\d+)\)", said).group(1))


class Contrib(unittest.TestCase):
    def serves(self, command):
        """A server with this command line, but for the model and the files' places, starts, and wants its keys."""
        self.assertEqual(command[0], "serve")
        self.assertTrue(command[1].endswith(".gguf"), command)
        options = command[2:]
        with tempfile.TemporaryDirectory() as folder:
            keys = os.path.join(folder, "keys")
            with open(keys, "w", encoding="utf-8") as file:
                os.chmod(keys, 0o600)
                file.write(f"{'a' * 64}\n{'b' * 64}\n")
            options[options.index("--api-key-file") + 1] = keys
            if "--port" in options:  # the harness chooses one
                at = options.index("--port")
                del options[at:at + 2]
            server = Server(*options)
            try:
                self.assertEqual(server.request("GET", "/health")[0], 200)
                self.assertEqual(server.request("GET", "/metrics")[0], 401)
                self.assertEqual(server.request("GET", "/metrics", headers={"Authorization": "Bearer " + "b" * 64})[0], 200)
            finally:
                self.assertEqual(server.stop(), 0, server.lines)

    def test_unit(self):
        unit = text("tern.service")
        program, *command = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.M).group(1))
        self.assertTrue(program.endswith("/tern"))
        self.assertEqual(command[-1], "${CREDENTIALS_DIRECTORY}/keys")
        self.assertIn("LoadCredential=keys:", unit)
        self.serves(command)
        stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M).group(1))
        self.assertGreater(stop, default_seconds("--drain"))

    @unittest.skipUnless(SYSTEMD, "no systemd-analyze here")
    def test_unit_as_systemd_reads_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tern.service")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text("tern.service").replace("/usr/local/bin/tern", shutil.which("true")))
            done = subprocess.run([SYSTEMD, "verify", "--man=no", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            ours = [line for line in done.stdout.decode().splitlines() if "tern.service" in line]
            self.assertEqual(ours, [])
            if subprocess.run([SYSTEMD, "security", "--offline=true", "--help"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode:
                return  # before systemd 250
            done = subprocess.run([SYSTEMD, "security", "--offline=true", "--threshold=20", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout.decode()[-500:])

    @unittest.skipUnless(yaml, "no Python package yaml here")
    def test_kubernetes(self):
        objects = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(text("kubernetes.yaml"))}
        servers = objects["StatefulSet", "tern"]
        spec = servers["spec"]["template"]["spec"]
        container, = spec["containers"]
        self.serves(container["args"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):  # without a key: serves() has asked
            self.assertEqual(container[probe]["httpGet"], {"path": "/health", "port": "http"})
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreater(spec["terminationGracePeriodSeconds"], sleep + default_seconds("--drain"))
        self.assertIn(("Service", servers["spec"]["serviceName"]), objects)

        labels = {}  # of pods, by what makes them
        for (kind, name), o in objects.items():
            if kind in ("StatefulSet", "Deployment"):
                labels[name] = o["spec"]["template"]["metadata"]["labels"]
                self.assertEqual(o["spec"]["selector"]["matchLabels"], labels[name])
                pod = o["spec"]["template"]["spec"]
                mounted = {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]}
                self.assertEqual(mounted, {volume["name"] for volume in pod["volumes"]})
        pods = {f"tern-{i}" for i in range(servers["spec"]["replicas"])}
        for (kind, name), o in objects.items():
            if kind == "Service":
                selector = o["spec"]["selector"]
                pod = selector.get("statefulset.kubernetes.io/pod-name")
                self.assertTrue(pod in pods and pod == name if pod else selector in labels.values(), name)
                self.assertEqual([port["targetPort"] for port in o["spec"]["ports"]], ["http"])

        # the command that makes nginx's configuration names every server's Service
        command = re.search(r"^# +(sed .*) > default.conf$", text("kubernetes.yaml"), re.M).group(1)
        made = subprocess.run(command, shell=True, cwd=CONTRIB, stdout=subprocess.PIPE, check=True).stdout.decode()
        self.assertEqual(set(re.findall(r"^ +server ([\w-]+):8080 ", made, re.M)), pods)
        self.assertLessEqual({("Service", pod) for pod in pods}, set(objects))
        self.assertNotIn("127.0.0.1", made)
        self.assertEqual(objects["Service", "tern"]["spec"]["selector"], labels["tern-nginx"])

    @unittest.skipUnless(yaml, "no Python package yaml here")
    def test_prometheus(self):
        jobs = yaml.safe_load(text("prometheus.yml"))["scrape_configs"]
        for job in jobs:  # serves() has asked with a second key
            self.assertIn("credentials_file", job["authorization"])
            self.assertEqual(job.get("metrics_path", "/metrics"), "/metrics")
        wanted = set(re.findall(r"server (127\S+)", text("nginx.conf")))
        self.assertEqual(set(jobs[0]["static_configs"][0]["targets"]), wanted)

    @unittest.skipUnless(PROMTOOL, "no promtool here")
    def test_prometheus_as_it_reads_it(self):
        done = subprocess.run([PROMTOOL, "check", "config", "--syntax-only", os.path.join(CONTRIB, "prometheus.yml")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
