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

// A classification of something else: nothing is looked for, and no picture is missed.
TEST_F(ReportTest, OfSamplesThatAreNoImages) {
  const auto run = make("run", {});
  const Report images = report(run);
  EXPECT_THAT(images.html, HasSubstr(" test images"));
  std::string launch = read_text_file(run / "launch.json");
  launch.insert(launch.find("\"shape\""), "\"kind\": \"samples\", ");
  replace_file(run / "launch.json", launch);
  const Report page = report(run);
  for (const char* wrong : {" images", "data:image/png", "Images", ">image "}) {
    EXPECT_THAT(page.html, Not(HasSubstr(wrong)));
  }
  EXPECT_THAT(page.html, HasSubstr(" test samples"));
  EXPECT_THAT(page.html, HasSubstr("taken for <b>"));
  EXPECT_THAT(page.warnings, Not(Contains(HasSubstr("cannot be shown"))));
  launch.replace(launch.find("\"samples\", "), 9, "\"sounds\"");
  replace_file(run / "launch.json", launch);
  test::expect_error(ExitCode::kBadData,
                     "launch.json: data: kind sounds: expected images or samples",
                     [&] { report(run); });
}

TEST_F(ReportTest, ComparesRunsWithoutAnAccuracy) {
  std::vector<std::filesystem::path> runs{make("a", {}), make("b", {.seed = 2}),
                                          make("c", {.seed = 3})};
  const auto rename = [](const std::filesystem::path& run, const std::string& metric) {
    std::string launch = read_text_file(run / "launch.json");
    launch.insert(launch.find("\"data\""), "\"metric\": \"" + metric + "\", ");
    replace_file(run / "launch.json", launch);
    std::string records = read_text_file(run / "metrics.jsonl");
    for (std::size_t at; (at = records.find("\"accuracy\"")) != std::string::npos;) {
      records.replace(at, 10, "\"" + metric + "\"");
    }
    replace_file(run / "metrics.jsonl", records);
  };
  rename(runs[1], "error<1>");
  rename(runs[2], "error<1>");
  const auto heads = [](const Report& page) {
    std::vector<std::string> found;
    const std::string table = page.html.substr(page.html.find("<section id=\"results\""));
    for (std::size_t at = 0;
         (at = table.find("<th scope=\"row\">", at)) < table.find("</table>");) {
      at += 16;
      found.push_back(table.substr(at, table.find('<', at) - at));
    }
    return found;
  };
  const Report both = make_report(std::span(runs).first(2), kWithout);
  EXPECT_THAT(heads(both), testing::ElementsAre(
                               "Test accuracy", "Test errors", "Test error&lt;1&gt;", "Test loss",
                               "Best validation accuracy", "Best validation error&lt;1&gt;",
                               "Its loss", "Its epoch", "Expected calibration error",
                               "Samples per second", "Training time", "State"));
  EXPECT_THAT(both.html, HasSubstr("The highest test accuracy is "));
  const Report others = make_report(std::span(runs).last(2), kWithout);
  EXPECT_THAT(heads(others),
              testing::ElementsAre("Test error&lt;1&gt;", "Test loss",
                                   "Best validation error&lt;1&gt;", "Its loss", "Its epoch",
                                   "Samples per second", "Training time", "State"));
  EXPECT_THAT(others.html, HasSubstr("The lowest test loss is "));
  rename(runs[0], "distance");
  EXPECT_THAT(make_report(runs, kWithout).html, HasSubstr("They have different metrics."));
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
