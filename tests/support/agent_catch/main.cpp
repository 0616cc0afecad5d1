// The main of unit_tests_agent: the unit tests against the code as it is shipped.
//
//   unit_tests_agent                     all tests
//   unit_tests_agent [core/frame_test]   those of a file; [core]: of a folder
//   unit_tests_agent "a sentence"        those whose name contains it
//   unit_tests_agent -[core/spawn_test]  all but those
//   unit_tests_agent --list
//   unit_tests_agent --seed=N ...        replay (tests/support/seed.h)
//
// A test that leaves a descriptor open has failed.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <utility>

#include "tests/support/not_tested.h"
#include "tests/support/seed.h"

namespace agent_catch {
namespace {

// Zero before any constructor runs, so that tests may register in whatever order.
TestCase* first_test;
TestCase* last_test;
const TestCase* current;
Note* innermost;
bool current_failed, current_skipped;
unsigned long checks;
unsigned passed, failed, skipped;
std::uint64_t the_seed;

constexpr int kDescriptorsLookedAt = 256;

int count_descriptors() {
  int count = 0;
  for (int fd = 0; fd < kDescriptorsLookedAt; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
  return count;
}

void say_replay() {
  std::printf("replay: --seed=%llu \"%s\"\n\n", static_cast<unsigned long long>(the_seed), current->name);
}

void say_tally() {
  std::printf("%lu checks\ntally: %u passed, %u failed, %u skipped\n", checks, passed, failed, skipped);
  std::fflush(stdout);
}

// An assertion of ours, or worse.
void on_crash(int signal) {
  ++failed;
  std::printf("signal %d in \"%s\" (%s:%d)\n", signal, current->name, current->place.file,
              current->place.line);
  say_replay();
  say_tally();
  ::_exit(1);
}

bool matches(const TestCase& test, std::string_view wanted) {
  if (wanted.size() > 2 && wanted.front() == '[' && wanted.back() == ']') {
    std::string_view file = test.place.file;
    file.remove_prefix(file.rfind("tests/") + strlen("tests/"));
    file = file.substr(0, file.rfind('.'));
    wanted = wanted.substr(1, wanted.size() - 2);
    return file == wanted || file.substr(0, file.find('/')) == wanted;
  }
  return std::string_view(test.name).find(wanted) != std::string_view::npos;
}

bool is_wanted(const TestCase& test, int count, char** filters) {
  bool any = false, found = false;
  for (int i = 0; i < count; ++i) {
    if (filters[i][0] == '-') {
      if (filters[i][1] != '-' && matches(test, filters[i] + 1)) return false;
      continue;
    }
    found = found || matches(test, filters[i]);
    any = true;
  }
  return found || !any;
}

void run(const TestCase& test) {
  current = &test;
  current_failed = current_skipped = false;
  const int before = count_descriptors();
  test.run();
  const int left = count_descriptors() - before;
  if (left != 0) {
    std::printf("left behind by \"%s\": %d descriptors\n", test.name, left);
    current_failed = true;
  }
  ++(current_failed ? failed : current_skipped ? skipped : passed);
  if (current_failed) say_replay();
}

}  // namespace

TestCase::TestCase(const char* the_name, Place where, void (*function)())
    : name(the_name), place(where), run(function) {
  (last_test != nullptr ? last_test->next : first_test) = this;
  last_test = this;
}

Note::Note(std::string what) : text(std::move(what)), outer(innermost) {
  innermost = this;
}
Note::~Note() {
  innermost = outer;
}

void check_passed() {
  ++checks;
}

void check_failed(const char* macro, const char* expression, const std::string& values, Place place,
                  bool must_hold) {
  ++checks;
  current_failed = true;
  std::printf("%s:%d: in \"%s\"\n  %s( %s )\n", place.file, place.line, current->name, macro, expression);
  if (!values.empty()) std::printf("  with %s\n", values.c_str());
  for (const Note* note = innermost; note != nullptr; note = note->outer)
    std::printf("  %s\n", note->text.c_str());
  if (!must_hold) return;
  ++failed;
  say_replay();
  say_tally();
  ::_exit(1);
}

}  // namespace agent_catch

std::uint64_t banyan::test::seed() {
  return agent_catch::the_seed;
}

void banyan::test::not_tested(std::string_view key, std::string_view why) {
  using namespace agent_catch;
  if (std::exchange(current_skipped, true)) return;
  std::printf("skipped (%.*s): %.*s; \"%s\"\n", int(key.size()), key.data(), int(why.size()), why.data(),
              current->name);
}

int main(int argc, char** argv) {
  using namespace agent_catch;
  bool list = false;
  const char* seed_text = ::getenv("BANYAN_SEED");
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--list") == 0) list = true;
    if (strncmp(argv[i], "--seed=", 7) == 0) seed_text = argv[i] + 7;
  }
  if (seed_text != nullptr)
    the_seed = ::strtoull(seed_text, nullptr, 10);
  else if (::getrandom(&the_seed, 4, 0) != 4)
    return 2;

  struct sigaction action = {};
  action.sa_handler = on_crash;
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::sigaction(signal, &action, nullptr);

  for (const TestCase* test = first_test; test != nullptr; test = test->next) {
    if (!is_wanted(*test, argc - 1, argv + 1)) continue;
    if (list)
      std::printf("%s\n", test->name);
    else
      run(*test);
  }
  if (list) return 0;
  if (passed + failed + skipped == 0) std::printf("no test has that name\n");
  say_tally();
  return passed + skipped > 0 && failed == 0 ? 0 : 1;
}
