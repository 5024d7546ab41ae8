#!/usr/bin/env python3
"""check_layout finds what it should, and nothing else."""
import pathlib
import tempfile
import unittest

import check_layout


class CheckLayout(unittest.TestCase):
    def faults(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return list(check_layout.faults(root))

    def test_every_pair_of_modules(self):
        files, expected = {}, []
        for module, allowed in check_layout.ALLOWED.items():
            for place in (f"include/lockstep/{module}/a.h", f"src/{module}/a.cpp"):
                lines = []
                for other in check_layout.ALLOWED:
                    for spelling in (f'"lockstep/{other}/x.h"', f"<lockstep/{other}/x.h>", f'"{other}/x.h"'):
                        lines.append(f"#include {spelling}")
                        if other != module and other not in allowed:
                            expected.append(f"{place}:{len(lines)}: includes {spelling[1:-1]}: "
                                            f"{module} may not include {other}")
                files[place] = "\n".join(lines)
        self.assertGreater(len(expected), 300)
        self.assertEqual(sorted(self.faults(files)), sorted(expected))

    def test_base_includes_nothing_and_no_cycles(self):
        order = list(check_layout.ALLOWED)
        self.assertEqual(check_layout.ALLOWED["base"], set())
        for module, allowed in check_layout.ALLOWED.items():
            for other in allowed - {module, "report"}:
                self.assertLess(order.index(other), order.index(module))

    def test_the_drawing_shows_every_module(self):
        with tempfile.TemporaryDirectory() as folder:
            drawing = pathlib.Path(folder) / check_layout.DRAWING
            drawing.parent.mkdir()
            names = [*check_layout.ALLOWED, "extra"]
            names.remove("kernels")
            drawing.write_text("".join(f'<text class="name" x="1">{name}</text>' for name in names))
            self.assertEqual(list(check_layout.faults_of_drawing(pathlib.Path(folder))),
                             [f"{check_layout.DRAWING}: does not show the module kernels",
                              f"{check_layout.DRAWING}: shows extra, which is no module"])

    def test_relative_includes(self):
        files = {"src/model/layer.h": "", "src/comm/a.cpp": '#include "../model/layer.h"\n'}
        self.assertIn("comm may not include model", self.faults(files)[0])
        files = {"src/model/layer.h": "", "src/model/a.cpp": '#include "layer.h"\n'}
        self.assertEqual(self.faults(files), [])

    def test_types_of_one_name(self):
        one = "namespace lockstep {\nstruct Box {\n  struct Part {\n  };\n};\nenum class Kind { kA };\nclass Later;\n}\n"
        self.assertEqual(self.faults({"src/base/a.h": one, "src/cli/b.cpp": one}), [])
        # What lies in another namespace, in another type or in none but a declaration is another one.
        other = ("namespace lockstep::report {\nstruct Box {};\n}  // namespace lockstep::report\n"
                 "namespace lockstep {\nclass Part {\n};\nstruct World::Box {\n};\nclass Later {\n};\n}\n")
        self.assertEqual(self.faults({"src/base/a.h": one, "src/cli/b.h": other}), [])
        twin = "// of this file\nnamespace lockstep {\n\nclass Box final : public Other {\n};\nenum Kind { kB };\n}\n"
        self.assertEqual(self.faults({"include/lockstep/base/a.h": one, "src/cli/b.h": twin}),
                         ["src/cli/b.h:4: lockstep::Box is also what include/lockstep/base/a.h:2 defines",
                          "src/cli/b.h:6: lockstep::Kind is also what include/lockstep/base/a.h:6 defines"])

    def test_unknown_modules(self):
        self.assertIn("no module gpu", self.faults({"src/base/a.cpp": "#include <lockstep/gpu/x.h>\n"})[0])
        self.assertIn("lies in no module", self.faults({"src/gpu/a.cpp": ""})[0])
        self.assertIn("lies in no module", self.faults({"src/a.cpp": ""})[0])

    def test_libtorch(self):
        for header in ("torch/torch.h", "ATen/ATen.h", "c10/util/Exception.h"):
            for module in check_layout.ALLOWED:
                found = self.faults({f"src/{module}/a.cu": f"# include <{header}>\n"})
                self.assertEqual(found != [], module in check_layout.TORCH_FREE, (module, header))

    def test_conditions(self):
        for line in ("#ifdef LOCKSTEP_CUDA", "#if defined(USE_NCCL)", "# ifndef X", "#if 0"):
            self.assertEqual(len(self.faults({"src/comm/a.cpp": f"{line}\n#endif\n"})), 1, line)
        for line in ("#ifdef __CUDA_ARCH__", "#if defined(__x86_64__)", "#ifdef __AVX2__"):
            self.assertEqual(self.faults({"src/optim/a.cu": f"{line}\n#endif\n"}), [], line)

    def test_comments_and_strings_are_no_code(self):
        text = '// #include "lockstep/cli/x.h"\n/*\n#include "lockstep/cli/x.h"\n#ifdef X\n*/\n'
        self.assertEqual(self.faults({"src/base/a.cpp": text}), [])
        text = 'const char* url = "http://x";\n#include "lockstep/cli/x.h"\n'
        self.assertEqual(len(self.faults({"src/base/a.cpp": text})), 1)

    def test_an_empty_tree_does_not_pass(self):
        self.assertIn("holds no sources", self.faults({})[0])


if __name__ == "__main__":
    unittest.main()
