// Resolving the command line and the settings file, and what is refused with which words.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/settings_table.h"
#include "refusal.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class SettingsFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "settingsXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string write(const std::string& content) const {
    const std::string path = directory_ / "run.ini";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::filesystem::path directory_;
};

TEST(ParseSettings, NothingGivenIsTheDefaults) {
  const ParsedSettings parsed = parse_settings({});
  EXPECT_EQ(settings_to_ini(parsed.settings), settings_to_ini(Settings{}));
  EXPECT_EQ(parsed.sources.size(), make_settings_table().size());
  for (const auto& [name, source] : parsed.sources) EXPECT_EQ(source, Source::kDefault) << name;
}

TEST(ParseSettings, TheDefaultsAreTheRecipe) {
  const Settings s = parse_settings({}).settings;
  EXPECT_EQ(s.train.epochs, 30);
  EXPECT_EQ(s.train.batch_size, 86);
  EXPECT_EQ(s.optimizer.name, "rmsprop");
  EXPECT_EQ(s.optimizer.rho, 0.9);
  EXPECT_EQ(s.optimizer.epsilon, 1e-8);
  EXPECT_EQ(s.schedule.name, "plateau");
  EXPECT_EQ(s.schedule.learning_rate, 1e-3);
  EXPECT_EQ(s.schedule.patience, 3);
  EXPECT_EQ(s.schedule.factor, 0.5);
  EXPECT_EQ(s.schedule.min_learning_rate, 1e-5);
  EXPECT_EQ(s.data.validation_fraction, 0.1);
  EXPECT_EQ(s.effective_augmentation().rotation, 10);
}

TEST(ParseSettings, BothSpellingsOfAValueAndOfAFlag) {
  const Arguments arguments{
      "--epochs",     "5",           "--batch-size=100", "--stratify",
      "--augment=no", "--data=/a=b", "--seed",           "18446744073709551615"};
  const Settings s = parse_settings(arguments).settings;
  EXPECT_EQ(s.train.epochs, 5);
  EXPECT_EQ(s.train.batch_size, 100);
  EXPECT_TRUE(s.data.stratify);
  EXPECT_FALSE(s.augment);
  EXPECT_EQ(s.data.data, "/a=b");
  EXPECT_EQ(s.train.seed, 18446744073709551615u);
  EXPECT_FALSE(s.effective_augmentation().enabled());
}

TEST(ParseSettings, EveryWordForYesAndNo) {
  for (const char* word : {"true", "yes", "on", "1"}) {
    EXPECT_TRUE(
        parse_settings(Arguments{std::string("--stratify=") + word}).settings.data.stratify);
  }
  for (const char* word : {"false", "no", "off", "0"}) {
    EXPECT_FALSE(parse_settings(Arguments{std::string("--augment=") + word}).settings.augment);
    EXPECT_FALSE(parse_settings(Arguments{"--augment", word}).settings.augment);
  }
}

// Names and message fragments of the one error that lists all of them.
struct Wrong {
  Arguments arguments;
  std::vector<std::string> lines;
};

