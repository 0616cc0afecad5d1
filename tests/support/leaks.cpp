#include "tests/support/leaks.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace banyan::test {
namespace {

using Clock = std::chrono::steady_clock;

// How long a process that was told to end may take to do so, on a busy machine and under a sanitizer.
constexpr std::chrono::seconds kEndIn{5};

std::set<int> open_descriptors() {
  std::set<int> open;
  DIR* folder = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') open.insert(std::atoi(entry->d_name));
  }
  open.erase(::dirfd(folder));
  ::closedir(folder);
  return open;
}

std::string target_of(int descriptor) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), error).string();
}

// Our children, the adopted ones included. Not from /proc/self/task/*/children: not every kernel has that.
std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    std::getline(file, line);
    const std::size_t name_end = line.rfind(')');  // the name may hold anything; behind it: " S PPID ..."
    if (name_end == line.npos || line.size() < name_end + 4) continue;
    if (std::atoi(line.c_str() + name_end + 4) == ::getpid()) found.push_back(pid);
  }
  return found;
}

std::string command_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string command((std::istreambuf_iterator<char>(file)), {});
  for (char& c : command) {
    if (c == '\0') c = ' ';
  }
  return command;
}

// What stage 0 makes in the folders it tries (bootstrap/stage0.sh). Tests that run beside us make some too.
std::set<std::string> images() {
  std::set<std::string> found;
  const char* home = std::getenv("HOME");
  for (const char* folder : {"/dev/shm", "/tmp", "/var/tmp", home != nullptr ? home : "/"}) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().filename().string().starts_with(".banyan-")) found.insert(entry.path().string());
    }
  }
  return found;
}

// What of banyan's shared memory is mapped (shm/segment.h).
std::multiset<std::string> shared_memory() {
  std::multiset<std::string> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t name = line.find("/memfd:banyan-shm");
    if (name != line.npos) found.insert(line.substr(name));
  }
  return found;
}

}  // namespace

LeakCheck::LeakCheck() {
  const char* base = std::getenv("TMPDIR");
  folder_ = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/banyan-test-XXXXXX";
  if (::mkdtemp(folder_.data()) == nullptr) {
    std::perror(folder_.c_str());
    std::exit(2);
  }
  ::setenv("TMPDIR", folder_.c_str(), 1);
  ::setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

LeakCheck::~LeakCheck() {
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

void LeakCheck::start() {
  descriptors_ = open_descriptors();
  images_ = images();
  shared_memory_ = shared_memory();
}

std::vector<std::string> LeakCheck::finish() {
  std::vector<std::string> leaks;
  for (int descriptor : open_descriptors()) {
    if (!descriptors_.contains(descriptor)) {
      leaks.push_back("descriptor " + std::to_string(descriptor) + ", " + target_of(descriptor));
    }
  }

  for (const std::string& name : shared_memory())
    if (!shared_memory_.contains(name)) leaks.push_back("shared memory " + name);

  const auto deadline = Clock::now() + kEndIn;
  for (;;) {
    const pid_t ended = ::waitpid(-1, nullptr, WNOHANG);
    if (ended < 0) break;  // no children
    if (ended > 0) continue;
    if (Clock::now() < deadline) {
      ::poll(nullptr, 0,
             10);  // there is no descriptor that says "the last of all children, adopted ones too, ended"
      continue;
    }
    for (pid_t pid : children()) {
      leaks.push_back("process " + std::to_string(pid) + ", " + command_of(pid));
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) files.push_back(entry.path());
  for (const auto& file : files) {
    leaks.push_back("file " + file.string());
    std::filesystem::remove_all(file, error);
  }
  // Those that stay: tests that run beside us make some and remove them all the time.
  std::set<std::string> left = images();
  std::erase_if(left, [this](const std::string& image) { return images_.contains(image); });
  while (!left.empty() && Clock::now() < deadline) {
    ::poll(nullptr, 0, 10);
    const std::set<std::string> now = images();
    std::erase_if(left, [&now](const std::string& image) { return !now.contains(image); });
  }
  for (const std::string& image : left) leaks.push_back("file " + image);
  return leaks;
}

}  // namespace banyan::test
