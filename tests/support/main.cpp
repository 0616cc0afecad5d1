// The main of every test program: Catch, plus what our tests need beside it.
//
//   unit_tests [core]               the tests of a folder
//   unit_tests [core/frame_test]    the tests of a file
//   unit_tests "a sentence"         one test
//   unit_tests --seed=N ...         replay: the same seed gives the same run (tests/support/seed.h)
//
// After each test it looks for descriptors, processes and temporary files that were not there before; a test
// that leaves one behind has failed. A test that called not_tested() counts as skipped. The last line is the
// tally that `./dev test` adds up.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>

#include "tests/support/leaks.h"
#include "tests/support/not_tested.h"
#include "tests/support/seed.h"
#include "tests/support/watchdog.h"

namespace banyan::test {
namespace {

std::uint64_t the_seed = 0;
LeakCheck* leak_check = nullptr;
std::size_t failed_tests = 0;
std::size_t passed_tests = 0;
std::size_t skipped_tests = 0;
std::map<std::string, std::string, std::less<>> lacks;  // of the running test: why, by key

// As the command line takes it: there a comma joins names.
std::string as_argument(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == ',' || c == '[' || c == '\\' || c == '"') out.push_back('\\');
    out.push_back(c);
  }
  return '"' + out + '"';
}

class Listener : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    name_ = info.name;
    watch_test(name_.c_str());
    lacks.clear();
    leak_check->start();
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    bool passed = stats.totals.testCases.failed == 0;
    for (const std::string& leak : leak_check->finish()) {
      std::printf("left behind by \"%s\": %s\n", stats.testInfo.name.c_str(), leak.c_str());
      passed = false;
    }
    ++(!passed ? failed_tests : lacks.empty() ? passed_tests : skipped_tests);
    for (const auto& [key, why] : lacks) {
      std::printf("skipped (%s): %s; \"%s\"\n", key.c_str(), why.c_str(), stats.testInfo.name.c_str());
    }
    if (!passed) {
      std::printf("replay: --seed=%llu %s\n", static_cast<unsigned long long>(the_seed),
                  as_argument(stats.testInfo.name).c_str());
    }
    std::fflush(stdout);
  }

 private:
  std::string name_;
};
CATCH_REGISTER_LISTENER(Listener)

// "…/tests/core/frame_test.cpp" gives its tests the tags [core] and [core/frame_test].
void tag_tests_with_their_files() {
  for (const Catch::TestCase& test : Catch::getRegistryHub().getTestCaseRegistry().getAllTests()) {
    std::string_view file = test.lineInfo.file;
    const std::size_t tests = file.rfind("tests/");
    if (tests != file.npos) file.remove_prefix(tests + std::strlen("tests/"));
    file = file.substr(0, file.rfind('.'));
    auto& info = const_cast<Catch::TestCase&>(test);  // Catch's own --filenames-as-tags does the same
    std::vector<std::string> tags = info.tags;
    tags.emplace_back(file);
    tags.emplace_back(file.substr(0, file.find('/')));
    Catch::setTags(info, tags);
  }
}

std::uint64_t number_or_die(std::string_view text) {
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    std::fprintf(stderr, "--seed and BANYAN_SEED take a number, not \"%.*s\"\n", int(text.size()),
                 text.data());
    std::exit(2);
  }
  return number;
}

// The seed comes from the command line, the environment, or chance, in that order.
std::uint64_t take_seed(int& argc, char** argv) {
  constexpr std::string_view kOption = "--seed=";
  std::uint64_t seed = std::random_device{}();
  if (const char* given = std::getenv("BANYAN_SEED")) seed = number_or_die(given);
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, kOption.size()) == kOption) {
      seed = number_or_die(argument.substr(kOption.size()));
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  argv[argc] = nullptr;
  return seed;
}

}  // namespace

std::uint64_t seed() {
  return the_seed;
}

void not_tested(std::string_view key, std::string_view why) {
  lacks.try_emplace(std::string(key), why);
}

}  // namespace banyan::test

int main(int argc, char** argv) {
  using namespace banyan::test;
  the_seed = take_seed(argc, argv);
  start_watchdog();
  LeakCheck check;
  leak_check = &check;

  Catch::Session session;
  tag_tests_with_their_files();
  const int usage = session.applyCommandLine(argc, argv);
  if (usage != 0) return usage;
  int code = session.run();
  const bool listing = passed_tests + failed_tests + skipped_tests == 0;
  if (!listing) {
    std::printf("tally: %zu passed, %zu failed, %zu skipped\n", passed_tests, failed_tests, skipped_tests);
    if (code == 0 && failed_tests > 0) code = 1;
  }
  return code;
}