TEST(ParseSettings, EveryWrongInputHasItsMessage) {
  const std::vector<Wrong> corpus{
      {{"--epoch", "3"}, {"--epoch: unknown option; did you mean --epochs?"}},
      {{"--epoch=3"}, {"--epoch: unknown option; did you mean --epochs?"}},
      {{"--xyzzy-plugh"}, {"--xyzzy-plugh: unknown option"}},
      {{"--no-augment"}, {"--no-augment: unknown option; did you mean --augment=no?"}},
      {{"--"}, {"--: unknown option"}},
      {{"--=3"}, {"--: unknown option"}},
      {{"---epochs"}, {"---epochs: unknown option; did you mean --epochs?"}},
      {{"train"}, {"train: unexpected argument"}},
      {{""}, {": unexpected argument"}},
      {{"-epochs", "3"},
       {"-epochs: unexpected argument; did you mean --epochs?", "3: unexpected argument"}},
      {{"--epochs", "3", "4"}, {"4: unexpected argument"}},
      {{"--stratify", "no", "x"}, {"x: unexpected argument"}},
      {{"--epochs"}, {"--epochs: a value is missing: must be an integer >= 1"}},
      {{"--epochs="}, {"--epochs: a value is missing: must be an integer >= 1"}},
      {{"--epochs", "--stratify"}, {"--epochs: a value is missing: must be an integer >= 1"}},
      {{"--config"}, {"--config: a value is missing"}},
      {{"--model", ""}, {"--model: a value is missing: must be a text"}},
      {{"--epochs", "abc"}, {"--epochs=abc: must be an integer >= 1"}},
      {{"--epochs", "3x"}, {"--epochs=3x: must be an integer >= 1"}},
      {{"--epochs", "3.5"}, {"--epochs=3.5: must be an integer >= 1"}},
      {{"--epochs", " 3"}, {"--epochs= 3: must be an integer >= 1"}},
      {{"--epochs", "+3"}, {"--epochs=+3: must be an integer >= 1"}},
      {{"--epochs", "0x10"}, {"--epochs=0x10: must be an integer >= 1"}},
      {{"--epochs", "0"}, {"--epochs=0: is out of range: must be an integer >= 1"}},
      {{"--epochs", "-1"}, {"--epochs=-1: is out of range: must be an integer >= 1"}},
      {{"--epochs", "99999999999999999999"},
       {"--epochs=99999999999999999999: is out of range: must be an integer >= 1"}},
      {{"--patience", "2147483648"},
       {"--patience=2147483648: is out of range: must be an integer >= 0"}},
      {{"--seed", "-1"}, {"--seed=-1: is out of range: must be an integer >= 0"}},
      {{"--seed", "18446744073709551616"},
       {"--seed=18446744073709551616: is out of range: must be an integer >= 0"}},
      {{"--seed", "-x"}, {"--seed=-x: must be an integer >= 0"}},
      {{"--rho", "1"}, {"--rho=1: is out of range: must be a number in [0, 1)"}},
      {{"--rho", "nan"}, {"--rho=nan: is out of range: must be a number in [0, 1)"}},
      {{"--max-minutes", "inf"}, {"--max-minutes=inf: is out of range: must be a number >= 0"}},
      {{"--max-minutes", "1e999"}, {"--max-minutes=1e999: is out of range: must be a number >= 0"}},
      {{"--learning-rate", "0"},
       {"--learning-rate=0: is out of range: must be a number in (0, 1000]"}},
      {{"--learning-rate", "1e-3f"}, {"--learning-rate=1e-3f: must be a number in (0, 1000]"}},
      {{"--learning-rate", "0,001"}, {"--learning-rate=0,001: must be a number in (0, 1000]"}},
      {{"--collective-timeout", "0"},
       {"--collective-timeout=0: is out of range: must be a number > 0"}},
      {{"--log-every-steps", "21"},
       {"--log-every-steps=21: is out of range: must be an integer from 1 to 20"}},
      {{"--stratify=maybe"},
       {"--stratify=maybe: must be yes or no (also true or false, on or off, 1 or 0)"}},
      {{"--optimizer", "rmsporp"},
       {"--optimizer=rmsporp: must be one of rmsprop, sgd, adamw; did you mean rmsprop?"}},
      {{"--optimizer", "Adam"}, {"--optimizer=Adam: must be one of rmsprop, sgd, adamw"}},
      {{"--out", "a\nb"}, {"--out=a\nb: contains a control character"}},
      {{"--data", "/x/caf\xE9"}, {"--data=/x/caf?: is not UTF-8: byte 7 of it is 0xE9"}},
      {{"--config", "\xC3"}, {"--config=?: is not UTF-8: byte 1 of it is 0xC3"}},
      {{"--epochs", "3", "--epochs", "3"}, {"--epochs: given twice, as '3' and '3'"}},
      {{"--epochs=3", "--epochs", "4"}, {"--epochs: given twice, as '3' and '4'"}},
      {{"--batch-size=8", "--batch-size-per-rank=4"},
       {"--batch-size-per-rank: excludes --batch-size: give one of them"}},
      {{"--nesterov"}, {"nesterov is set: it needs the optimizer sgd and momentum > 0"}},
      {{"--optimizer=sgd", "--nesterov"},
       {"nesterov is set: it needs the optimizer sgd and momentum > 0"}},
      {{"--virtual-ranks", "3"}, {"virtual-ranks: must be a power of two or 0, not 3"}},
      {{"--backend=nccl", "--device=cpu"},
       {"backend nccl: carries gradients between GPUs only, and device is cpu"}},
      {{"--convolution=fast", "--device=cuda"},
       {"convolution fast: runs on CPUs only, and device is cuda"}},
      {{"--resume=auto"}, {"resume auto: needs out, the run directory to look in"}},
      {{"--early-stopping=2", "--validation-fraction=0", "--schedule=constant"},
       {"early-stopping: needs a validation split: set validation-fraction above 0"}},
      {{"--inject-fault", "kil@load:rank=0;kill@load"},
       {"inject-fault: 'kil@load:rank=0': there is no kind 'kil', did you mean kill?; expected one "
        "of kill, stop, hang, throw, slow, nan, inf, flip",
        "inject-fault: 'kill@load': rank is missing: a number, or all"}},
      // Everything at once, in the order of command line, file, values, contradictions.
      {{"x", "--epoch=1", "--rho", "--batch-size=0", "--virtual-ranks=6", "--seed=x"},
       {"x: unexpected argument", "--epoch: unknown option; did you mean --epochs?",
        "--rho: a value is missing: must be a number in [0, 1)",
        "--seed=x: must be an integer >= 0",
        "--batch-size=0: is out of range: must be an integer >= 1",
        "virtual-ranks: must be a power of two or 0, not 6"}},
  };
  for (const auto& [arguments, lines] : corpus) {
    std::string expected;
    for (const std::string& line : lines) expected += (expected.empty() ? "" : "\n") + line;
    const auto [code, message] = refusal(arguments);
    EXPECT_EQ(code, ExitCode::kUsage) << testing::PrintToString(arguments);
    EXPECT_EQ(message, expected) << testing::PrintToString(arguments);
  }
}

