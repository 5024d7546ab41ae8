#include "lockstep/records/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <limits>
#include <string>
#include <vector>

namespace lockstep {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

// A terminal that understands \r, \n and where its lines end.
struct Screen {
  std::vector<std::string> lines{""};
  std::size_t column = 0;
  int columns = 80;
  int writes = 0;
  bool wrapped = false;
  double now = 1000;

  void write(std::string_view text) {
    ++writes;
    for (const char c : text) {
      if (c == '\r') {
        column = 0;
      } else if (c == '\n') {
        lines.emplace_back();
        column = 0;
      } else {
        wrapped = wrapped || column >= static_cast<std::size_t>(columns) - 1;
        lines.back().resize(std::max(lines.back().size(), column + 1), ' ');
        lines.back()[column++] = c;
      }
    }
  }
  std::string line(std::size_t i) const {
    const std::string& line = lines.at(i);
    return line.substr(0, line.find_last_not_of(' ') + 1);
  }
  ProgressOutput output(bool is_terminal) {
    return {.write = [this](std::string_view text) { write(text); },
            .is_terminal = is_terminal,
            .width = [this] { return columns; },
            .now = [this] { return now; }};
  }
};

TEST(ProgressOnATerminal, ShowsOneLineAnEpoch) {
  Screen screen;
  screen.columns = 120;
  Progress progress(screen.output(true));
  for (int epoch = 1; epoch <= 2; ++epoch) {
    progress.begin_epoch(epoch, 30, 100);
    for (int step = 1; step <= 100; ++step) {
      screen.now += 1;
      progress.update(step, 0.25, 0.9375, 25119.7);
      EXPECT_EQ(screen.lines.size(), static_cast<std::size_t>(epoch));
      if (step == 10) {
        EXPECT_EQ(screen.line(screen.lines.size() - 1),
                  "epoch " + std::to_string(epoch) +
                      "/30  step 10/100  25120 samples/s  loss 0.2500  accuracy 93.75 %  "
                      "1 min 30 s left");
      }
    }
    EXPECT_THAT(screen.line(screen.lines.size() - 1), EndsWith("0.0 s left"));
    progress.end_epoch("done " + std::to_string(epoch));
  }
  EXPECT_EQ(screen.lines.size(), 3U);
  EXPECT_EQ(screen.line(0), "done 1");
  EXPECT_EQ(screen.line(1), "done 2");
  EXPECT_EQ(screen.line(2), "");
  EXPECT_FALSE(screen.wrapped);
}

TEST(ProgressOnATerminal, LeavesNothingOfALongerLine) {
  Screen screen;
  screen.columns = 200;
  Progress progress(screen.output(true));
  progress.begin_epoch(1, 1, 100);
  screen.now += 1000;
  progress.update(1, 1e10, 1, 1e10);  // 1 day left
  const std::string longer = screen.line(0);
  screen.now += 1;
  progress.update(99, 1, 1, 1);
  EXPECT_LT(screen.line(0).size(), longer.size());
  EXPECT_THAT(screen.line(0), EndsWith(" left"));
  EXPECT_EQ(screen.line(0).find("left"), screen.line(0).rfind("left"));
}

TEST(ProgressOnATerminal, NeverWrapsWhateverTheWidth) {
  Screen screen;
  Progress progress(screen.output(true));
  progress.begin_epoch(1, 1, 1'000'000);
  for (int step = 1; step < 400; ++step) {
    screen.columns = step < 200 ? step : 400 - step;  // a window that is resized all the time
    screen.now += 1;
    progress.update(step, 0.5, 0.5, 1e6);
    ASSERT_FALSE(screen.wrapped) << screen.columns;
    ASSERT_EQ(screen.lines.size(), 1U);
  }
}

TEST(ProgressOnATerminal, IsRewrittenAtMostTenTimesASecond) {
  Screen screen;
  Progress progress(screen.output(true));
  progress.begin_epoch(1, 1, 10'001);
  progress.update(1, 1, 0, 1);
  EXPECT_EQ(screen.writes, 1);  // the first at once
  for (int step = 2; step <= 10'000; ++step) {
    screen.now += 0.001;
    progress.update(step, 1, 0, 1);
  }
  EXPECT_GE(screen.writes, 90);
  EXPECT_LE(screen.writes, 101);
  const int before = screen.writes;
  progress.update(10'001, 1, 0, 1);  // the last whenever it comes
  EXPECT_EQ(screen.writes, before + 1);
}

TEST(ProgressOnATerminal, CountsOnlyTheStepsOfThisStart) {
  Screen screen;
  screen.columns = 120;
  Progress progress(screen.output(true));
  progress.begin_epoch(3, 30, 100, 90);
  screen.now += 5;
  progress.update(95, 1, 0, 1);
  EXPECT_THAT(screen.line(0), EndsWith("5.0 s left"));
}

TEST(ProgressOnATerminal, AnOpenLineIsEnded) {
  Screen screen;
  {
    Progress progress(screen.output(true));
    progress.begin_epoch(1, 1, 10);
    progress.update(1, 1, 0, 1);
  }
  EXPECT_EQ(screen.lines.size(), 2U);
  {
    Progress progress(screen.output(true));
    progress.begin_epoch(1, 1, 10);
    progress.end_epoch("nothing to do");
  }
  EXPECT_EQ(screen.lines.size(), 3U);
  EXPECT_EQ(screen.line(1), "nothing to do");
}

TEST(Progress, ShowsWhatIsNotANumber) {
  Screen screen;
  screen.columns = 120;
  Progress progress(screen.output(true));
  progress.begin_epoch(1, 1, 0);
  progress.update(0, std::numeric_limits<double>::quiet_NaN(), 0, 0);
  EXPECT_THAT(screen.line(0), HasSubstr("loss nan"));
  EXPECT_THAT(screen.line(0), EndsWith("0.0 s left"));
}

TEST(ProgressInAPipe, WritesPlainLinesAtIntervals) {
  std::string text;
  double now = 0;
  Progress progress({.write = [&](std::string_view part) { text += part; },
                     .is_terminal = false,
                     .width = [] { return 20; },
                     .now = [&] { return now; }});
  progress.begin_epoch(1, 2, 100);
  for (int step = 1; step <= 100; ++step) {
    now += 1;
    progress.update(step, 0.5, 0.25, 100);
  }
  progress.end_epoch("epoch 1 done");
  progress.begin_epoch(2, 2, 29);
  for (int step = 1; step <= 29; ++step) {
    now += 1;
    progress.update(step, 0.5, 0.25, 100);
  }
  progress.end_epoch("epoch 2 done");
  EXPECT_EQ(
      text,
      "epoch 1/2  step 30/100  100 samples/s  loss 0.5000  accuracy 25.00 %  1 min 10 s left\n"
      "epoch 1/2  step 60/100  100 samples/s  loss 0.5000  accuracy 25.00 %  40.0 s left\n"
      "epoch 1/2  step 90/100  100 samples/s  loss 0.5000  accuracy 25.00 %  10.0 s left\n"
      "epoch 1 done\n"
      "epoch 2 done\n");
}

TEST(ProgressOutput, WritesToAStream) {
  char* memory = nullptr;
  std::size_t size = 0;
  std::FILE* stream = ::open_memstream(&memory, &size);
  ASSERT_NE(stream, nullptr);
  const ProgressOutput output = ProgressOutput::to(stream, true);
  output.write("\rabc");
  EXPECT_EQ(std::string(memory, size), "\rabc");  // flushed
  EXPECT_EQ(output.width(), 80);                  // no terminal to ask
  const double before = output.now();
  EXPECT_GE(output.now(), before);
  EXPECT_FALSE(ProgressOutput::is_wide_terminal(stream));
  std::fclose(stream);
  ::free(memory);
}

TEST(ProgressOutput, ATerminalHasAWidth) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0) GTEST_SKIP() << "no pseudo-terminals here";
  std::FILE* stream = ::fdopen(terminal, "r+");
  ASSERT_NE(stream, nullptr);
  EXPECT_FALSE(ProgressOutput::is_wide_terminal(stream));
  EXPECT_FALSE(ProgressOutput::to(stream).is_terminal);
  EXPECT_EQ(ProgressOutput::to(stream).width(), 80);
  winsize size{};
  size.ws_col = 97;
  ASSERT_EQ(::ioctl(terminal, TIOCSWINSZ, &size), 0);
  EXPECT_TRUE(ProgressOutput::to(stream).is_terminal);
  EXPECT_EQ(ProgressOutput::to(stream).width(), 97);
  std::fclose(stream);
}

}  // namespace
}  // namespace lockstep
