"""Resume is exact: stopped anywhere and resumed, a run ends in the bits of the run never stopped."""

import signal
import subprocess
import time

from harness import ProgramTest, checkpoints, command, main, records, train, weights

# 12 steps an epoch: stops fall into every part of a run in seconds.
SMALL = ["--model", "mlp", "--batch-size", 4500, "--epochs", 3, "--log-every-steps", 5,
         "--evaluation-batch", 1000]


class ResumeTest(ProgramTest):
    def expect_same(self, whole, parts):
        self.assertEqual(weights(whole), weights(parts))
        self.assertEqual((whole / "checkpoints/BEST").read_text(),
                         (parts / "checkpoints/BEST").read_text())
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(records(whole / name), records(parts / name))

    def stop_and_resume(self, ranks, settings, stops):
        whole, parts = self.directory / "whole", self.directory / "parts"
        self.expect(train(ranks, whole, *SMALL, *settings), 0)
        resume = []
        for stop in stops:
            self.expect(train(ranks, parts, *SMALL, *settings, "--max-steps", stop, *resume), 75)
            resume = ["--resume", "auto"]
        self.expect(train(ranks, parts, *SMALL, *settings, *resume), 0)
        self.expect_same(whole, parts)

    def test_in_mid_epoch_at_one_rank(self):
        self.stop_and_resume(1, [], [7])

    def test_at_an_epochs_end_and_in_mid_epoch_with_average(self):
        self.stop_and_resume(2, ["--ema-decay", "0.9"], [12, 17, 18])

    def test_adamw_with_warm_up(self):
        self.stop_and_resume(2, ["--optimizer", "adamw", "--warmup-steps", 20], [5, 23])

    def test_one_cycle(self):
        self.stop_and_resume(1, ["--schedule", "one-cycle", "--optimizer", "sgd", "--momentum", "0.9"],
                             [13])

    def test_plateau_in_the_middle_of_its_patience(self):
        self.stop_and_resume(1, ["--min-delta", "0.9", "--patience", 2], [12, 24])

    def test_another_number_of_epochs(self):
        """Finished after one epoch, then continued to three."""
        whole, parts = self.directory / "whole", self.directory / "parts"
        self.expect(train(2, whole, *SMALL), 0)
        first = [*SMALL, "--epochs", 1]
        del first[first.index("--epochs"):first.index("--epochs") + 2]
        self.expect(train(2, parts, *first), 0)
        self.expect(train(2, parts, *SMALL, "--resume", "auto"), 0)
        self.expect_same(whole, parts)

    def test_resume_from_a_named_checkpoint_in_a_new_directory(self):
        whole, copy = self.directory / "whole", self.directory / "copy"
        self.expect(train(1, whole, *SMALL), 0)
        checkpoint = whole / "checkpoints" / checkpoints(whole)[0]
        moved = self.directory / "renamed"
        checkpoint.rename(moved)
        self.expect(train(1, copy, *SMALL, "--resume", moved), 0)
        self.assertEqual(weights(whole), weights(copy))

    def test_a_finished_run_is_left_as_it_is(self):
        out = self.directory / "out"
        self.expect(train(1, out, *SMALL), 0)
        before = weights(out), records(out / "metrics.jsonl")
        self.expect(train(1, out, *SMALL, "--resume", "auto"), 0)
        self.assertEqual(before, (weights(out), records(out / "metrics.jsonl")))

    def test_nothing_there_yet(self):
        self.expect(train(1, self.directory / "out", *SMALL, "--resume", "auto"), 0)

    def test_user_signal_at_two_ranks(self):
        whole, parts = self.directory / "whole", self.directory / "parts"
        long = [*SMALL, "--epochs", 40]
        del long[long.index("--epochs"):long.index("--epochs") + 2]
        self.expect(train(2, whole, *long, timeout=300), 0)
        job = subprocess.Popen(command(2, "train", "--out", parts, "--threads", 1, *long),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not list(parts.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        job.send_signal(signal.SIGUSR1)
        _, errors = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 75, errors)
        self.assertLess(len(records(parts / "decisions.jsonl")), 40)
        self.expect(train(2, parts, *long, "--resume", "auto", timeout=300), 0)
        self.expect_same(whole, parts)


if __name__ == "__main__":
    main()