TEST(ParseSettings, ContradictionsNameBothSides) {
  const auto message = [](Arguments arguments) { return refusal(arguments).message; };
  EXPECT_THAT(message({"--validation-fraction=0"}), HasSubstr("schedule plateau: needs"));
  EXPECT_THAT(message({"--virtual-ranks=4", "--batch-size-per-rank=8"}),
              HasSubstr("needs batch-size, not batch-size-per-rank"));
  EXPECT_THAT(message({"--virtual-ranks=4", "--scale-learning-rate"}),
              HasSubstr("excludes scale-learning-rate"));
  EXPECT_THAT(message({"--optimizer=adamw", "--momentum=0.9"}), HasSubstr("momentum is 0.9"));
  EXPECT_THAT(message({"--learning-rate=1e-6"}), HasSubstr("min-learning-rate is 1e-05"));
}

TEST(ParseSettings, ACombinationThatIsSensibleIsAccepted) {
  for (const Arguments& arguments :
       std::vector<Arguments>{{"--optimizer=sgd", "--momentum=0.9", "--nesterov"},
                              {"--virtual-ranks=1"},
                              {"--virtual-ranks=1024"},
                              {"--batch-size=8", "--batch-size-per-rank=0"},
                              {"--validation-fraction=0", "--schedule=constant"},
                              {"--validation-fraction=0", "--schedule", "one-cycle"},
                              {"--backend=nccl", "--device=cuda"},
                              {"--resume=auto", "--out=runs/x"},
                              {"--schedule=constant", "--learning-rate=1e-6"},
                              {"--data", ""},
                              {"--inject-fault", "kill@forward:rank=1,step=7; stop@load:rank=0"},
                              {"--inject-fault", ""},
                              {"--shift-x=-0"}}) {
    const auto [code, message] = refusal(arguments);
    EXPECT_EQ(code, ExitCode::kDone) << testing::PrintToString(arguments) << message;
  }
}

