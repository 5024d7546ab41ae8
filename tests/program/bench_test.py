"""lockstep bench scaling: its table, its JSON, and what it says when a job of it fails."""

import json
import os
import subprocess
from pathlib import Path

from harness import PROGRAM, SCRATCH, ProgramTest, main, run, write_small_mnist

PHASES = {"data", "forward", "backward", "communication", "optimizer", "other"}


class BenchTest(ProgramTest):
    def bench(self, *arguments, code=0, **options):
        words = [str(PROGRAM), "bench", *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, **options}
        result = subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=240, check=False, **options)
        self.assertEqual(list(Path(SCRATCH).glob("lockstep-bench-*")), [])
        return self.expect(result, code)

    def scaling(self, *arguments, **options):
        data = write_small_mnist(self.directory / "data")
        return self.bench("scaling", "--data", data, "--model", "mlp", "--threads", 1, "--steps", 4, *arguments, **options)

    def test_json(self):
        report = json.loads(self.scaling("--ranks", "2,1", "--rounds", 3, "--batch-size", 60, "--json").stdout)
        rows = report["results"]
        self.assertEqual([(row["scaling"], row["ranks"], row["global_batch"]) for row in rows],
                         [("strong", 1, 60), ("strong", 2, 60), ("weak", 1, 60), ("weak", 2, 120)])
        for row in rows:
            rounds = row["samples_per_second_by_round"]
            self.assertEqual(len(rounds), 3)
            self.assertGreater(min(rounds), 0)
            self.assertEqual(row["samples_per_second"], sorted(rounds)[1])
            self.assertEqual(set(row["seconds"]), PHASES)
            self.assertGreater(row["seconds"]["backward"], 0)

    def test_table_with_virtual_ranks(self):
        lines = self.scaling("--ranks", "1,2", "--rounds", 1, "--virtual-ranks", 4).stdout.splitlines()
        rows = [line.split() for line in lines if line.startswith(("strong", "weak"))]
        self.assertEqual([row[:2] for row in rows],
                         [["strong", "1"], ["strong", "2"], ["weak", "1"], ["weak", "2"]])
        for row in rows:
            shares = [float(word) for word in row[7::2]]
            self.assertEqual(len(shares), len(PHASES))
            self.assertAlmostEqual(sum(shares), 100, delta=0.5)

    def test_the_failure_of_a_job_is_its_own(self):
        missing = self.directory / "missing"
        self.assertIn(str(missing), self.bench("scaling", "--ranks", 1, "--data", missing, code=66).stderr)
        damaged = write_small_mnist(self.directory / "damaged")
        os.truncate(damaged / "train-images-idx3-ubyte", 1000)
        self.assertIn("train-images-idx3-ubyte",
                      self.bench("scaling", "--ranks", 2, "--data", damaged, code=65).stderr)

    def test_wrong_use(self):
        for arguments, expect in (([], "scaling"), (["scalign"], "did you mean scaling?"),
                                  (["scaling", "--ranks", "0"], "--ranks"), (["scaling", "--rounds", "0"], "--rounds"),
                                  (["scaling", "--steps", "1"], "--steps"), (["scaling", "--out", "x"], "--out"),
                                  (["scaling", "--batchsize", "1"], "did you mean --batch-size?")):
            with self.subTest(arguments):
                self.assertIn(expect, self.bench(*arguments, code=64).stderr)
        self.assertIn("without mpirun", self.expect(run(1, "bench", "scaling"), 64).stderr)

    def test_output_that_nobody_can_read(self):
        with open("/dev/full", "w") as full:
            self.scaling("--ranks", 1, "--rounds", 1, code=74, stdout=full)


if __name__ == "__main__":
    main()
