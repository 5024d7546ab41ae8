"""What the tests of lockstep inspect share."""

import json
import subprocess

from harness import PROGRAM, SOURCE, ProgramTest

MNIST = SOURCE / "data" / "mnist"
SIDE = 28
SIZE = SIDE * SIDE


class Inspection(ProgramTest):
    def inspect(self, *arguments, code=0, **options):
        # Without mpirun, as it is meant to be started.
        result = subprocess.run([PROGRAM, "inspect", *map(str, arguments)], capture_output=True, text=True,
                                timeout=120, **options)
        return self.expect(result, code)

    def expect_nothing_written(self, directory):
        self.assertEqual([path.name for path in directory.rglob("*") if path.is_file()] if directory.exists() else [],
                         [])

    def facts(self, *arguments, code=0):
        return json.loads(self.inspect("--json", *arguments, code=code).stdout)
