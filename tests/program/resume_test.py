"""Resume is exact: stopped anywhere and resumed, a run ends in the bits of the run never stopped."""

import json
import shutil
import signal
import subprocess

from harness import (SOURCE, TEST_PROGRAM, ProgramTest, checkpoints, command, main, records, train, wait_for,
                     weights, write_small_mnist)


class ResumeTest(ProgramTest):
    def setUp(self):
        super().setUp()
        # 12 steps an epoch: stops fall into every part of a run, in seconds.
        self.settings = ["--data", write_small_mnist(self.directory / "data"), "--model", "mlp",
                         "--batch-size", 225, "--log-every-steps", 5]

    def expect_same(self, whole, parts):
        self.assertEqual(weights(whole), weights(parts))
        self.assertEqual((whole / "checkpoints/BEST").read_text(),
                         (parts / "checkpoints/BEST").read_text())
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(records(whole / name), records(parts / name))

    def stop_and_resume(self, ranks, settings, stops):
        whole, parts = self.directory / "whole", self.directory / "parts"
        settings = [*self.settings, "--epochs", 3, *settings]
        self.expect(train(ranks, whole, *settings), 0)
        resume = []
        for stop in stops:
            self.expect(train(ranks, parts, *settings, "--max-steps", stop, *resume), 75)
            resume = ["--resume", "auto"]
        self.expect(train(ranks, parts, *settings, *resume), 0)
        self.expect_same(whole, parts)

    def test_in_mid_epoch_at_one_rank(self):
        self.stop_and_resume(1, [], [7])

    def test_at_an_epochs_end_and_in_mid_epoch_with_average(self):
        self.stop_and_resume(2, ["--ema-decay", "0.9", "--reduce-dtype", "bfloat16"], [12, 17, 18])

    def test_adamw_with_warm_up_and_batches_in_pieces(self):
        self.stop_and_resume(2, ["--optimizer", "adamw", "--warmup-steps", 20, "--accumulate", 3], [5, 23])

    def test_one_cycle_with_clipping(self):
        self.stop_and_resume(1, ["--schedule", "one-cycle", "--optimizer", "sgd", "--momentum", "0.9",
                                 "--clip-norm", "0.5"], [13])
        norms = [r["gradient_norm"] for r in records(self.directory / "parts" / "metrics.jsonl") if r["kind"] == "step"]
        self.assertEqual(len(norms), 7)
        self.assertGreater(max(norms), 0.5, "nothing was clipped")

    def test_a_member_of_the_ensemble(self):
        """Batch normalisation's statistics, averaged weights, one-cycle and virtual ranks together."""
        self.settings = [*self.settings[:2], "--config", SOURCE / "configs" / "best.ini", "--batch-size", 225]
        self.stop_and_resume(2, [], [17])

    def test_sent_gradients_go_on_in_shared_memory(self):
        """Four ranks, whose sums have an order: the bits do not tell how gradients were added up."""
        whole, parts = self.directory / "whole", self.directory / "parts"
        settings = [*self.settings, "--epochs", 2]
        self.expect(train(4, whole, *settings), 0)
        self.expect(train(4, parts, *settings, "--max-steps", 7, "--shared-memory", "no"), 75)
        self.expect(train(4, parts, *settings, "--resume", "auto"), 0)
        self.expect_same(whole, parts)
        shared = [json.loads((out / name).read_text())["shared_memory"]
                  for out, name in ((whole, "launch.json"), (parts, "launch-1.json"), (parts, "launch.json"))]
        self.assertEqual(shared, [True, False, True])

    def test_plateau_in_the_middle_of_its_patience(self):
        self.stop_and_resume(1, ["--min-delta", "0.9", "--patience", 2], [12, 24])

    def test_another_number_of_epochs(self):
        """Finished after one epoch, then continued to three."""
        whole, parts = self.directory / "whole", self.directory / "parts"
        self.expect(train(2, whole, *self.settings, "--epochs", 3), 0)
        self.expect(train(2, parts, *self.settings, "--epochs", 1), 0)
        self.expect(train(2, parts, *self.settings, "--epochs", 3, "--resume", "auto"), 0)
        self.expect_same(whole, parts)

    def test_resume_from_a_named_checkpoint_in_a_new_directory(self):
        whole, copy = self.directory / "whole", self.directory / "copy"
        self.expect(train(1, whole, *self.settings, "--epochs", 3), 0)
        checkpoint = whole / "checkpoints" / checkpoints(whole)[0]
        moved = self.directory / "renamed"
        checkpoint.rename(moved)
        self.expect(train(1, copy, *self.settings, "--epochs", 3, "--resume", moved), 0)
        self.assertEqual(weights(whole), weights(copy))

    def test_a_finished_run_is_left_as_it_is(self):
        out = self.directory / "out"
        self.expect(train(1, out, *self.settings, "--epochs", 3), 0)
        before = weights(out), records(out / "metrics.jsonl")
        self.expect(train(1, out, *self.settings, "--epochs", 3, "--resume", "auto"), 0)
        self.assertEqual(before, (weights(out), records(out / "metrics.jsonl")))

    def test_from_a_checkpoint_of_another_directory(self):
        """The best epoch may lie before the stop: it comes along."""
        whole, first, moved = (self.directory / name for name in ("whole", "first", "moved"))
        # A rate this high makes the first epoch the best one.
        settings = [*self.settings, "--epochs", 3, "--learning-rate", "0.5"]
        self.expect(train(1, whole, *settings), 0)
        self.expect(train(1, first, *settings, "--max-steps", 29), 75)
        checkpoint = first / "checkpoints" / "step-00000029"
        for name in (checkpoint, f"{checkpoint}/", f"{checkpoint}/."):
            self.expect(train(1, moved, *settings, "--resume", name), 0)
            self.assertEqual(weights(whole), weights(moved))
            self.assertEqual((whole / "checkpoints/BEST").read_text(),
                             (moved / "checkpoints/BEST").read_text())
            self.assertEqual(*([r for r in records(out / "metrics.jsonl") if r["kind"] == "test"]
                               for out in (whole, moved)))
            shutil.rmtree(moved)

    def test_of_another_run_into_this_one_is_refused(self):
        one, two = self.directory / "one", self.directory / "two"
        for seed, out in ((1, one), (2, two)):
            self.expect(train(1, out, *self.settings, "--epochs", 1, "--seed", seed), 0)
        before = {p: p.read_bytes() for p in one.rglob("*") if p.is_file()}
        foreign = two / "checkpoints" / checkpoints(two)[-1]
        self.expect(train(1, one, *self.settings, "--epochs", 2, "--seed", 2, "--resume", foreign), 73)
        self.assertEqual(before, {p: p.read_bytes() for p in one.rglob("*") if p.is_file()})

    def test_going_back_sets_the_later_checkpoints_aside(self):
        whole, out = self.directory / "whole", self.directory / "out"
        settings = [*self.settings, "--epochs", 3, "--keep-checkpoints", 9]
        self.expect(train(1, whole, *settings), 0)
        self.expect(train(1, out, *settings), 0)
        back = f"{out}/checkpoints/step-00000012/"
        self.expect(train(1, out, *settings, "--resume", back, "--max-steps", 20), 75)
        self.assertEqual(checkpoints(out), ["step-00000012", "step-00000020"])
        self.expect(train(1, out, *settings, "--resume", "auto"), 0)
        self.expect_same(whole, out)

    def test_from_one_that_was_set_aside(self):
        """It is found again after a stop, under the name of its step."""
        whole, out = self.directory / "whole", self.directory / "out"
        settings = [*self.settings, "--epochs", 3, "--keep-checkpoints", 9]
        self.expect(train(1, whole, *settings), 0)
        self.expect(train(1, out, *settings, "--max-steps", 20), 75)
        store = out / "checkpoints"
        for name in ("step-00000020.superseded", "step-00000900"):
            (store / "step-00000020").rename(store / name)
            self.expect(train(1, out, *settings, "--resume", store / name, "--max-steps", 20), 75)
            self.assertEqual(checkpoints(out), ["step-00000012", "step-00000020"])
        self.expect(train(1, out, *settings, "--resume", "auto"), 0)
        self.expect_same(whole, out)

    def test_from_one_that_was_set_aside_for_another_of_its_step(self):
        """The other one's course does not go on below the one that was named."""
        whole, out = self.directory / "whole", self.directory / "out"
        settings = [*self.settings, "--epochs", 3, "--keep-checkpoints", 9, "--checkpoint-every-steps", 10]
        store = out / "checkpoints"
        self.expect(train(2, whole, *settings), 0)
        self.expect(train(2, out, *settings, "--max-steps", 20), 75)
        first = weights(out)
        self.expect(train(1, out, *settings, "--resume", store / "step-00000010", "--max-steps", 20), 75)
        self.assertNotEqual(weights(out), first)
        self.expect(train(2, out, *settings, "--resume", store / "step-00000020.superseded", "--max-steps", 20), 75)
        self.assertEqual(weights(out), first)
        self.expect(train(2, out, *settings, "--resume", "auto"), 0)
        # The records of steps 11 to 20 are the other one's.
        self.assertEqual(weights(whole), weights(out))

    def test_a_best_checkpoint_that_cannot_be_taken_along(self):
        first, moved = self.directory / "first", self.directory / "moved"
        # A rate this high makes the first epoch the best one.
        settings = [*self.settings, "--epochs", 3, "--learning-rate", "0.5"]
        self.expect(train(1, first, *settings, "--max-steps", 29), 75)
        best = first / "checkpoints" / (first / "checkpoints/BEST").read_text().strip()
        self.assertNotEqual(best.name, "step-00000029")
        model = bytearray((best / "model.safetensors").read_bytes())
        model[-1] ^= 1
        (best / "model.safetensors").write_bytes(model)
        checkpoint = first / "checkpoints" / "step-00000029"
        result = self.expect(
            train(1, moved, *settings, "--max-steps", 30, "--resume", checkpoint), 75)
        self.assertRegex(result.stderr, "best checkpoint so far, of step .*, cannot be taken along")
        self.assertIn("step-00000029", checkpoints(moved))

    def test_killed_before_its_first_checkpoint(self):
        whole, out = self.directory / "whole", self.directory / "out"
        settings = [*self.settings, "--epochs", 2]
        self.expect(train(1, whole, *settings), 0)
        job = subprocess.Popen(command(1, "train", "--out", out, "--threads", 1, *settings,
                                       "--inject-fault", "hang@forward:rank=0,step=7"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = out / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and records(metrics), "the record of step 5")
        job.kill()
        job.wait()
        self.assertEqual(checkpoints(out), [])
        while True:  # until the killed mpirun's rank has gone too
            result = train(1, out, *settings, "--resume", "auto")
            if result.returncode != 73 or "in use" not in result.stderr:
                break
        self.expect(result, 0)
        self.expect_same(whole, out)

    def test_a_lost_or_damaged_best_checkpoint_does_not_lose_the_run(self):
        out = self.directory / "out"
        # A rate this high makes the first epoch the best one.
        settings = [*self.settings, "--epochs", 3, "--learning-rate", "0.5"]
        self.expect(train(1, out, *settings), 0)
        test = [r for r in records(out / "metrics.jsonl") if r["kind"] == "test"]
        (out / "checkpoints/BEST").unlink()
        self.expect(train(1, out, *settings, "--resume", "auto"), 0)
        self.assertEqual(test, [r for r in records(out / "metrics.jsonl") if r["kind"] == "test"])
        best = out / "checkpoints" / (out / "checkpoints/BEST").read_text().strip()
        self.assertNotEqual(best.name, checkpoints(out)[-1])
        model = bytearray((best / "model.safetensors").read_bytes())
        model[-1] ^= 1
        (best / "model.safetensors").write_bytes(model)
        result = self.expect(train(1, out, *settings, "--resume", "auto"), 0)
        self.assertIn("last weights", result.stderr)

    def test_a_refused_resume_changes_nothing(self):
        out = self.directory / "out"
        settings = [*self.settings[2:], "--epochs", 2]
        self.expect(train(1, out, "--data", self.settings[1], *settings, "--max-steps", 5), 75)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        other = write_small_mnist(self.directory / "other", training=2999)
        self.expect(train(1, out, "--data", other, *settings, "--resume", "auto"), 78)
        new = self.directory / "new"
        checkpoint = out / "checkpoints" / "step-00000005"
        self.expect(train(1, new, "--data", other, *settings, "--resume", checkpoint), 78)
        self.assertEqual(before, {p: p.read_bytes() for p in out.rglob("*") if p.is_file()})
        self.assertFalse(new.exists())

    def test_early_stopping(self):
        self.stop_and_resume(1, ["--early-stopping", 1, "--learning-rate", "0.5"], [14])

    def test_at_another_world_size(self):
        """The global batch stays what it was and every sample is still seen once an epoch."""
        out, seen = self.directory / "out", self.directory / "seen"
        seen.mkdir()
        # 2,700 samples: the last batch of an epoch has 100 of them.
        settings = [*self.settings, "--model", "witness", "--batch-size", 200, "--epochs", 2]
        del settings[2:6]
        options = {"program": TEST_PROGRAM, "environment": {"LOCKSTEP_TEST_WITNESS": str(seen)}}
        self.expect(train(4, out, *settings, "--max-steps", 7, **options), 75)
        self.expect(train(1, out, *settings, "--max-steps", 10, "--resume", "auto", **options), 75)
        result = self.expect(train(2, out, *settings, "--resume", "auto", **options), 0)
        self.assertIn("resumed after epoch 0, step 10", result.stderr)
        epochs, steps = {}, {}
        for file in seen.iterdir():
            for line in file.read_text().splitlines():
                epoch, step, *samples = map(int, line.split())
                epochs.setdefault(epoch, []).extend(samples)
                steps[step] = steps.get(step, 0) + len(samples)
        self.assertEqual(steps, {step: 100 if step in (13, 27) else 200 for step in range(28)})
        self.assertEqual(sorted(epochs[0]), sorted(epochs[1]))
        for samples in epochs.values():
            self.assertEqual(len(set(samples)), 2700)
            self.assertEqual(len(samples), 2700)

    def test_a_batch_a_rank_at_another_world_size(self):
        """It counts at the begin: the global batch stays what it was, and the bits return with the ranks."""
        whole, parts, moved = (self.directory / name for name in ("whole", "parts", "moved"))
        settings = [*self.settings[:4], "--batch-size-per-rank", 50, "--epochs", 1]
        self.expect(train(2, whole, *settings), 0)
        self.expect(train(2, parts, *settings, "--max-steps", 7), 75)
        self.expect(train(2, parts, *settings, "--resume", "auto"), 0)
        self.expect_same(whole, parts)
        self.expect(train(2, moved, *settings, "--max-steps", 7), 75)
        self.expect(train(1, moved, *settings, "--max-steps", 9, "--resume", "auto"), 75)
        self.expect(train(4, moved, *settings, "--resume", "auto"), 0)
        self.assertEqual(checkpoints(moved)[-1], "step-00000027")
        state = json.loads((moved / "checkpoints/step-00000027/state.json").read_text())
        self.assertEqual(state["global_batch"], 100)

    def test_checkpoints_of_steps_at_an_epochs_end(self):
        out = self.directory / "out"
        self.expect(train(1, out, *self.settings, "--epochs", 3, "--validation-fraction", 0.1, "--checkpoint-every-steps", 6,
                          "--checkpoint-every-epochs", 3, "--learning-rate", 100, "--optimizer", "sgd",
                          "--keep-checkpoints", 99), 0)
        self.assertEqual(checkpoints(out), [f"step-{step:08}" for step in range(6, 37, 6)])

    def test_an_epoch_without_an_update(self):
        for fraction in (0, 0.1):
            result = train(2, self.directory / f"out-{fraction}", *self.settings, "--epochs", 1, "--validation-fraction", fraction,
                           "--schedule", "constant", "--on-non-finite", "skip", "--inject-fault", "nan@gradient:rank=1")
            self.assertRegex(self.expect(result, 76).stderr, "epoch 1: the update of every step was left out")

    def test_a_comparison_that_is_damaged_itself(self):
        """On all ranks, behind the sums of the step: what they compare is equal, and there is nobody to be named."""
        fault = "flip@all-reduce:rank=all,step=3,pass=3,bit=0"
        result = train(2, self.directory / "out", *self.settings, "--epochs", 1, "--inject-fault", fault)
        self.assertIn("step 3: all ranks received the same gradient, and the comparison", self.expect(result, 76).stderr)

    def check_virtual_ranks(self, *settings):
        """At 1, 2 and 4 ranks, and moved from 4 to 1 to 2 with two stops, all is the same."""
        # 270 samples in 4 steps, the last of 3: fewer than there are shards.
        settings = ["--data", write_small_mnist(self.directory / "few", 300, 100), "--batch-size",
                    89, "--log-every-steps", 1, "--epochs", 2, "--virtual-ranks", 4, *settings]
        runs = [self.directory / f"ranks-{ranks}" for ranks in (1, 2, 4)]
        for ranks, out in zip((1, 2, 4), runs):
            self.expect(train(ranks, out, *settings), 0)
        self.assertEqual(len(records(runs[0] / "decisions.jsonl")), 2)
        self.assertIn("step-00000008", checkpoints(runs[0]))
        moved = self.directory / "moved"
        self.expect(train(4, moved, *settings, "--max-steps", 3), 75)
        self.expect(train(1, moved, *settings, "--max-steps", 6, "--resume", "auto"), 75)
        self.expect(train(2, moved, *settings, "--resume", "auto"), 0)
        for out in (*runs[1:], moved):
            self.expect_same(runs[0], out)

    def test_virtual_ranks_with_average_and_a_plateau(self):
        self.check_virtual_ranks("--model", "digits-cnn", "--ema-decay", "0.9", "--patience", 0,
                                 "--min-delta", "0.9")
        self.assertIn("learning rate 0.001 -> 0.0005",
                      records(self.directory / "moved" / "decisions.jsonl")[1]["reason"])

    def test_virtual_ranks_with_one_cycle_and_label_smoothing(self):
        self.check_virtual_ranks("--model", "lenet", "--schedule", "one-cycle", "--optimizer",
                                 "sgd", "--momentum", "0.9", "--label-smoothing", "0.1",
                                 "--ema-decay", "0.9", "--clip-norm", "0.5")
        self.assertEqual(set(weights(self.directory / "moved")),
                         {"model.safetensors", "optimizer.safetensors", "ema.safetensors"})

    def test_virtual_ranks_with_warm_up_and_average(self):
        self.check_virtual_ranks("--model", "mlp", "--optimizer", "adamw", "--warmup-steps", 5,
                                 "--ema-decay", "0.99", "--label-smoothing", "0.2", "--accumulate", 2,
                                 "--reduce-dtype", "float16")

    def test_from_a_run_directory(self):
        """Its newest good checkpoint, in the run's own directory as with auto, or in another."""
        whole, parts, moved = (self.directory / name for name in ("whole", "parts", "moved"))
        settings = [*self.settings, "--epochs", 2]
        self.expect(train(1, whole, *settings), 0)
        self.expect(train(1, parts, *settings, "--max-steps", 14), 75)
        self.expect(train(1, moved, *settings, "--resume", parts), 0)
        self.expect(train(1, parts, *settings, "--resume", parts), 0)
        self.expect_same(whole, parts)
        self.assertEqual(weights(whole), weights(moved))
        empty = self.directory / "empty"
        (empty / "checkpoints").mkdir(parents=True)
        result = self.expect(train(1, self.directory / "new", *settings, "--resume", empty), 66)
        self.assertIn("no checkpoint", result.stderr)

    def test_other_test_data_are_noticed(self):
        out = self.directory / "out"
        settings = [*self.settings, "--epochs", 2]
        other = write_small_mnist(self.directory / "other", test=400)
        self.expect(train(1, out, *settings, "--max-steps", 5), 75)
        result = self.expect(train(1, out, *settings, "--max-steps", 6, "--resume", "auto"), 75)
        self.assertNotIn("test data", result.stderr)
        result = self.expect(train(1, out, *settings, "--test-data", other, "--resume", "auto"), 0)
        self.assertIn("test data are not those", result.stderr)

    def test_nothing_there_yet(self):
        self.expect(train(1, self.directory / "out", *self.settings, "--epochs", 3, "--resume", "auto"), 0)

    def test_user_signal_at_two_ranks(self):
        whole, parts = self.directory / "whole", self.directory / "parts"
        long = [*self.settings, "--epochs", 60]
        self.expect(train(2, whole, *long), 0)
        job = subprocess.Popen(command(2, "train", "--out", parts, "--threads", 1, *long),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: list(parts.glob("checkpoints/step-*")), "a checkpoint")
        job.send_signal(signal.SIGUSR1)
        _, errors = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 75, errors)
        self.assertLess(len(records(parts / "decisions.jsonl")), 60)
        self.expect(train(2, parts, *long, "--resume", "auto"), 0)
        self.expect_same(whole, parts)


if __name__ == "__main__":
    main()
