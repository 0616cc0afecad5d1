// The main of a fuzzer where there is no libFuzzer: replays a corpus, then changes it at random for a while.
//
//   fuzz_frame tests/fuzz/corpus/frame               each file once
//   fuzz_frame --seconds=10 --seed=7 corpus...       and then ten seconds of changed ones
//
// It knows nothing of coverage, so it finds what is near the corpus. What broke the program is left in
// crash-<hash> in the folder it ran in; give that file as an argument to see it again.

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

// NOLINTBEGIN(readability-identifier-naming, bugprone-reserved-identifier): names that others chose
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());
// NOLINTEND(readability-identifier-naming, bugprone-reserved-identifier)

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kInputMax = 16 * 1024;  // longer ones find nothing more, slower
constexpr double kHangSeconds = 2;            // of the processor, for one input

Input current;

double seconds(clockid_t clock) {
  timespec time;
  ::clock_gettime(clock, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

void save_current() {
  std::uint64_t hash = 14695981039346656037u;
  for (std::uint8_t byte : current) hash = (hash ^ byte) * 1099511628211u;
  char name[40];
  std::snprintf(name, sizeof name, "crash-%016llx", static_cast<unsigned long long>(hash));
  const int fd = ::open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || ::write(fd, current.data(), current.size()) != ssize_t(current.size())) return;
  ::close(fd);
  std::fprintf(stderr, "the input is in %s (%zu bytes)\n", name, current.size());
}

void on_signal(int signal) {
  save_current();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void run(Input input) {
  current = std::move(input);
  const double begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
  LLVMFuzzerTestOneInput(current.data(), current.size());
  if (seconds(CLOCK_PROCESS_CPUTIME_ID) - begin > kHangSeconds) {
    std::fprintf(stderr, "took more than %g seconds\n", kHangSeconds);
    save_current();
    std::exit(1);
  }
}

void read_file(const std::string& path, std::vector<Input>& corpus) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    std::perror(path.c_str());
    std::exit(2);
  }
  Input input(1 << 20);
  input.resize(std::fread(input.data(), 1, input.size(), file));
  std::fclose(file);
  corpus.push_back(std::move(input));
}

void read_all(const std::string& path, std::vector<Input>& corpus) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return read_file(path, corpus);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder))
    if (entry->d_name[0] != '.') names.push_back(path + '/' + entry->d_name);
  ::closedir(folder);
  std::sort(names.begin(), names.end());  // so that a seed means the same everywhere
  for (const std::string& name : names) read_file(name, corpus);
}

class Mutator {
 public:
  Mutator(std::uint64_t seed, const std::vector<Input>& corpus) : state_(seed), corpus_(corpus) {}

  Input next() {
    Input input = corpus_.empty() ? Input() : corpus_[below(corpus_.size())];
    for (std::size_t i = 1 + below(8); i > 0; --i) change(input);
    if (input.size() > kInputMax) input.resize(kInputMax);
    return input;
  }

 private:
  std::size_t below(std::size_t end) {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t value = (state_ ^ state_ >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return (value ^ value >> 31) % end;
  }
  std::ptrdiff_t place(const Input& input) { return std::ptrdiff_t(below(input.size() + 1)); }

  void change(Input& input) {
    static constexpr std::uint32_t kInteresting[] = {0,          1,          0x7f,       0x80,      0xff,
                                                     0x100,      0x1000,     0xffff,     0x10000,   0x10001,
                                                     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    const std::size_t kind = input.empty() ? 2 : below(8);
    switch (kind) {
      case 0:
        input[below(input.size())] ^= std::uint8_t(1 << below(8));
        break;
      case 1:
        input[below(input.size())] = std::uint8_t(below(256));
        break;
      case 2: {  // a few bytes more
        const Input more(1 + below(8), std::uint8_t(below(256)));
        input.insert(input.begin() + place(input), more.begin(), more.end());
        break;
      }
      case 3: {  // a piece less
        const std::size_t from = below(input.size()),
                          count = 1 + below(std::min<std::size_t>(input.size() - from, 64));
        input.erase(input.begin() + std::ptrdiff_t(from), input.begin() + std::ptrdiff_t(from + count));
        break;
      }
      case 4:
        input.resize(below(input.size() + 1));
        break;
      case 5: {  // a number that has broken programs before, of any width, either way round
        const std::uint32_t number = kInteresting[below(sizeof kInteresting / sizeof kInteresting[0])];
        const std::size_t width = std::size_t(1) << below(3);
        if (input.size() < width) break;
        const std::size_t at = below(input.size() - width + 1);
        const bool big = below(2) != 0;
        for (std::size_t i = 0; i < width; ++i)
          input[at + i] = std::uint8_t(number >> (8 * (big ? width - 1 - i : i)));
        break;
      }
      case 6: {  // a piece of itself, once more
        const std::size_t from = below(input.size()),
                          count = 1 + below(std::min<std::size_t>(input.size() - from, 256));
        const Input piece(input.begin() + std::ptrdiff_t(from), input.begin() + std::ptrdiff_t(from + count));
        input.insert(input.begin() + place(input), piece.begin(), piece.end());
        break;
      }
      default: {  // its beginning and another's end
        const Input& other = corpus_[below(corpus_.size())];
        input.resize(below(input.size() + 1));
        input.insert(input.end(), other.begin() + place(other), other.end());
      }
    }
  }

  std::uint64_t state_;
  const std::vector<Input>& corpus_;
};

}  // namespace

int main(int argc, char** argv) {
  double duration = 0;
  std::uint64_t seed = 0;
  if (::getrandom(&seed, 4, 0) != 4) return 2;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, 10) == "--seconds=")
      duration = std::atof(argv[i] + 10);
    else if (argument.substr(0, 7) == "--seed=")
      seed = std::strtoull(argv[i] + 7, nullptr, 10);
    else
      read_all(argv[i], corpus);
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_current);
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::signal(signal, on_signal);

  std::printf("%zu files, then %g seconds with --seed=%llu\n", corpus.size(), duration,
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (const Input& input : corpus) run(input);
  Mutator mutator(seed, corpus);
  const double end = seconds(CLOCK_MONOTONIC) + duration;
  unsigned long runs = 0;
  while (seconds(CLOCK_MONOTONIC) < end) {
    run(mutator.next());
    ++runs;
  }
  std::printf("%lu changed inputs, nothing found\n", runs);
  return 0;
}
