"""The manual page and the completions that the program writes of itself."""

import shutil
import subprocess
import unittest

from harness import PROGRAM, ProgramTest, main


def text_of(option):
    return subprocess.run([PROGRAM, option], capture_output=True, text=True, check=True).stdout


class ManualTest(ProgramTest):
    def test_every_command_and_setting_has_its_place(self):
        page = text_of("--man").replace("\\-", "-")
        for line in subprocess.run([PROGRAM, "train", "--help"], capture_output=True, text=True,
                                   check=True).stdout.splitlines():
            if line.startswith("  --"):  # an option and its value
                name = line.split()[0].partition("[")[0]
                self.assertIn(f"\n\\fB{name}\\fR", page)
        for command in ("train", "evaluate", "predict", "report", "inspect", "prove", "doctor", "bench"):
            self.assertIn(f'.SS "lockstep {command}', page)
        for kind in ("scaling", "allreduce", "step", "input", "checkpoint", "resume", "ranks"):
            self.assertIn(f"\n\\fB{kind}\\fR", page)

    def test_troff_has_nothing_to_complain_about(self):
        groff = shutil.which("groff")
        if groff is None:
            self.skipTest("groff is not installed")
        result = subprocess.run([groff, "-man", "-Tascii", "-ww", "-P-cbou"], input=text_of("--man"),
                                capture_output=True, text=True, check=True)
        self.assertEqual(result.stderr, "")
        self.assertIn("EXIT STATUS", result.stdout)


class CompletionTest(ProgramTest):
    def complete(self, *words):
        """What bash offers for the last word, when the words before it stand on the line."""
        script = self.directory / "lockstep.bash"
        script.write_text(text_of("--bash-completion"))
        lines = f"""
            source {script}
            COMP_WORDS=("$@")
            COMP_CWORD=$(($# - 1))
            _lockstep 2>/dev/null
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        result = subprocess.run(["bash", "-uc", lines, "bash", "lockstep", *words], text=True,
                                capture_output=True, cwd=self.directory)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("tr"), ["train"])
        self.assertEqual(self.complete("--ver"), ["--version"])
        self.assertEqual(self.complete("ins"), ["inspect"])
        self.assertIn("doctor", self.complete(""))

    def test_options_of_a_command(self):
        self.assertEqual(self.complete("train", "--checkpoint-every-e"), ["--checkpoint-every-epochs"])
        self.assertIn("--logits", self.complete("evaluate", "--"))
        self.assertNotIn("--epochs", self.complete("evaluate", "--"))
        self.assertEqual(self.complete("inspect", "--o"), ["--out"])

    def test_kinds_of_a_command(self):
        self.assertEqual(self.complete("bench", "s"), ["scaling", "step"])
        self.assertEqual(self.complete("prove", ""), ["resume", "ranks"])
        self.assertEqual(self.complete("bench", "--max-b"), ["--max-bytes"])
        self.assertEqual(self.complete("bench", "scaling", "s"), [])

    def test_values(self):
        self.assertEqual(self.complete("train", "--optimizer", ""), ["rmsprop", "sgd", "adamw"])
        self.assertEqual(self.complete("train", "--optimizer", "=", "ad"), ["adamw"])
        self.assertEqual(self.complete("train", "--optimizer", "="), ["rmsprop", "sgd", "adamw"])
        self.assertEqual(self.complete("train", "--stratify", "y"), ["yes"])
        self.assertIn("lenet", self.complete("train", "--model", ""))
        self.assertEqual(self.complete("train", "--epochs", ""), [])

    def test_files(self):
        (self.directory / "digits.csv").touch()
        (self.directory / "runs").mkdir()
        self.assertEqual(self.complete("train", "--data", "dig"), ["digits.csv"])
        self.assertEqual(self.complete("evaluate", "--checkpoint", ""), ["runs"])
        self.assertEqual(self.complete("train", "--config", "d"), ["digits.csv"])
        self.assertEqual(self.complete("inspect", "dig"), ["digits.csv"])
        self.assertEqual(self.complete("inspect", "digits.csv", "--out", ""), ["runs"])


if __name__ == "__main__":
    main()
