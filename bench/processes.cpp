#include "bench/processes.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "bench/measure.h"
#include "core/fd.h"

namespace banyan::bench {

Children::~Children() {
  for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids_) retry([&] { return ::waitpid(pid, nullptr, 0); });
}

void Children::start(const std::function<void()>& main) {
  std::fflush(stdout);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) die("cannot fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    main();
    ::_exit(0);
  }
  pids_.push_back(pid);
}

void place_all(const Children& children, const std::vector<int>& processors) {
  pin(kOurselves, processors[0]);
  for (std::size_t i = 0; i < children.count(); ++i)
    pin(children.pid(i), processors[(i + 1) % processors.size()]);
}

bool has_children(pid_t pid) {
  std::ifstream file(format("/proc/%d/task/%d/children", pid, pid));
  pid_t child = 0;
  return bool(file >> child);
}

ProcessorTimes processor_times_of(pid_t pid) {
  std::ifstream file(format("/proc/%d/stat", pid));
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');  // a name may hold anything
  if (name_end == std::string::npos) die("a process of ours cannot be looked at");
  std::istringstream words(line.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) words >> skipped;  // state to cmajflt
  double user = 0, system = 0, reaped_user = 0, reaped_system = 0;
  words >> user >> system >> reaped_user >> reaped_system;
  const double tick_us = 1e6 / double(::sysconf(_SC_CLK_TCK));
  return {(user + system) * tick_us, (reaped_user + reaped_system) * tick_us};
}

double kib_in(const std::string& path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    double kib = 0;
    if (words >> first >> kib && first == field + ":") return kib;
  }
  return 0;
}

SharedCounters::SharedCounters(std::size_t count) : count_(count) {
  void* memory = ::mmap(nullptr, count * kStride * sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("no shared memory");
  counters_ = static_cast<std::uint64_t*>(memory);
}

SharedCounters::~SharedCounters() {
  ::munmap(counters_, count_ * kStride * sizeof(std::uint64_t));
}

std::uint64_t SharedCounters::sum() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count_; ++i) sum += *static_cast<volatile std::uint64_t*>(at(i));
  return sum;
}

}  // namespace banyan::bench
