#!/usr/bin/env python3
"""Two runs on one --out: the second is refused, and a dead run leaves no lock."""

import socket
import time

from attack import AttackTest, Job, checkpoints
import failure_table
from harness import main, train


class LockTest(AttackTest):
    def test_the_second_is_refused_until_the_first_is_dead(self):
        out = self.directory / "out"
        with Job(2, out, *self.endless()) as first:
            first.wait_for(lambda: checkpoints(out), "a checkpoint")
            root = first.rank_processes()[0]
            config = (out / "config.ini").read_bytes()
            result = self.expect(train(1, out, *self.settings), 73)
            self.assertIn(f"{out}: holds a run already", result.stderr)
            begin = time.monotonic()
            result = self.expect(train(2, out, *self.endless(), "--resume", "auto"), 73)
            failure_table.note(self, "a second run on one `--out`", 73, seconds=time.monotonic() - begin,
                               said=r"error: out: is in use by process N on host.*", text=result.stderr)
            self.assertIn(f"{out}: is in use by process {root} on {socket.gethostname()}",
                          result.stderr)
            self.assertEqual((out / "config.ini").read_bytes(), config)
            self.assertIsNone(first.process.poll(), first.stderr())
            first.kill_all()
        self.assertTrue((out / ".lock").exists())
        self.go_on(2, out)


if __name__ == "__main__":
    main()
