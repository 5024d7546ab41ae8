"""--convolution: a run with lockstep's own convolutions is as exact as one with LibTorch's."""

import json

from harness import ProgramTest, main, records, run, train, weights, write_small_mnist


class ConvolutionTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.settings = ["--data", write_small_mnist(self.directory / "data", training=500, test=100),
                         "--model", "digits-cnn", "--batch-size", 45, "--epochs", 1]

    def trained(self, name, ranks, *settings):
        out = self.directory / name
        self.expect(train(ranks, out, *self.settings, *settings), 0)
        return out

    def require_kernels(self, out):
        launch = json.loads((out / "launch.json").read_text())
        if "convolutions=fast" not in launch["numerics"]:
            self.skipTest("this CPU has no fast convolutions")

    def evaluated(self, out, *options):
        result = self.expect(run(1, "evaluate", "--checkpoint", out, "--threads", 1, "--json", *options), 0)
        return json.loads(result.stdout)

    def test_weights_do_not_depend_on_the_number_of_ranks(self):
        outs = [self.trained(f"at-{ranks}", ranks, "--convolution", "auto", "--virtual-ranks", 4)
                for ranks in (1, 2, 4)]
        self.require_kernels(outs[0])
        self.assertEqual(weights(outs[0]), weights(outs[1]))
        self.assertEqual(weights(outs[0]), weights(outs[2]))

    def test_resume_is_exact(self):
        whole, parts = self.trained("whole", 2), self.directory / "parts"
        self.require_kernels(whole)
        self.expect(train(2, parts, *self.settings, "--max-steps", 4), 75)
        self.expect(train(2, parts, *self.settings, "--resume", "auto"), 0)
        self.assertEqual(weights(whole), weights(parts))
        self.assertEqual(records(whole / "metrics.jsonl"), records(parts / "metrics.jsonl"))

    def test_what_a_run_was_trained_with_is_kept(self):
        runs = {choice: self.trained(choice, 1, "--convolution", choice) for choice in ("auto", "direct")}
        self.require_kernels(runs["auto"])
        self.assertNotEqual(weights(runs["auto"]), weights(runs["direct"]))
        for out in runs.values():
            test = next(r for r in records(out / "metrics.jsonl") if r["kind"] == "test")
            self.assertEqual(self.evaluated(out)["loss"], test["loss"])
        # Where it is asked for, the other one reads the same weights, and rounds differently.
        fast, direct = self.evaluated(runs["auto"]), self.evaluated(runs["auto"], "--convolution", "direct")
        self.assertNotEqual(fast["loss"], direct["loss"])
        self.assertAlmostEqual(fast["loss"], direct["loss"], places=4)
        refused = train(1, runs["auto"], *self.settings, "--convolution", "direct", "--resume", "auto")
        self.expect(refused, 78)
        self.assertIn("convolution: the checkpoint has 'auto', this start 'direct'", refused.stderr)

    def test_networks_without_such_convolutions_have_no_such_setting(self):
        out = self.directory / "out"
        settings = [*self.settings[:2], "--model", "mlp", "--batch-size", 45, "--epochs", 2]
        self.expect(train(1, out, *settings, "--max-steps", 3), 75)
        self.assertNotIn("convolution", (out / "config.ini").read_text())
        self.assertNotIn("convolutions", json.loads((out / "launch.json").read_text())["numerics"])
        self.expect(train(1, out, *settings, "--max-steps", 6, "--convolution", "direct", "--resume", "auto"), 75)
        for command in (["evaluate"], ["predict", self.directory / "data"]):
            refused = run(1, *command, "--checkpoint", out, "--convolution", "fast")
            self.expect(refused, 64)
            self.assertIn("--convolution fast: the network mlp has none", refused.stderr)

    def test_libtorchs_limit_of_instructions_is_ours(self):
        """What a CPU without AVX2 does, and one without AVX-512."""
        out, environment = self.directory / "none", {"ATEN_CPU_CAPABILITY": "default"}
        refused = train(1, out, *self.settings, "--convolution", "fast", environment=environment)
        self.expect(refused, 64)
        self.assertIn("ATEN_CPU_CAPABILITY", refused.stderr)
        self.expect(train(1, out, *self.settings, "--max-steps", 1, environment=environment), 75)
        self.assertNotIn("convolutions=fast", json.loads((out / "launch.json").read_text())["numerics"])
        whole = self.trained("whole", 1)
        self.require_kernels(whole)
        narrow = self.directory / "narrow"
        self.expect(train(1, narrow, *self.settings, environment={"ATEN_CPU_CAPABILITY": "avx2"}), 0)
        numerics = json.loads((narrow / "launch.json").read_text())["numerics"]
        self.assertIn("cpu AVX2 ", numerics)
        self.assertIn("convolutions=fast", numerics)

    def test_fast_is_refused_where_there_is_none(self):
        refused = train(1, self.directory / "out", "--model", "mlp", "--convolution", "fast")
        self.expect(refused, 64)
        self.assertIn("--convolution fast: the network mlp has none", refused.stderr)
        self.assertFalse((self.directory / "out").exists())


if __name__ == "__main__":
    main()
