#include "lockstep/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/temporary_directory.h"
#include "lockstep/base/file.h"
#include "lockstep/data/load.h"
#include "lockstep/records/run_directory.h"
#include "sample_run.h"

namespace lockstep {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Most of what a page says does not need its pictures.
const ReportOptions kWithout{.refresh_seconds = 7, .gnuplot = "/no/gnuplot", .progress = {}};

class ReportTest : public testing::Test {
 protected:
  std::filesystem::path make(const std::string& name, const test::SampleRun& sample) {
    test::write_sample_run(parent_ / name, sample);
    return parent_ / name;
  }
  Report report(const std::filesystem::path& run) { return make_report({&run, 1}, kWithout); }
  test::TemporaryDirectory parent_;
};

TEST_F(ReportTest, WithoutGnuplotHasAllTablesAndSaysSo) {
  const Report page = report(make("run", {}));
  EXPECT_THAT(page.warnings, Contains(HasSubstr("/no/gnuplot is not installed")));
  EXPECT_THAT(page.html, HasSubstr("/no/gnuplot is not installed (Debian: gnuplot-nox)"));
  for (const char* id : {"curves", "confusion", "errors", "by-class", "calibration", "epochs",
                         "decisions", "time", "frequencies", "machine", "settings"}) {
    EXPECT_THAT(page.html, HasSubstr("<section id=\"" + std::string(id) + "\""));
  }
  EXPECT_THAT(page.html, HasSubstr("data:image/png;base64,"));
  EXPECT_THAT(page.html, Not(HasSubstr("http-equiv=\"refresh\"")));
  EXPECT_FALSE(page.running);
  EXPECT_LT(page.html.size(), 2'000'000u);
}

TEST_F(ReportTest, OfARunThatGoesOnIsRenewed) {
  const auto run = make("run", {.epochs = 2, .test = false});
  const auto open = RunDirectory::open(run, RunDirectory::Mode::kResume);
  const Report page = report(run);
  EXPECT_TRUE(page.running);
  EXPECT_THAT(page.html, HasSubstr("<meta http-equiv=\"refresh\" content=\"7\">"));
  EXPECT_THAT(page.html, HasSubstr("running, after 2 epochs of 5"));
}

TEST_F(ReportTest, WithoutTheDataShowsErrorsWithoutImages) {
  const auto run = make("run", {});
  const std::string config = read_text_file(run / "config.ini");
  replace_file(run / "config.ini", "# Data\ndata = " + (parent_ / "gone").string() + "\n");
  Report page = report(run);
  EXPECT_THAT(page.warnings, Contains(HasSubstr("The images cannot be shown: ")));
  EXPECT_THAT(page.html, Not(HasSubstr("data:image/png")));
  EXPECT_THAT(page.html, HasSubstr("taken for <b>"));
  // Other data under the same name.
  replace_file(run / "config.ini", config);
  std::string launch = read_text_file(run / "launch.json");
  const std::size_t hash = launch.rfind("\"sha256\": \"") + 11;
  launch[hash] = launch[hash] == '0' ? '1' : '0';
  replace_file(run / "launch.json", launch);
  page = report(run);
  EXPECT_THAT(page.warnings, Contains(HasSubstr("its SHA-256 is ")));
  EXPECT_THAT(page.html, Not(HasSubstr("data:image/png")));
}

TEST_F(ReportTest, TakesDataThatAreInMemory) {
  const auto run = make("run", {});
  replace_file(run / "config.ini", "# Data\ndata = " + (parent_ / "gone").string() + "\n");
  const Dataset test = *load_test({});
  ImageSource images;
  images.provide(test.sha256(), test);
  ReportOptions options = kWithout;
  options.images = &images;
  EXPECT_THAT(make_report({&run, 1}, options).html, HasSubstr("data:image/png"));
}

TEST_F(ReportTest, EscapesWhatARunSays) {
  const auto run = make("<i>run", {.host = "<script>alert('x')</script>"});
  const Report page = report(run);
  EXPECT_THAT(page.html, Not(HasSubstr("<script")));
  EXPECT_THAT(page.html, Not(HasSubstr("<i>run")));
  EXPECT_THAT(page.html, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)"));
}

TEST_F(ReportTest, ComparesRuns) {
  const std::vector<std::filesystem::path> runs{make("a", {}),
                                                make("b", {.seed = 2, .learning_rate = "0.002"}),
                                                make("c/a", {.epochs = 2, .test = false})};
  const Report page = make_report(runs, kWithout);
  EXPECT_THAT(page.html, HasSubstr("3 runs compared"));
  EXPECT_THAT(page.html,
              HasSubstr("<th scope=\"row\">learning-rate</th><td>0.001</td><td>0.002</td>"));
  EXPECT_THAT(page.html, Not(HasSubstr("<th scope=\"row\">model</th>")));
  // Equal names are told apart by their paths.
  EXPECT_THAT(page.html, HasSubstr((parent_ / "c/a").string()));
  EXPECT_THAT(page.html, HasSubstr(" points</small>"));
}

TEST_F(ReportTest, ComparesHostsByName) {
  const std::vector<std::filesystem::path> runs{make("one", {.ranks = 1}),
                                                make("four", {.ranks = 4}),
                                                make("else", {.ranks = 2, .host = "<b>"})};
  const Report same = make_report({runs.data(), 2}, kWithout);
  EXPECT_THAT(same.html, HasSubstr("<th scope=\"row\">ranks</th><td>1</td><td>4</td>"));
  EXPECT_THAT(same.html, Not(HasSubstr("<th scope=\"row\">hosts</th>")));
  // No host is named once a rank.
  EXPECT_THAT(make_report(runs, kWithout).html,
              HasSubstr("<th scope=\"row\">hosts</th><td>node1</td><td>node1</td>"
                        "<td>&lt;b&gt;</td>"));
}

TEST_F(ReportTest, SaysTheDecisionsInWords) {
  const auto run = make("run", {});
  replace_file(
      run / "decisions.jsonl",
      R"({"epoch":9,"step":900,"monitor":"accuracy","metric_before":0.99,"metric_after":0.98,)"
      R"("learning_rate_before":0.001,"learning_rate_after":0.0005,"best":false,"stop":false,)"
      R"("reason":"no gain for 3 epochs: learning rate 0.001 -> 0.0005"})"
      "\n");
  EXPECT_THAT(report(run).html,
              HasSubstr("epoch 9: no gain for 3 epochs: learning rate 0.001 -&gt; 0.0005"));
}

TEST_F(ReportTest, OfARunThatHasJustBegun) {
  const auto run = parent_ / "run";
  lockstep::create_directories(run);
  replace_file(run / "config.ini", "# Model and machine\nmodel = lenet\n");
  const Report page = report(run);
  EXPECT_THAT(page.html, HasSubstr("There is no evaluation yet"));
  EXPECT_THAT(page.html, HasSubstr("launch.json is not there"));
  EXPECT_THAT(page.warnings, IsEmpty());  // nothing to draw, so nothing is missed
}

}  // namespace
}  // namespace lockstep
