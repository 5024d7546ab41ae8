#include "report/gnuplot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/temporary_directory.h"

namespace lockstep::report {
namespace {

using test::expect_error;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Chart sample() {
  return {.id = "sample",
          .title = "A <title>",
          .description = "what & how",
          .x_label = "epoch",
          .y_label = "loss",
          .marks = {{2, 0.0005}},
          .series = {{.label = "curve",
                      .style = Series::Style::kMarked,
                      .color = 1,
                      .points = {{1, 3}, {2, 2}, {3, 1}},
                      .boxes = {}},
                     {.label = "boxes",
                      .style = Series::Style::kBoxes,
                      .color = 2,
                      .points = {},
                      .boxes = {{1, 2, 0, 1}}}}};
}

// A program in place of gnuplot.
class Stand : public testing::Test {
 protected:
  std::string write(const std::string& script) {
    const auto path = directory_ / "gnuplot";
    test::overwrite(path, "#!/bin/sh\n" + script + "\n");
    ::chmod(path.c_str(), 0755);
    return path.string();
  }
  test::TemporaryDirectory directory_;
};

TEST_F(Stand, GetsTheScriptAndNoSettingsOfTheUser) {
  EXPECT_EQ(run_gnuplot(write("echo \"$@\"; cat"), "plot\n"), "-d -\nplot\n");
}

TEST_F(Stand, TakesAndGivesMoreThanAPipeHolds) {
  const std::string much(3 << 20, 'x');
  EXPECT_EQ(run_gnuplot(write("exec cat"), much), much);
}

TEST_F(Stand, ThatReadsNothingDoesNoHarm) {
  EXPECT_EQ(run_gnuplot(write("echo done"), std::string(1 << 20, 'x')), "done\n");
}

TEST_F(Stand, FailsWithWhatItSaid) {
  expect_error(ExitCode::kUnavailable, "line 3: no such thing",
               [&] { run_gnuplot(write("echo 'line 3: no such thing' >&2; exit 1"), ""); });
  expect_error(ExitCode::kUnavailable, "a warning",
               [&] { run_gnuplot(write("echo 'a warning' >&2"), ""); });
  expect_error(ExitCode::kUnavailable, "it said nothing",
               [&] { run_gnuplot(write("kill -9 $$"), ""); });
}

TEST_F(Stand, ThatOnlyWarnsHasDrawn) {
  EXPECT_EQ(run_gnuplot(write("echo drawing; echo 'empty y range' >&2"), ""), "drawing\n");
}

TEST_F(Stand, ThatLingersIsEnded) {
  const std::string program = write("echo drawing; exec >&- 2>&-; sleep 1000");
  int signs = 0;
  expect_error(ExitCode::kUnavailable, "was not done after 0.5 s",
               [&] { run_gnuplot(program, "", 0.5, [&] { ++signs; }); });
  EXPECT_GE(signs, 4);
}

TEST_F(Stand, ThatTakesItsTimeLetsOthersKnow) {
  int signs = 0;
  EXPECT_EQ(run_gnuplot(write("sleep 1; echo drawing"), "", 60, [&] { ++signs; }), "drawing\n");
  EXPECT_GE(signs, 5);
}

TEST_F(Stand, ThatHangsIsEndedWithItsChildren) {
  const auto pids = directory_ / "pids";
  const std::string program = write("sleep 1000 & echo $! >'" + pids.string() + "'; echo $$ >>'" +
                                    pids.string() + "'; wait");
  expect_error(ExitCode::kUnavailable, "was not done after 0.5 s",
               [&] { run_gnuplot(program, "", 0.5); });
  std::ifstream file(pids);
  for (pid_t process = 0; file >> process;) {
    // The child of the child is reaped by whoever adopts it.
    for (int i = 0; i < 1000 && ::kill(process, 0) == 0; ++i) {
      std::ifstream state("/proc/" + std::to_string(process) + "/stat");
      std::string id, name, letter;
      if (!(state >> id >> name >> letter) || letter == "Z") break;
      ::usleep(1000);
      ASSERT_LT(i, 999) << process << " still runs";
    }
  }
}

TEST_F(Stand, ThatFloodsIsEnded) {
  expect_error(ExitCode::kUnavailable, "was ended",
               [&] { run_gnuplot(write("exec yes"), "", 60); });
}

TEST(Gnuplot, ThatIsMissingSaysWhichPackageItIsIn) {
  expect_error(ExitCode::kInputMissing, "gnuplot-nox", [] { run_gnuplot("/no/such/gnuplot", ""); });
}

TEST(Script, HoldsNothingThatIsNoNumberOrWordOfOurs) {
  Chart chart = sample();
  chart.title = chart.series[0].label = chart.description = "`evil`\"; system('evil')";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  chart.series[0].points = {{1, 3}, {nan, 2}, {3, 1 / 0.0}, {4, 1}};
  const std::string script = gnuplot_script(chart);
  EXPECT_THAT(script, Not(HasSubstr("evil")));
  EXPECT_THAT(script, Not(HasSubstr("nan")));
  EXPECT_THAT(script, Not(HasSubstr("inf")));
  EXPECT_THAT(script, HasSubstr("1 3\n\n\n4 1\n"));
}

TEST(Drawing, IsOfThePageAlone) {
  const std::string file =
      "<?xml version=\"1.0\"?>\n<svg width=\"9\" onload='x()'><title>Gnuplot</title><desc>by "
      "<b>it</b></desc><defs><circle id='p'/></defs>\n<g id=\"canvas\" color=\"black\" "
      "onclick=\"x()\"><path stroke='rgb( 17,   0,   0)' d='M0,0'/><use xlink:href='#p' "
      "transform='scale(2)' color='rgb( 16, 0, 0)'/><text> 1&lt;2</text></g></svg>\n";
  const std::string drawing = inline_svg(file, sample());
  EXPECT_THAT(drawing, StartsWith("<svg viewBox=\"0 0 440 280\" role=\"img\" "
                                  "aria-labelledby=\"sample-title sample-desc\">"
                                  "<title id=\"sample-title\">A &lt;title&gt;</title>"
                                  "<desc id=\"sample-desc\">what &amp; how</desc><g>"));
  EXPECT_THAT(drawing, HasSubstr("<path d=\"M0,0\" style=\"stroke:var(--c1);\"/>"));
  EXPECT_THAT(drawing, HasSubstr("style=\"fill:var(--c0);\" r=\"1\""));
  EXPECT_THAT(drawing, HasSubstr("<text> 1&lt;2</text></g></svg>"));
  for (const char* gone : {"Gnuplot", "onload", "onclick", "xlink", "canvas", "<b>"}) {
    EXPECT_THAT(drawing, Not(HasSubstr(gone)));
  }
}

TEST(Drawing, ThatIsNoneIsRefused) {
  for (const char* bad :
       {"", "text", "<svg>", "<svg><g></g>", "<svg><script>x</script></svg>",
        "<svg><g a></g></svg>", "<svg><g a='1></g></svg>", "<svg><![CDATA[x]]></svg>", "<svg"}) {
    expect_error(ExitCode::kUnavailable, "gnuplot: sample: ", [&] { inline_svg(bad, sample()); });
  }
}

// With the real one, where there is one.
TEST(Drawing, OfGnuplotFollowsThePage) {
  if (std::system("command -v gnuplot >/dev/null") != 0) GTEST_SKIP() << "no gnuplot";
  const std::string drawing =
      inline_svg(run_gnuplot("gnuplot", gnuplot_script(sample())), sample());
  EXPECT_THAT(drawing, HasSubstr("stroke:var(--c1)"));
  EXPECT_THAT(drawing, HasSubstr("fill:var(--c2)"));
  EXPECT_THAT(drawing, HasSubstr("stroke:var(--line)"));
  EXPECT_THAT(drawing, HasSubstr("fill:var(--ink-2)"));
  EXPECT_THAT(drawing, HasSubstr("stroke:var(--mark)"));
  EXPECT_THAT(drawing, HasSubstr(">0.0005</text>"));
  EXPECT_THAT(drawing, Not(HasSubstr("rgb(")));
  EXPECT_THAT(drawing, Not(HasSubstr("black")));
}

}  // namespace
}  // namespace lockstep::report
