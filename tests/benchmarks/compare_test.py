"""launch/bench-peers and benchmarks/time_to_accuracy: they run, add up, and say what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
from harness import PROGRAM, SOURCE, ProgramTest, main  # noqa: E402

COMPARE = SOURCE / "benchmarks" / "peers" / "compare"


def run(*command):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=800)


class CompareTest(ProgramTest):
    def test_a_round_beside_the_plain_loop(self):
        figures = self.directory / "figures.json"
        # A Python that is none stands for a peer that fails.
        result = self.expect(run(COMPARE, "--rounds", 1, "--steps", 60, "--peers", "cpp,keras", "--keras-python",
                                 "/bin/false", "--lockstep", PROGRAM, "--cpp-loop", os.environ["LOCKSTEP_CPP_LOOP"],
                                 "--json", figures), 0)
        found = json.loads(figures.read_text())
        names = [row["program"] for row in found["results"]]
        self.assertEqual(names, ["lockstep", "lockstep, LibTorch's convolutions", "C++ loop, MPI_Allreduce"])
        self.assertEqual(found["missing"], [{"program": name, "reason": "it failed, see above"}
                                            for name in ("Keras, oneDNN", "Keras, the recipe's stack")])
        for row in found["results"]:
            self.assertGreater(row["images_per_second"], 0)
            self.assertGreater(row["peak_bytes"], 2**26)
            self.assertGreater(row["one_step_seconds"], 0)
            ratio = found["results"][0]["images_per_second"] / row["images_per_second"]
            line = next(line for line in result.stdout.splitlines()
                        if line.startswith(f"{row['program']:<34} ") and "images/s" not in line)
            self.assertIn(f"{row['images_per_second']:.1f}", line)
            if row["program"] != "lockstep":
                self.assertIn(f"{ratio:.2f} times", line)
            self.assertEqual("first_step_seconds" in row, row["program"].startswith("lockstep"))
            if "first_step_seconds" in row:
                self.assertLess(row["first_step_seconds"], row["one_step_seconds"])
                self.assertTrue(line.endswith(f" {row['first_step_seconds']:.2f}"))
        self.assertIn("missing: it failed, see above", result.stdout)

    def test_wrong_options_are_refused_before_anything_is_built(self):
        for options in (["--rounds", 0], ["--steps", 59], ["--peers", "horovod"], ["--json", "/nonexistent/x"]):
            refused = subprocess.run([str(SOURCE / "launch" / "bench-peers"), *map(str, options)],
                                     capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn("error: --" if options[0] != "--json" else "/nonexistent/x", refused.stderr)

    def test_time_to_accuracy(self):
        config = self.directory / "short.ini"
        config.write_text("model = mlp\nvalidation-fraction = 0\nschedule = constant\nepochs = 1\nbatch-size = 600\n")
        figures = self.directory / "figures.json"
        result = self.expect(run(SOURCE / "benchmarks" / "time_to_accuracy", "--seeds", 2, "--config", config,
                                 "--accuracy", "0.5", "--lockstep", PROGRAM, "--json", figures), 0)
        runs = json.loads(figures.read_text())["lockstep, short.ini"]
        self.assertEqual([run["seed"] for run in runs], [1, 2])
        mean = sum(run["accuracy"] for run in runs) / 2
        self.assertIn(f"{100 * mean:.3f} %", result.stdout)
        self.assertIn("2 of 2", result.stdout)


if __name__ == "__main__":
    main()
