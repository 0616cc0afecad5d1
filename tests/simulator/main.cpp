// simulator -- random trees, one for each seed, until one breaks what must hold.
//
//   simulator --seed=N             one seed
//   simulator --seed=N --trace     the same, and everything that happens in it, line by line
//   simulator --seed=N --count=M   M seeds from N on; ends with the first that fails
//
// The last line is "N seeds hold" or begins with "seed N breaks". Exit code: 0, or 1 when one fails.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tests/simulation/scenario.h"

namespace {

unsigned long long running = 0;

// An assertion, or worse: whose seed it was must not be lost.
void on_crash(int signal) {
  std::printf(
      "seed %llu breaks the program: signal %d\n  replay: build/tests/simulator/simulator --seed=%llu "
      "--trace\n",
      running, signal, running);
  std::fflush(stdout);
  ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace banyan::simulation;
  unsigned long long seed = 1, count = 1;
  bool trace = false, verbose = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--seed=")) {
      seed = std::strtoull(argv[i] + std::strlen("--seed="), nullptr, 10);
    } else if (argument.starts_with("--count=")) {
      count = std::strtoull(argv[i] + std::strlen("--count="), nullptr, 10);
    } else if (argument == "--trace") {
      trace = true;
    } else if (argument == "--verbose") {
      verbose = true;
    } else {
      std::fprintf(stderr, "usage: simulator [--seed=N] [--count=M] [--trace] [--verbose]\n");
      return 2;
    }
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) ::signal(signal, on_crash);
  for (running = seed; running < seed + count; ++running) {
    const Outcome outcome = Scenario(running, trace ? stdout : nullptr).run();
    if (verbose)
      std::printf(
          "seed %llu: %zu nodes, %zu calls, %zu streams, %zu faults, %zu attacks, %llu events, trace "
          "%016llx\n",
          running, outcome.nodes, outcome.calls, outcome.streams, outcome.faults, outcome.attacks,
          static_cast<unsigned long long>(outcome.events),
          static_cast<unsigned long long>(outcome.trace_hash));
    if (!outcome.broken) continue;
    std::printf("%s\n", outcome.report().c_str());
    return 1;
  }
  std::printf("%llu seeds hold\n", count);
  return 0;
}