// Every name with a letter dropped, doubled or exchanged with its neighbour.
TEST(ParseSettings, EveryNearMissOfEveryNameGetsAHint) {
  std::vector<std::string> names;
  for (const Setting& setting : make_settings_table()) names.push_back(setting.name);
  for (const std::string& name : names) {
    for (std::size_t i = 0; i < name.size(); ++i) {
      std::vector<std::string> misses{name.substr(0, i) + name.substr(i + 1),
                                      name.substr(0, i) + name[i] + name.substr(i)};
      if (i + 1 < name.size()) {
        std::string exchanged = name;
        std::swap(exchanged[i], exchanged[i + 1]);
        misses.push_back(exchanged);
      }
      for (const std::string& miss : misses) {
        if (std::ranges::find(names, miss) != names.end()) continue;
        const auto [code, message] = refusal({"--" + miss + "=1"});
        EXPECT_EQ(code, ExitCode::kUsage);
        EXPECT_THAT(message, HasSubstr("unknown option; did you mean --")) << miss;
      }
    }
  }
}

TEST(ParseSettings, ASubcommandTakesItsOwnOptionsAndOnlyItsSettings) {
  const CommandLine evaluate{
      .options = {{"logits", "FILE", "write the logits"}, {"json", "", "print JSON"}},
      .settings = {"data", "threads"},
      .models = {}};
  const Arguments good{"--logits", "a.safetensors", "--json", "--data=x"};
  const ParsedSettings parsed = parse_settings(good, evaluate);
  EXPECT_THAT(parsed.options, ElementsAre(Pair("json", ""), Pair("logits", "a.safetensors")));
  EXPECT_EQ(parsed.settings.data.data, "x");
  EXPECT_EQ(parsed.sources.at("data"), Source::kCommandLine);

  EXPECT_EQ(refusal({"--epochs=3", "--json=1", "--logits", "--jsn"}, evaluate).message,
            "--epochs: is not used by this command\n--json: takes no value\n"
            "--logits: a value is missing\n--jsn: unknown option; did you mean --json?");
  EXPECT_EQ(refusal({"--json"}).message, "--json: unknown option");
  CommandLine own = evaluate;
  own.reasons["augment"] = "there are no images";
  EXPECT_EQ(refusal({"--augment", "--epochs=3"}, own).message,
            "--augment: is not used by this command: there are no images\n"
            "--epochs: is not used by this command");
}

