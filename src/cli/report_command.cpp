// lockstep report: pages of runs that are done or go on.
#include <signal.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "command_line.h"
#include "job_options.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/report/report.h"
#include "session.h"

namespace lockstep {

namespace {

constexpr int kInterval = 10;  // seconds

// Ctrl-C and TERM wait from here on until they are asked for.
class StopRequests {
 public:
  StopRequests() {
    ::sigemptyset(&signals_);
    ::sigaddset(&signals_, SIGINT);
    ::sigaddset(&signals_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  /// Whether one came within so many seconds, or before.
  bool come_within(int seconds) const {
    const timespec time{.tv_sec = seconds, .tv_nsec = 0};
    int number = 0;
    while ((number = ::sigtimedwait(&signals_, nullptr, &time)) < 0 && errno == EINTR) continue;
    return number > 0;
  }

 private:
  sigset_t signals_{};
};

class Pages {
 public:
  Pages(std::vector<std::filesystem::path> runs, std::filesystem::path file)
      : runs_(std::move(runs)), file_(std::move(file)) {}

  /// Writes the page anew, as one step. Returns whether any run goes on.
  bool write(int refresh_seconds) {
    const Report report =
        make_report(runs_, {.refresh_seconds = static_cast<double>(refresh_seconds),
                            .images = &images_,
                            .progress = {}});
    replace_file(file_, report.html);
    for (const std::string& warning : report.warnings) {
      if (told_.insert(warning).second) log_warning("{}", warning);
    }
    return report.running;
  }

 private:
  std::vector<std::filesystem::path> runs_;
  std::filesystem::path file_;
  ImageSource images_;
  std::set<std::string> told_;
};

void watch(Pages& pages, const std::filesystem::path& file, int interval) {
  const StopRequests stop;
  bool running = pages.write(interval);
  if (running) {
    log_info("{}: renewed every {} s while the run goes on; Ctrl-C ends that", file.string(),
             interval);
  }
  while (running) {
    if (stop.come_within(interval)) {
      pages.write(0);  // the browser need not ask any more
      break;
    }
    running = pages.write(interval);
  }
}

ExitCode run_report(const Command& command, std::span<const std::string> arguments) {
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  // Under mpirun every rank would write the same.
  if (launched_rank() > 0) return ExitCode::kDone;
  init_logging(log_level(parsed.settings.train.log_level), 0, 1);
  const auto given = [&](const char* name) { return parsed.options.contains(name); };
  if (given("interval") && !given("watch")) fail(ExitCode::kUsage, "--interval: needs --watch");
  const int interval =
      given("interval") ? to_int(parsed.options.at("interval"), "interval", 1, 86400) : kInterval;
  const std::vector<std::filesystem::path> runs(parsed.positional.begin(), parsed.positional.end());
  std::filesystem::path file = runs.size() == 1 ? runs[0] / "report.html" : "report.html";
  if (given("out")) file = parsed.options.at("out");
  if (std::error_code ignored; std::filesystem::is_directory(file, ignored)) {
    fail(ExitCode::kCannotCreate, "{}: is a directory, and no place for a page", file.string());
  }
  Pages pages(runs, file);
  if (given("watch")) {
    watch(pages, file, interval);
  } else {
    pages.write(0);
  }
  log_info("report: {}", file.string());
  return ExitCode::kDone;
}

}  // namespace

Command report_command() {
  return {.name = "report",
          .summary = "a page of a run, or of several side by side: one HTML file",
          .accepts = {.positional = {.name = "DIR",
                                     .help = "a run directory, of a run that is done or goes on; "
                                             "of several, the page compares them",
                                     .least = 1,
                                     .most = kMostRuns},
                      .options = {{"out", "FILE",
                                   "the page; default: report.html in the run directory, or here "
                                   "for several runs"},
                                  {"watch", "", "renew the page until the run has ended"},
                                  {"interval", "SECONDS", "with --watch: how often; default 10"}},
                      .settings = {"log-level"},
                      .models = {}},
          .run = run_report,
          .alone = true};
}

}  // namespace lockstep
