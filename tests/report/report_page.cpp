// Makes pages without LibTorch or MPI, for page_test.py: report_page sample DIR SEED EPOCHS WANTED
// RANKS writes a sample run, report_page page FILE GNUPLOT DIR... its page, report_page data FILE
// GNUPLOT PATH [TEST_DATA] that of a data set.
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/report/data_page.h"
#include "lockstep/report/report.h"
#include "sample_run.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 6 && arguments[0] == "sample") {
      lockstep::test::SampleRun sample;
      sample.seed = std::stoull(arguments[2]);
      sample.epochs = std::stoll(arguments[3]);
      sample.epochs_wanted = std::stoll(arguments[4]);
      sample.ranks = std::stoll(arguments[5]);
      sample.test = sample.epochs == sample.epochs_wanted;
      sample.learning_rate = sample.seed % 2 == 1 ? "0.001" : "0.002";
      lockstep::test::write_sample_run(arguments[1], sample);
      return 0;
    }
    if (arguments.size() >= 4 && arguments[0] == "page") {
      const std::vector<std::filesystem::path> runs(arguments.begin() + 3, arguments.end());
      const lockstep::Report report =
          lockstep::make_report(runs, {.gnuplot = arguments[2], .progress = {}});
      for (const std::string& warning : report.warnings)
        std::fprintf(stderr, "%s\n", warning.c_str());
      lockstep::replace_file(arguments[1], report.html);
      return 0;
    }
    if ((arguments.size() == 4 || arguments.size() == 5) && arguments[0] == "data") {
      lockstep::DataOptions options;
      options.data = arguments[3];
      if (arguments.size() == 5) options.test_data = arguments[4];
      const lockstep::DataPage page =
          lockstep::make_data_page(lockstep::inspect_data(options),
                                   {.augmentation = {}, .gnuplot = arguments[2], .progress = {}});
      lockstep::replace_file(arguments[1], page.html);
      return 0;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::fputs("usage: see the source\n", stderr);
  return 64;
}