TEST(ParseSettings, ARepeatableOptionKeepsItsValuesInOrder) {
  const CommandLine accepted{
      .positional = {.name = "FILE", .help = "files", .least = 0, .most = 9},
      .options = {{.name = "weights", .value_name = "DIR", .help = "", .repeatable = true},
                  {.name = "json", .value_name = "", .help = ""}},
      .settings = {},
      .models = {}};
  const std::vector<std::string> arguments{"--weights", "b",           "one", "--json",
                                           "two",       "--weights=a", "-"};
  const ParsedSettings parsed = parse_settings(arguments, accepted);
  EXPECT_EQ(parsed.lists.at("weights"), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(parsed.positional, (std::vector<std::string>{"one", "two", "-"}));
  EXPECT_FALSE(parsed.options.contains("weights"));
  EXPECT_TRUE(parsed.options.contains("json"));
  EXPECT_TRUE(parse_settings({}, accepted).lists.empty());
}

TEST(ParseSettings, ASubcommandTakesItsPositionalArguments) {
  const CommandLine report{.positional = {.name = "DIR", .help = "runs", .least = 1, .most = 3},
                           .options = {{"out", "FILE", "the page"}, {"watch", "", "go on"}},
                           .settings = {"log-level"},
                           .models = {}};
  const auto given = [&](const Arguments& arguments) {
    return parse_settings(arguments, report).positional;
  };
  EXPECT_THAT(given({"a"}), ElementsAre("a"));
  EXPECT_THAT(given({"a", "--out", "page", "b", "--watch", "-"}), ElementsAre("a", "b", "-"));
  EXPECT_THAT(given({"--watch", "a", "b", "--out=page"}), ElementsAre("a", "b"));

  // `out` is a setting too, which this command has no use for.
  const ParsedSettings parsed = parse_settings(Arguments{"a", "--out=page"}, report);
  EXPECT_THAT(parsed.options, ElementsAre(Pair("out", "page")));
  EXPECT_TRUE(parsed.settings.train.out.empty());
  EXPECT_EQ(parsed.sources.at("out"), Source::kDefault);

  EXPECT_EQ(refusal({"--watch"}, report).message, "DIR: is missing");
  EXPECT_EQ(refusal({"a", "b", "c", "d", "--watch", "e"}, report).message,
            "DIR: 5 are given, at most 3 can be");
  EXPECT_EQ(refusal({"a", "--watch", "--watch"}, report).message, "--watch: given twice");
  EXPECT_EQ(refusal({"a", "--out", ""}, report).message, "--out: is empty");
  EXPECT_EQ(refusal({"a", "--out="}, report).message,
            "--out: a value is missing: must be a path");
  EXPECT_EQ(refusal({"a", "-watch"}, report).message,
            "-watch: unexpected argument; did you mean --watch?");
  EXPECT_EQ(refusal({"a"}).message, "a: unexpected argument");
  CommandLine two = report;
  two.positional.least = 2;
  EXPECT_EQ(refusal({"a"}, two).message, "DIR: 2 are needed, 1 given");
}

TEST(ParseSettings, TheModelMustBeInTheRegistryWhenOneIsGiven) {
  const CommandLine train{.options = {}, .settings = {}, .models = {"digits-cnn", "lenet", "mlp"}};
  EXPECT_EQ(refusal({"--model=mlp"}, train).code, ExitCode::kDone);
  EXPECT_EQ(
      refusal({"--model=lenett"}, train).message,
      "model: there is no model 'lenett', did you mean lenet?; there are digits-cnn, lenet, mlp");
}

TEST(ParseSettings, EveryFileThatComesWithLockstepIsGood) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LOCKSTEP_SOURCE_DIR "/configs")) {
    const auto [code, message] = refusal({"--config", entry.path().string()});
    EXPECT_EQ(code, ExitCode::kDone) << message;
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST_F(SettingsFile, CommandLineBeatsFileBeatsDefaults) {
  const std::string path = write("epochs = 7\nbatch-size = 32\n");
  const ParsedSettings parsed = parse_settings(Arguments{"--config", path, "--epochs", "9"});
  EXPECT_EQ(parsed.settings.train.epochs, 9);
  EXPECT_EQ(parsed.settings.train.batch_size, 32);
  EXPECT_EQ(parsed.settings.optimizer.rho, 0.9);
  EXPECT_EQ(parsed.sources.at("epochs"), Source::kCommandLine);
  EXPECT_EQ(parsed.sources.at("batch-size"), Source::kFile);
  EXPECT_EQ(parsed.sources.at("rho"), Source::kDefault);
}

TEST_F(SettingsFile, TheCommandLineDisplacesWhatItExcludes) {
  const std::string global = write("batch-size = 32\n");
  Settings s = parse_settings(Arguments{"--config", global, "--batch-size-per-rank=8"}).settings;
  EXPECT_EQ(s.train.batch_size_per_rank, 8);
  EXPECT_EQ(s.train.batch_size, Settings{}.train.batch_size);
  s = parse_settings(Arguments{"--config", global, "--batch-size-per-rank=0"}).settings;
  EXPECT_EQ(s.train.batch_size, 32);
  const std::string per_rank = write("batch-size-per-rank = 8\n");
  s = parse_settings(Arguments{"--config", per_rank, "--batch-size=64"}).settings;
  EXPECT_EQ(s.train.batch_size_per_rank, 0);
  EXPECT_EQ(s.train.batch_size, 64);
  const std::string both = write("batch-size = 32\nbatch-size-per-rank = 8\n");
  const auto [code, message] = refusal({"--config", both});
  EXPECT_EQ(code, ExitCode::kUsage);
  EXPECT_EQ(message, both + ":2: batch-size-per-rank: excludes " + both +
                         ":1: batch-size: give one of them");
}

TEST_F(SettingsFile, CommentsBlanksQuotesAndLineEnds) {
  const std::string path = write(
      "# a comment\r\n\r\n  epochs=4 # passes\r\n\tdata = /a#b c \r\n"
      "test-data = \"  /x \"\"y\"\" # z\" # quoted\nout =\nstratify = yes");
  const Settings s = parse_settings(Arguments{"--config=" + path}).settings;
  EXPECT_EQ(s.train.epochs, 4);
  EXPECT_EQ(s.data.data, "/a#b c");
  EXPECT_EQ(s.data.test_data, "  /x \"y\" # z");
  EXPECT_EQ(s.train.out, "");
  EXPECT_TRUE(s.data.stratify);
}

TEST_F(SettingsFile, EveryBadLineIsNamed) {
  const std::string path = write(
      "epoch = 3\nepochs\n= 4\n[train]\nrho = 2\nseed =\nout = \"a\ndata = \"a\" b\n"
      "epochs = 1\nepochs = 2\n\nconfig = x\n");
  const auto [code, message] = refusal({"--config", path, "--patiense", "2"});
  EXPECT_EQ(code, ExitCode::kUsage);
  const std::string at = path + ":";
  EXPECT_EQ(message, "--patiense: unknown option; did you mean --patience?\n" +      //
                         at + "1: epoch: unknown setting; did you mean epochs?\n" +  //
                         at + "2: expected name = value\n" +                         //
                         at + "3: expected name = value\n" +                         //
                         at + "4: sections are not used here\n" +                    //
                         at + "7: the closing quote is missing\n" +                  //
                         at + "8: text after the closing quote\n" +                  //
                         at + "10: epochs: given twice, as '1' and '2'\n" +          //
                         at + "12: config: unknown setting\n" +                      //
                         at + "6: seed: must be an integer >= 0\n" +                 //
                         at + "5: rho = 2: is out of range: must be a number in [0, 1)");
}

TEST_F(SettingsFile, AMissingFileIsMissingInput) {
  const std::string path = directory_ / "none.ini";
  auto [code, message] = refusal({"--config", path});
  EXPECT_EQ(code, ExitCode::kInputMissing);
  EXPECT_EQ(message, path + ": cannot be opened: No such file or directory");
  EXPECT_EQ(refusal({"--config", directory_.string()}).code, ExitCode::kInputMissing);
  std::tie(code, message) = [&] {
    const Refusal both = refusal({"--config", path, "--epochs=0"});
    return std::pair(both.code, both.message);
  }();
  EXPECT_EQ(code, ExitCode::kUsage);
  EXPECT_THAT(message, HasSubstr("none.ini: cannot be opened"));
  EXPECT_THAT(message, HasSubstr("--epochs=0"));
}

TEST_F(SettingsFile, AFileOfSomethingElseGivesAShortMessage) {
  std::string noise;
  for (int i = 0; i < 5000; ++i) noise += static_cast<char>(i * 7919 % 251);
  const auto [code, message] = refusal({"--config", write(noise)});
  EXPECT_EQ(code, ExitCode::kUsage);
  EXPECT_LE(std::ranges::count(message, '\n'), 40);
  EXPECT_EQ(refusal({"--config", write(std::string(2 << 20, 'x'))}).code, ExitCode::kUsage);
}

// A run's config.ini is a file for every command.
TEST_F(SettingsFile, ValuesOfSettingsThatACommandDoesNotAcceptAreCheckedAndNotTaken) {
  const CommandLine accepted{.options = {}, .settings = {"seed"}, .models = {}};
  const std::string path = write("resume = auto\nseed = 7\nepochs = 3\n");
  const ParsedSettings parsed =
      parse_settings(std::vector<std::string>{"--config", path}, accepted);
  EXPECT_EQ(parsed.settings.train.seed, 7u);
  EXPECT_EQ(parsed.settings.train.resume, Settings{}.train.resume);
  EXPECT_EQ(parsed.settings.train.epochs, Settings{}.train.epochs);
  EXPECT_EQ(parsed.sources.at("epochs"), Source::kDefault);
  write("seed = 7\nepochs = none\n");
  try {
    parse_settings(std::vector<std::string>{"--config", path}, accepted);
    FAIL() << "epochs = none was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("run.ini:2: epochs = none"));
  }
}

TEST_F(SettingsFile, ADirectoryIsNone) {
  EXPECT_THAT(refusal({"--config", directory_.string()}).message, HasSubstr("is a directory"));
}

}  // namespace
}  // namespace lockstep
