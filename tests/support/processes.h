// tests/support/processes.h -- finding the processes a test has started, however they hide: by a mark in
// their environment, which every descendant inherits.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/text.h"

namespace banyan::test {

inline std::string read_file(const std::string& path) {
  std::string text;
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char bytes[4096];
  ssize_t count;
  while (file && (count = retry([&] { return ::read(file.get(), bytes, sizeof bytes); })) > 0)
    text.append(bytes, std::size_t(count));
  return text;
}

// One field of /proc/PID/stat after the name: 0 state, 1 parent, 2 group, 3 session. "" when it is gone.
inline std::string stat_field(pid_t pid, int field) {
  const std::string stat = read_file(cat("/proc/", pid, "/stat"));
  std::size_t at = stat.rfind(')');
  if (at == stat.npos) return "";
  at += 2;
  for (; field > 0; --field) at = stat.find(' ', at) + 1;
  return stat.substr(at, stat.find(' ', at) - at);
}

inline pid_t parent_of(pid_t pid) {
  return std::atoi(stat_field(pid, 1).c_str());
}

// False for one that only waits to be reaped.
inline bool is_running(pid_t pid) {
  const std::string state = stat_field(pid, 0);
  return !state.empty() && state != "Z" && state != "X";
}

// It is about to: its memory has gone, and so has, for anybody but root, the right to look at it.
inline bool is_exiting(pid_t pid) {
  constexpr unsigned long kExiting = 4;  // PF_EXITING of the kernel's flags
  return (std::strtoul(stat_field(pid, 6).c_str(), nullptr, 10) & kExiting) != 0;
}

// Those with NAME=VALUE in their environment: "MARK=123". Of one that keeps secrets only root may read the
// environment; it counts when its parent does, or when it is a child of ours.
inline std::vector<pid_t> processes_marked(const std::string& mark) {
  std::vector<pid_t> found, hidden;
  DIR* proc = ::opendir("/proc");
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == ::getpid() || !is_running(pid)) continue;
    const std::string file = cat("/proc/", pid, "/environ");
    if (::access(file.c_str(), R_OK) != 0) {
      if (errno == EACCES && is_running(pid) && !is_exiting(pid)) hidden.push_back(pid);
    } else if (read_file(file).find(mark) != std::string::npos) {
      found.push_back(pid);
    }
  }
  ::closedir(proc);
  for (bool is_complete = false; !is_complete;) {
    is_complete = true;
    for (pid_t& pid : hidden) {
      const pid_t parent = pid == 0 ? 0 : parent_of(pid);
      if (parent == 0 || (parent != ::getpid() && std::count(found.begin(), found.end(), parent) == 0))
        continue;
      found.push_back(std::exchange(pid, 0));
      is_complete = false;
    }
  }
  return found;
}

// Ends a child of ours that is a server, and reaps it. It is told again until it ends: one that looks at a
// flag and then sleeps in select(), as dropbear does, sleeps on when the signal comes in between.
inline void end_server(pid_t pid) {
  constexpr int kEndsInMs = 10'000, kAgainAfterMs = 50;
  for (int waited = 0; waited < kEndsInMs; waited += kAgainAfterMs) {
    ::kill(pid, SIGTERM);
    for (int i = 0; i < kAgainAfterMs; ++i) {
      if (retry([&] { return ::waitpid(pid, nullptr, WNOHANG); }) != 0) return;
      ::poll(nullptr, 0, 1);
    }
  }
  ::kill(pid, SIGKILL);
  retry([&] { return ::waitpid(pid, nullptr, 0); });
}

// Kills one that a command left in the background, and reaps it if it has become ours.
inline void kill_leftover(pid_t pid) {
  ::kill(pid, SIGKILL);
  retry([&] { return ::waitpid(pid, nullptr, 0); });
}

}  // namespace banyan::test
