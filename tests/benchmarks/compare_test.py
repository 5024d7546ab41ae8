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
                                            for name in ("Keras, oneDNN", "Keras, TensorFlow's defaults")])
        for row in found["results"]:
            self.assertGreater(row["images_per_second"], 0)
            self.assertGreater(row["peak_bytes"], 2**26)
            self.assertGreater(row["one_step_seconds"], 0)
            ratio = row["lockstep_is"]  # of one round
            self.assertEqual(ratio, found["results"][0]["rounds"][0] / row["rounds"][0])
            line = next(line for line in result.stdout.splitlines()
                        if line.startswith(f"{row['program']:<34} ") and "images/s" not in line)
            self.assertIn(f"{row['images_per_second']:.1f}", line)
            if row["program"] != "lockstep":
                self.assertIn(f"{ratio:.2f} times", line)
            self.assertIn(f"{row['program']:<34} {row['versions']}", result.stdout)
            own = row["program"].startswith("lockstep")
            self.assertRegex(row["versions"], r"lockstep \d.*Open MPI" if own else r"^torch \d")
            self.assertEqual("first_step_seconds" in row, row["program"].startswith("lockstep"))
            if "first_step_seconds" in row:
                self.assertLess(row["first_step_seconds"], row["one_step_seconds"])
                self.assertTrue(line.endswith(f" {row['first_step_seconds']:.2f}"))
        self.assertIn("missing: it failed, see above", result.stdout)
        self.assertEqual((found["ranks"], found["threads"], found["steps"]), (2, 1, 60))
        self.assertEqual([row["steps"] for row in found["results"]], [180, 60, 60])
        self.assertIn("60 steps a round (of lockstep 180), 1 rounds", result.stdout)

    def test_each_python_peer_runs_in_its_two_modes(self):
        stub = self.directory / "python"
        stub.write_text(f"#!/bin/sh\necho \"$@\" >> {self.directory}/calls\necho '{{\"images_per_second\": 100.0}}'\n")
        stub.chmod(0o755)
        self.expect(run(COMPARE, "--rounds", 1, "--steps", 60, "--peers", "torch,keras", "--keras-python", stub,
                        "--torch-python", stub, "--lockstep", PROGRAM), 0)
        calls = [line.split() for line in (self.directory / "calls").read_text().splitlines()]
        modes = [(Path(call[0]).name, call[1]) for call in calls]
        each = [(script, mode) for script in ("ddp.py", "keras_recipe.py") for mode in ("--best", "--as-first-written")]
        self.assertEqual(modes, 2 * each)  # a round, and a start for one step
        self.assertEqual(calls[2][2:4], ["--threads", "2"])

    def test_the_curves_of_the_recipe_are_named_after_their_runs(self):
        curves = SOURCE / "benchmarks" / "digits_curves"
        runs = [self.directory / name / "metrics.jsonl" for name in ("one", "two")]
        for path, accuracy in zip(runs, (0.5, 0.25)):
            path.parent.mkdir()
            path.write_text("".join(json.dumps(record) + "\n" for record in (
                {"kind": "validation", "accuracy": 0.125}, {"kind": "validation", "accuracy": accuracy},
                {"kind": "skip", "step": 3}, {"kind": "test", "accuracy": accuracy})))
        result = self.expect(run(curves, *runs), 0)
        self.assertIn("best validation 50.000 % in epoch 2, test 50.00 %", result.stdout)
        self.assertIn("two ", result.stdout)
        self.assertIn("mean 37.500 %, 25.00 to 50.00 %", result.stdout)
        runs[1].write_text(json.dumps({"kind": "validation", "accuracy": 1}) + "\n")
        refused = run(curves, *runs)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"{runs[1]}: no record of kind test", refused.stderr)

    def test_wrong_options_are_refused_before_anything_is_built(self):
        for options in (["--rounds", 0], ["--ranks", 0], ["--threads", -1], ["--steps", 59], ["--peers", "horovod"],
                        ["--json", "/nonexistent/x"], ["--json", self.directory], ["--picture", "x.foo"]):
            refused = subprocess.run([str(SOURCE / "launch" / "bench-peers"), *map(str, options)],
                                     capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertRegex(refused.stderr, f"error: (argument )?{options[0]}")

    def test_wrong_options_of_the_others(self):
        benchmarks = SOURCE / "benchmarks"
        for tool, options, code in (
                ("time_to_accuracy", ["--ranks", 0], 2), ("time_to_accuracy", ["--accuracy", 99], 2),
                ("time_to_accuracy", ["--json", "/nonexistent/x"], 2), ("large_worlds/measure", ["--ranks", "2,0"], 2),
                ("large_worlds/measure", ["--json", self.directory], 2), ("digits_curves", ["/nonexistent"], 1),
                ("digits_curves", [SOURCE / "README.md"], 1)):
            with self.subTest(tool, options=options):
                refused = run(benchmarks / tool, *options)
                self.assertEqual(refused.returncode, code, refused.stderr)
                self.assertNotIn("Traceback", refused.stderr)

    def test_time_to_accuracy(self):
        config = self.directory / "short.ini"
        config.write_text("model = mlp\nvalidation-fraction = 0\nschedule = constant\nepochs = 1\nbatch-size = 600\n")
        figures = self.directory / "figures.json"
        result = self.expect(run(SOURCE / "benchmarks" / "time_to_accuracy", "--seeds", 2, "--config", config,
                                 "--accuracy", "0.5", "--lockstep", PROGRAM, "--json", figures), 0)
        found = json.loads(figures.read_text())
        runs = found["results"]["lockstep, short.ini"]
        self.assertRegex(found["versions"]["lockstep, short.ini"], "^lockstep .*LibTorch")
        self.assertEqual((found["ranks"], found["threads"], found["accuracy"]), (2, 1, 0.5))
        self.assertEqual([run["seed"] for run in runs], [1, 2])
        mean = sum(run["accuracy"] for run in runs) / 2
        self.assertIn(f"{100 * mean:.3f} %", result.stdout)
        self.assertIn("2 of 2", result.stdout)


if __name__ == "__main__":
    main()
