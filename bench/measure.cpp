#include "bench/measure.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/fd.h"

namespace banyan::bench {

namespace {

double in_microseconds(const timespec& time) {
  return double(time.tv_sec) * 1e6 + double(time.tv_nsec) / 1e3;
}

// Columns of code points, so that the table stands straight on a terminal too.
std::size_t width(const std::string& text) {
  return std::size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string limit_text(Budget budget, const char* sign, const char* unit) {
  if (budget.must == 0) return "";
  std::string text = format("%s %g%s", sign, budget.must, unit);
  if (budget.aim != 0) text += format(" (%g)", budget.aim);
  return text;
}

}  // namespace

double now_us() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return in_microseconds(time);
}

double cpu_us(pid_t pid) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  timespec time{};
  if (pid != kOurselves && ::clock_getcpuclockid(pid, &clock) != 0) die("no clock of a process of ours");
  ::clock_gettime(clock, &time);
  return in_microseconds(time);
}

double family_cpu_us() {
  rusage ended{};
  ::getrusage(RUSAGE_CHILDREN, &ended);
  const double seconds = double(ended.ru_utime.tv_sec + ended.ru_stime.tv_sec);
  return cpu_us(kOurselves) + seconds * 1e6 + double(ended.ru_utime.tv_usec + ended.ru_stime.tv_usec);
}

double machine_cpu_us() {
  std::ifstream stat("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, hard = 0, soft = 0;
  stat >> name >> user >> nice >> system >> idle >> waiting >> hard >> soft;
  return (user + nice + system + hard + soft) / double(::sysconf(_SC_CLK_TCK)) * 1e6;
}

double load() {
  double average = 0;
  return ::getloadavg(&average, 1) == 1 ? average : 0;
}

void pin(pid_t pid, int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int count = int(::sysconf(_SC_NPROCESSORS_ONLN));
  for (int i = 0; i < count; ++i)
    if (processor == kAnywhere || i == processor % count) CPU_SET(i, &set);
  if (::sched_setaffinity(pid, sizeof set, &set) != 0) die("cannot pin a process to a processor");
}

void die(const std::string& why) {
  std::fflush(stdout);
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

std::string format(const char* pattern, ...) {
  char text[2048];
  va_list values;
  va_start(values, pattern);
  std::vsnprintf(text, sizeof text, pattern, values);
  va_end(values);
  return text;
}

double Samples::quantile(double share) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  return sorted[std::min(sorted.size() - 1, std::size_t(share * double(sorted.size())))];
}

std::string in_us(const Samples& samples) {
  return format("%.1f us (p99 %.1f)", samples.median(), samples.p99());
}

std::string in_ms(const Samples& samples) {
  return format("%.2f ms (p99 %.2f)", samples.median() / 1e3, samples.p99() / 1e3);
}

double run_program(const Words& argv, const std::vector<std::pair<std::string, std::string>>& environment) {
  std::vector<char*> words, variables;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::vector<std::string> added;
  for (const auto& [name, value] : environment) added.push_back(name + "=" + value);
  for (std::string& variable : added) variables.push_back(variable.data());  // the first of a name counts
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  variables.push_back(nullptr);

  Result<FdPair> said = make_pipe();
  if (!said) die("no pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, said->second.get(), 2);
  pid_t pid = -1;
  const double began = now_us();
  const int error = ::posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), variables.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) die(argv[0] + ": " + std::strerror(error));
  int status = 0;
  retry([&] { return ::waitpid(pid, &status, 0); });
  const double took = now_us() - began;
  if (status != 0) {
    char complaint[4096];
    said->second.reset();
    const ssize_t bytes = retry([&] { return ::read(said->first.get(), complaint, sizeof complaint); });
    std::string line;
    for (const std::string& word : argv) line += word + " ";
    die(line + "failed: " + std::string(complaint, bytes > 0 ? std::size_t(bytes) : 0));
  }
  return took;
}

std::string output_of(const Words& argv) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/output";
  Words words = {"sh", "-c", "file=$1; shift; \"$@\" >\"$file\"", "sh", file};
  words.insert(words.end(), argv.begin(), argv.end());
  run_program(words);
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool python_has(const std::string& module) {
  if (::access(kDebianPython, X_OK) != 0) return false;
  return output_of({"sh", "-c",
                    std::string(kDebianPython) + " -c 'import " + module +
                        "' 2>/dev/null && echo yes || echo no"}) == "yes\n";
}

std::string beside_us(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).lexically_normal();
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = std::filesystem::temp_directory_path() / "banyan-bench.XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) die("no temporary folder");
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Table::Table(std::string title, std::string how) {
  std::printf("\n### %s\n\n%s\n", title.c_str(), how.c_str());
  std::fflush(stdout);
  rows_.push_back({"", "banyan", "peer", "compared", "budget (aim)", ""});
}

Table::~Table() {
  std::vector<std::size_t> widths(rows_[0].size());
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::printf("\n");
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      std::printf("| %s%s ", rows_[r][i].c_str(), std::string(widths[i] - width(rows_[r][i]), ' ').c_str());
    std::printf("|\n");
    if (r > 0) continue;
    for (const std::size_t columns : widths) std::printf("|%s", std::string(columns + 2, '-').c_str());
    std::printf("|\n");
  }
  for (const std::string& sentence : notes_) std::printf("\n%s\n", sentence.c_str());
  std::fflush(stdout);
}

void Table::at_most(const std::string& what, const std::string& ours, const std::string& peer, double ratio,
                    Budget budget) {
  rows_.push_back({what, ours, peer, format("%.2f x", ratio), limit_text(budget, "<=", " x"),
                   ratio <= budget.must ? "met" : "**missed**"});
}

void Table::at_least(const std::string& what, const std::string& ours, const std::string& peer, double ratio,
                     Budget budget) {
  rows_.push_back({what, ours, peer, format("%.2f x", ratio), limit_text(budget, ">=", " x"),
                   ratio >= budget.must ? "met" : "**missed**"});
}

void Table::within(const std::string& what, const std::string& ours, const std::string& peer, double value,
                   const std::string& unit, Budget budget) {
  rows_.push_back({what, ours, peer, format("%.3g %s", value, unit.c_str()),
                   limit_text(budget, "<=", (" " + unit).c_str()),
                   value <= budget.must ? "met" : "**missed**"});
}

void Table::plain(const std::string& what, const std::string& ours, const std::string& peer, double ratio) {
  rows_.push_back({what, ours, peer, ratio == 0 ? "" : format("%.2f x", ratio), "", ""});
}

std::string machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line, model = "unknown processor";
  while (std::getline(cpuinfo, line)) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) != 0 || colon == std::string::npos) continue;
    model = line.substr(colon + 2);
    break;
  }
  utsname kernel{};
  ::uname(&kernel);
  return format("%ld x %s, %s %s", ::sysconf(_SC_NPROCESSORS_ONLN), model.c_str(), kernel.sysname,
                kernel.release);
}

}  // namespace banyan::bench
