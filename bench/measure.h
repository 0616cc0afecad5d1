// bench/measure.h -- time, processor time, samples, processes, and the tables it all ends in.
//
// Numbers of different runs and machines say little beside each other. So each row is a ratio against a peer
// that was measured in the same run, in turns with us, and every table says which machine it was.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace banyan::bench {

double now_us();           // monotonic
double cpu_us(pid_t pid);  // user and system, of a process that runs; 0: ours
double family_cpu_us();    // of ours, and of our children that have ended
double machine_cpu_us();   // of all processes on all processors, in hundredths of a second
double load();             // how many others want a processor
constexpr pid_t kOurselves = 0;
constexpr int kAnywhere = -1;
void pin(pid_t pid, int processor);

[[noreturn]] void die(const std::string& why);
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  double quantile(double share) const;  // 0 when empty
  double median() const { return quantile(0.5); }
  double p99() const { return quantile(0.99); }
  std::size_t size() const { return values_.size(); }

 private:
  std::vector<double> values_;
};

// "3.4 us (p99 5.1)", or in ms, from samples in microseconds.
std::string in_us(const Samples& samples);
std::string in_ms(const Samples& samples);

// A program run to its end with /dev/null as input and output; dies, with what the program said, when it
// fails. Returns how long it took, in microseconds.
using Words = std::vector<std::string>;
double run_program(const Words& argv,
                   const std::vector<std::pair<std::string, std::string>>& environment = {});

// What it wrote to its standard output; dies when it fails.
std::string output_of(const Words& argv);

// Debian's: the modules of its packages are there, whatever `python3` is on the way.
constexpr const char* kDebianPython = "/usr/bin/python3";
bool python_has(const std::string& module);

// Files beside this program: "bench_true", "../banyan".
std::string beside_us(const std::string& name);

// A folder that is gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A limit, with what we would like better in brackets; 0: no such aim.
struct Budget {
  double must = 0, aim = 0;
};

// A Markdown table, printed when it dies. Its last column says met, missed, or nothing where there is no
// budget.
class Table {
 public:
  Table(std::string title, std::string how);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  ~Table();

  void note(std::string sentence) { notes_.push_back(std::move(sentence)); }
  // `ratio` is ours to the peer's. At most, for times; at least, for rates.
  void at_most(const std::string& what, const std::string& ours, const std::string& peer, double ratio,
               Budget budget);
  void at_least(const std::string& what, const std::string& ours, const std::string& peer, double ratio,
                Budget budget);
  // Beside a peer in another measure than a ratio, or beside nobody: `value` in `unit` against the budget.
  void within(const std::string& what, const std::string& ours, const std::string& peer, double value,
              const std::string& unit, Budget budget);
  void plain(const std::string& what, const std::string& ours, const std::string& peer, double ratio);

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> notes_;
};

// "4 x Intel ..., Linux 6.1, load 0.3"
std::string machine();

}  // namespace banyan::bench
