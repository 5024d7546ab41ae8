"""lockstep prove: what is equal is said to be equal, and what is not is named."""

import json
import os
import signal
import subprocess
from pathlib import Path

from harness import (MPIRUN, PROGRAM, SCRATCH, TEST_PROGRAM, ProgramTest, checkpoints, main, processes_with, run,
                     wait_for, write_small_mnist)


def prove(*arguments, program=PROGRAM, timeout=240, environment=None):
    """Without mpirun, which the program is to start itself."""
    return subprocess.run([str(program), "prove", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout, env={**os.environ, **(environment or {})})


class ProveTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.settings = ["--data", write_small_mnist(self.directory / "data"), "--model", "mlp",
                         "--batch-size", 200, "--threads", 1, "--steps", 8]

    def expect_proof(self, result, holds):
        """The JSON of a proof that came to its end."""
        self.expect(result, 0 if holds else 76)
        proof = json.loads(result.stdout)
        self.assertEqual(proof["proved"], holds)
        self.assertEqual(list(Path(SCRATCH).glob("lockstep-prove-*")), [])
        if holds:
            self.assertEqual(proof["differences"], [])
            for sha256 in (r["sha256"] for r in proof["runs"]):
                self.assertEqual(sha256, proof["runs"][0]["sha256"])
                self.assertIn("model.safetensors", sha256)
                self.assertIn("optimizer.safetensors", sha256)
        return proof

    def test_resume(self):
        proof = self.expect_proof(prove("resume", *self.settings, "--ema-decay", "0.9", "--json"),
                                  True)
        self.assertEqual([r["ranks"] for r in proof["runs"]], [[2], [2, 2]])
        self.assertEqual((proof["steps"], proof["epoch_steps"], proof["stopped_at"]), (8, 4, 6))
        # Every step, the record of each, and two epochs with validation and decision.
        self.assertEqual(proof["equal"], {"checkpoints": 8, "metrics": 12, "decisions": 2})
        self.assertIn("ema.safetensors", proof["runs"][0]["sha256"])

    def test_resume_in_a_job_and_at_another_number_of_ranks(self):
        result = run(4, "prove", "resume", *self.settings, "--ranks", "4,1", "--virtual-ranks", 4,
                     "--stop-at", 2, "--json")
        proof = self.expect_proof(result, True)
        self.assertEqual([r["ranks"] for r in proof["runs"]], [[4], [4, 1]])
        table = self.expect(run(2, "prove", "resume", *self.settings), 0).stdout
        self.assertIn("equal in every bit", table)

    def test_ranks(self):
        arguments = ["ranks", *self.settings, "--ranks", "1,2,4", "--virtual-ranks", 4, "--accumulate", 3,
                     "--clip-norm", 1, "--reduce-dtype", "bfloat16", "--json"]
        proofs = [self.expect_proof(result, True)
                  for result in (prove(*arguments), run(4, "prove", *arguments))]
        for proof in proofs:
            self.assertEqual([r["ranks"] for r in proof["runs"]], [[1], [2], [4]])
        self.assertEqual(*(proof["runs"][0]["sha256"] for proof in proofs))

    def test_ranks_without_virtual_ranks_differ(self):
        result = prove("ranks", *self.settings, "--json")
        difference = self.expect_proof(result, False)["differences"][0]
        self.assertEqual((difference["step"], difference["file"]), (1, "model.safetensors"))
        self.assertRegex(difference["place"], r"^dense\d\.(weight|bias) \[\d+(,\d+)?\]$")
        for side in ("first", "second"):
            self.assertRegex(difference[side], r"^-?0x1\.[0-9a-f]+p[+-]\d+$")
        self.assertNotEqual(float.fromhex(difference["first"]),
                            float.fromhex(difference["second"]))
        self.assertGreaterEqual(difference["differing_elements"], 1)
        self.assertIn("--virtual-ranks 2", difference["likely_reasons"][0])
        table = self.expect(prove("ranks", *self.settings), 76).stdout
        self.assertIn("B differs from A, first after step 1", table)
        self.assertIn(difference["place"], table)

    def test_a_flipped_bit_is_found(self):
        fault = "flip@weights:rank=0,step=5,tensor=dense2.weight,element=300,bit=12"
        result = prove("resume", *self.settings, "--ranks", 1, "--inject-fault", fault, "--json")
        difference = self.expect_proof(result, False)["differences"][0]
        self.assertEqual((difference["run"], difference["step"]), ("B", 5))
        self.assertEqual((difference["file"], difference["place"]),
                         ("model.safetensors", "dense2.weight [1,44]"))
        self.assertEqual(difference["differing_elements"], 1)
        self.assertEqual(difference["differing_tensors"], 1)
        self.assertIn(fault, difference["likely_reasons"][0])

    def test_a_flipped_bit_at_other_ranks_is_found(self):
        """One replica of B's two: they differ, and B goes no further."""
        fault = "flip@weights:rank=0,step=5,tensor=dense2.weight,element=300,bit=12"
        arguments = ["ranks", *self.settings, "--virtual-ranks", 2, "--inject-fault", fault]
        proof = self.expect_proof(prove(*arguments, "--json"), False)
        self.assertEqual([r["ranks"] for r in proof["runs"]], [[1], [2]])
        self.assertRegex(proof["runs"][1]["failure"],
                         r"^step 5: the weights of rank 1 .*; dense2\.weight\[300\] is -?0x1\.")
        difference = proof["differences"][0]
        self.assertEqual((difference["run"], difference["step"]), ("B", 5))
        self.assertEqual((difference["place"], difference["first"], difference["second"]),
                         ("the checkpoint", "there", "absent"))
        self.assertIn(fault, difference["likely_reasons"][0])
        table = self.expect(prove(*arguments), 76).stdout
        self.assertRegex(" ".join(table.split()), r"B ended after step 4: step 5: .*dense2\.weight\[300\]")
        self.assertIn("a fault was injected into B on purpose", table)

    def test_the_environment_of_another_job_is_left_out(self):
        """Within a batch job mpirun would ask a Slurm for its ranks; what the user says of Open MPI is
        kept, here that there is no way between ranks."""
        environment = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "nowhere"}
        settings = [*self.settings, "--ranks", 2, "--json"]
        proof = self.expect_proof(prove("resume", *settings, environment=environment), True)
        self.assertEqual([r["ranks"] for r in proof["runs"]], [[2], [2, 2]])
        self.expect(prove("resume", *settings, environment={"OMPI_MCA_btl": "none"}), 69)

    def test_a_run_that_diverges(self):
        fault = "nan@gradient:rank=0,step=5,tensor=dense1.bias"
        table = self.expect(prove("resume", *self.settings, "--ranks", 2, "--inject-fault", fault),
                            76).stdout
        self.assertRegex(table, "B ended after step 4: .*finite")

    def test_state_outside_the_checkpoint_is_found(self):
        settings = [*self.settings, "--model", "forgetful"]
        del settings[2:4]
        result = prove("resume", *settings, "--optimizer", "sgd", "--stop-at", 3, "--json",
                       program=TEST_PROGRAM)
        proof = self.expect_proof(result, False)
        self.assertEqual({d["step"] for d in proof["differences"]}, {4})
        difference = proof["differences"][0]
        self.assertEqual(difference["file"], "model.safetensors")
        self.assertRegex(difference["place"], r"^dense\.weight \[")
        self.assertIn("all was equal up to step 3", difference["likely_reasons"][0])

    def test_the_users_own_run_is_left_alone(self):
        out = self.directory / "out"
        self.expect(run(1, "train", "--out", out, *self.settings[:-2], "--max-steps", 3), 75)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        config = out / "config.ini"
        config.write_text(config.read_text().replace("resume = none", "resume = auto"))
        before[config] = config.read_bytes()
        kept = self.directory / "kept"
        self.expect(prove("resume", "--config", config, "--steps", 4, "--keep", kept), 0)
        self.assertEqual(before, {p: p.read_bytes() for p in out.rglob("*") if p.is_file()})
        self.assertEqual(len(checkpoints(kept / "A")), 4)
        self.assertEqual(checkpoints(kept / "A"), checkpoints(kept / "B"))
        self.expect(prove("resume", "--config", config, "--steps", 4, "--keep", out), 73)

    def test_every_step_has_a_checkpoint_whatever_the_users_file_says(self):
        config = self.directory / "run.ini"
        config.write_text("checkpoint-every-steps = 3\nresume = auto\nout = runs/mine\n"
                          f"ledger-dir = {self.directory / 'ledgers'}\n")
        proof = self.expect_proof(prove("resume", "--config", config, *self.settings, "--json"), True)
        self.assertEqual(proof["equal"]["checkpoints"], 8)
        self.assertFalse((self.directory / "ledgers").exists())
        result = self.expect(prove("resume", *self.settings, "--checkpoint-every-steps", 3), 64)
        self.assertIn("--checkpoint-every-steps: is not used by this command", result.stderr)

    def test_a_batch_a_rank(self):
        settings = [*self.settings, "--batch-size-per-rank", 600, "--epochs", 2]
        del settings[4:6]  # --batch-size
        proof = self.expect_proof(prove("resume", *settings, "--json"), True)
        # 2700 images in batches of 1200 are three steps an epoch.
        self.assertEqual((proof["steps"], proof["epoch_steps"]), (6, 3))
        self.assertEqual([r["steps"] for r in proof["runs"]], [6, 6])

    def test_a_run_that_ends_before_its_time_proves_nothing(self):
        # With such a rate no epoch is better than the one before.
        result = self.expect(prove("resume", *self.settings[:-1], 40, "--epochs", 20,
                                   "--early-stopping", 1, "--optimizer", "sgd", "--schedule",
                                   "constant", "--learning-rate", "1e-30"), 64)
        self.assertIn("--early-stopping 1 ended it", result.stderr)
        self.assertEqual(list(Path(SCRATCH).glob("lockstep-prove-*")), [])

    def test_too_little_to_stop_in(self):
        settings = [*self.settings, "--epochs", 1]
        settings[settings.index(200)] = 5000
        result = self.expect(prove("resume", *settings), 64)
        self.assertIn("1 step in all", result.stderr)
        self.assertNotIn("--stop-at", result.stderr)

    def test_what_to_prove_may_stand_behind_options(self):
        self.expect(prove(*self.settings, "resume"), 0)

    def test_wrong_use(self):
        for arguments, expect in (([], "resume or ranks"), (["resmue"], "resume or ranks"),
                                  (["resume", "--stop-at", 8], "--stop-at"),
                                  (["resume", "--ranks", "1,2,4"], "--ranks"),
                                  (["ranks", "--ranks", "2"], "--ranks"),
                                  (["ranks", "--ranks", "1,,2"], "--ranks"),
                                  (["ranks", "--stop-at", 2], "--stop-at"),
                                  (["resmue"], "did you mean resume?"),
                                  (["resume", "--ledger-dir", "x"], "--ledger-dir"),
                                  (["resume", "--resume", "auto"], "--resume"),
                                  (["resume", "--steps", 1], "--steps")):
            with self.subTest(arguments):
                result = self.expect(prove(*arguments, *([] if "--steps" in arguments else
                                                         self.settings)), 64)
                self.assertIn(expect, result.stderr)
        result = self.expect(run(2, "prove", "ranks", *self.settings, "--ranks", "1,4"), 64)
        self.assertEqual(result.stderr.count("error: "), 1, result.stderr)
        result = self.expect(run(1, "prove", "ranks", *self.settings), 64)
        self.assertIn("this job has one rank", result.stderr)
        empty = self.directory / "empty"
        empty.touch()
        result = self.expect(prove("resume", *self.settings, "--keep", empty), 73)
        self.assertIn("is not a directory", result.stderr)
        result = subprocess.run([str(PROGRAM), "prove", "resume", *map(str, self.settings)],
                                capture_output=True, text=True, timeout=60,
                                env={**os.environ, "TMPDIR": "/nonexistent"})
        self.expect(result, 73)

    def test_more_checkpoints_than_there_is_space_for(self):
        result = self.expect(prove("resume", *self.settings[:-1], 1_000_000, "--epochs", 100_000), 74)
        self.assertRegex(result.stderr, r" free, but 2 runs of 1000000 steps, .* take [\d.]+ [TP]i?B: set fewer --steps")
        self.assertEqual(list(Path(SCRATCH).glob("lockstep-prove-*")), [])

    def test_an_interrupted_proof_leaves_nothing(self):
        kept = self.directory / "kept"
        for number in (signal.SIGTERM, signal.SIGKILL):
            job = subprocess.Popen([str(PROGRAM), "prove", "resume", *map(str, self.settings[:-1]),
                                    "500", "--epochs", "500", "--keep", str(kept)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            wait_for(lambda: list(kept.glob("A/checkpoints/step-*")), "a checkpoint", 120)
            self.assertGreaterEqual(len(processes_with(str(kept), "cmdline")), 4)  # it, mpirun, two ranks
            job.send_signal(number)
            _, errors = job.communicate(timeout=120)
            self.assertEqual(job.returncode, 69 if number == signal.SIGTERM else -9, errors)
            wait_for(lambda: not processes_with(str(kept), "cmdline"), "the end of its processes")
            kept = self.directory / "kept-too"

    def test_a_stopped_proof_leaves_no_scratch(self):
        long = ["prove", "resume", *map(str, self.settings[:-1]), "500", "--epochs", "500"]
        scratch = lambda: list(Path(SCRATCH).glob("lockstep-prove-*"))
        for line, number in (([str(PROGRAM), *long], signal.SIGUSR1),
                             ([str(PROGRAM), *long], signal.SIGKILL),
                             ([str(MPIRUN), "-n", "2", str(PROGRAM), *long], signal.SIGINT)):
            with self.subTest(line[0], signal=number):
                job = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                       text=True)
                wait_for(lambda: job.poll() is not None or
                         list(Path(SCRATCH).glob("lockstep-prove-*/A/checkpoints/step-*")),
                         "a checkpoint", 120)
                self.assertIsNone(job.poll(), job.stderr.read() if job.poll() is not None else "")
                job.send_signal(number)
                _, errors = job.communicate(timeout=120)
                self.assertNotEqual(job.returncode, 0, errors)
                wait_for(lambda: not scratch(), "the end of its scratch")


if __name__ == "__main__":
    main()
