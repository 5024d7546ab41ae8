"""benchmarks/shaped_links: one short round over two limited links; how close it comes is the long run's matter."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))
import two_hosts  # noqa: E402
from harness import PROGRAM, SOURCE, ProgramTest, main, skip_all, wait_for  # noqa: E402

SHAPED_LINKS = SOURCE / "benchmarks" / "shaped_links"
loader = importlib.machinery.SourceFileLoader("shaped_links", str(SHAPED_LINKS))
sys.dont_write_bytecode = True
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("shaped_links", loader))
loader.exec_module(tool)


class ShapedLinksTest(ProgramTest):
    def test_two_ranks_at_10_megabits(self):
        figures = self.directory / "figures.json"
        result = subprocess.run([SHAPED_LINKS, "--ranks", "2", "--rates", "10", "--rounds", "1", "--steps", "10",
                                 "--lockstep", PROGRAM, "--json", figures], capture_output=True, text=True, timeout=200)
        if result.returncode == 77:
            self.skipTest(result.stderr)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        (found,) = json.loads(figures.read_text())["results"]
        self.assertEqual((found["ranks"], found["mbit"], found["rounds"][0]["run"]["hosts"]), (2, 10, 2))
        # The filter is what the links have: no more, and not much less. And steps wait for them.
        self.assertLess(found["link"]["mbit_per_second"], 11)
        self.assertGreater(found["link"]["mbit_per_second"], 5)
        self.assertGreater(found["measured_ms"], 2 * found["unlimited_step_ms"])
        self.assertAlmostEqual(found["difference"], found["foreseen_ms"] / found["measured_ms"] - 1, places=9)
        self.assertLess(abs(found["difference"]), 0.5)
        # What the sums are off by, whatever else the machine does.
        self.assertLess(abs(found["difference_with_own_steps"]), 0.25)
        self.assertEqual(result.returncode == 0, abs(found["difference"]) <= 0.15)

    def test_no_host_outlives_a_program_that_was_killed(self):
        if reason := two_hosts.missing():
            self.skipTest(reason)
        maker = subprocess.Popen(
            [sys.executable, "-c", "import sys, two_hosts; host = two_hosts.Host('lonely', None, []);"
             " print(host.keeper.pid, flush=True); sys.stdin.read()"],
            cwd=Path(two_hosts.__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        keeper = Path("/proc", maker.stdout.readline().strip(), "ns", "net")
        self.assertTrue(keeper.exists())
        maker.kill()
        maker.communicate()
        wait_for(lambda: not keeper.exists(), "the end of the process that keeps the host")

    def test_faster_links_get_more_steps(self):
        options = types.SimpleNamespace(steps=16)
        self.assertEqual([tool.steps_over(mbit, options) for mbit in (1, 10, 100, 1000, None)],
                         [16, 16, 160, 400, 400])

    def test_a_case_is_the_median_of_its_rounds(self):
        rounds = [{"ranks": 4, "mbit": 10, "steps": 16, "unlimited_step_ms": 1, "foreseen_ms": foreseen,
                   "measured_ms": measured, "difference": foreseen / measured - 1,
                   "difference_with_own_steps": foreseen / 1000, "link": {"latency_us": latency, "mbit_per_second": 9},
                   "with_links_of": {"ranks": 2, "foreseen_ms": foreseen - 20}}
                  for foreseen, measured, latency in ((90, 100, 5), (120, 80, 7), (110, 125, 90))]
        found = tool.median_of(rounds)
        self.assertEqual((found["foreseen_ms"], found["measured_ms"], found["link"]["latency_us"]), (110, 100, 7))
        self.assertAlmostEqual(found["difference"], 0.1)
        self.assertAlmostEqual(found["with_links_of"]["difference"], -0.1)
        self.assertIn("-12.0 to +50.0 %    +11.0 %", tool.table([found]))

    def test_wrong_options(self):
        for options in (["--ranks", "1"], ["--rates", "0"], ["--rounds", "0"], ["--timeout", "0"], ["--json", "/nonexistent/x"]):
            refused = subprocess.run([SHAPED_LINKS, *options], capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2, refused.stderr)


if __name__ == "__main__":
    reason = two_hosts.missing()
    if reason:
        skip_all(reason)
    main()
