#include "core/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/fd.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434  // the same on every architecture, as the next
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

namespace banyan {

namespace {

// No malloc here (its lock may be held by a thread that fork left behind), so tables of the largest size are
// mapped and only the touched pages exist.
constexpr std::size_t kPidMax = 1 << 22;        // the kernel's own limit
constexpr std::size_t kProcessesMax = 1 << 16;  // the rest is found by the next sweep, when these are gone
constexpr int kBetweenSessionAndStart = 15;     // fields of /proc/PID/stat
constexpr int kPasses = 64;  // one is mostly enough: a parent's number is below its child's

struct Tables {
  std::uint8_t wanted[kPidMax / 8];
  Process processes[kProcessesMax];
  std::size_t count;

  bool is_wanted(pid_t pid) const {
    return std::size_t(pid) < kPidMax && (wanted[pid / 8] >> (pid % 8) & 1) != 0;
  }
  void want(pid_t pid) {
    if (std::size_t(pid) < kPidMax) wanted[pid / 8] |= std::uint8_t(1u << (pid % 8));
  }
};

// What getdents64 fills in.
struct DirectoryEntry {
  std::uint64_t inode;
  std::int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

// Reads a number, without its sign, and moves past it and one space.
std::int64_t take_number(const char*& at) {
  std::int64_t number = 0;
  if (*at == '-') ++at;  // what is none: the terminal's group, the nice value
  while (*at >= '0' && *at <= '9') number = number * 10 + (*at++ - '0');
  if (*at == ' ') ++at;
  return number;
}

// In a container /proc may be of another process namespace, and its numbers others'.
bool has_own_proc() {
  char self[16] = "";
  const char* at = self;
  return ::readlink("/proc/self", self, sizeof self - 1) > 0 && take_number(at) == ::getpid();
}

bool read_processes(Tables& tables) {
  if (!has_own_proc()) return false;
  const int proc = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  alignas(DirectoryEntry) char entries[4096];
  long bytes;
  while ((bytes = ::syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0) {
    for (long at = 0; at < bytes;) {
      auto* entry = reinterpret_cast<const DirectoryEntry*>(entries + at);
      at += entry->length;
      if (tables.count == kProcessesMax) break;
      const char* name = entry->name;
      const auto pid = pid_t(take_number(name));
      if (pid > 0 && *name == '\0' && read_process(pid, tables.processes[tables.count])) ++tables.count;
    }
  }
  ::close(proc);
  return true;
}

void send(const Process& process, int signal, Sweep& sweep) {
  const int error = signal_process(process, signal);
  sweep.signalled += error == 0;
  sweep.refused += error == EPERM;
}

Tables* map_tables() {
  void* at = ::mmap(nullptr, sizeof(Tables), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<Tables*>(at);  // the kernel's zeroes are what we start from
}

void mark_descendants(Tables& tables, pid_t root) {
  tables.want(root);
  for (int pass = 0; pass < kPasses; ++pass) {
    for (std::size_t i = 0; i < tables.count; ++i) {
      const Process& process = tables.processes[i];
      if (tables.is_wanted(process.parent)) tables.want(process.pid);
    }
  }
}

// Those beneath `root`, or, where that is 0, those of `session`.
Sweep signal_those(pid_t root, pid_t session, int signal, pid_t spared) {
  Sweep sweep;
  Tables* tables = map_tables();
  if (tables == nullptr) return sweep;
  sweep.has_proc = read_processes(*tables);
  mark_descendants(*tables, root);
  for (std::size_t i = 0; i < tables->count; ++i) {
    const Process& process = tables->processes[i];
    const bool is_meant =
        root == 0 ? process.session == session : process.pid != root && tables->is_wanted(process.pid);
    if (is_meant && (spared == 0 || process.group != spared)) send(process, signal, sweep);
  }
  ::munmap(tables, sizeof(Tables));
  return sweep;
}

}  // namespace

int open_pidfd(pid_t pid) {
  return int(::syscall(SYS_pidfd_open, pid, 0));
}

int send_by_pidfd(int pidfd, int signal) {
  return int(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

bool read_process(pid_t pid, Process& process) {
  char path[32] = "/proc/";
  char* end = path + std::strlen(path);
  for (pid_t rest = pid; rest > 0; rest /= 10) ++end;
  std::memcpy(end, "/stat", 6);
  for (pid_t rest = pid; rest > 0; rest /= 10) *--end = char('0' + rest % 10);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[512];
  const ssize_t bytes = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (bytes <= 0) return false;
  text[bytes] = '\0';
  // The name may hold anything, so from its last parenthesis on: ") S PARENT GROUP SESSION ..."
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || std::strlen(at) < 4 || at[2] == 'Z' || at[2] == 'X') return false;
  at += 4;
  process.pid = pid;
  process.parent = pid_t(take_number(at));
  process.group = pid_t(take_number(at));
  process.session = pid_t(take_number(at));
  for (int i = 0; i < kBetweenSessionAndStart; ++i) take_number(at);
  process.started = take_number(at);
  return true;
}

// The order is what makes it sure: whoever has the number when the pidfd is opened is held by it, and only
// then we look whether that is still who we mean.
int signal_process(const Process& process, int signal) {
  const Fd pidfd(open_pidfd(process.pid));
  Process now;
  if (!read_process(process.pid, now) || now.started != process.started) return ESRCH;
  const auto send = [&](int number) {
    if (pidfd && send_by_pidfd(pidfd.get(), number) == 0) return 0;
    if (pidfd && errno != ENOSYS) return errno;
    return ::kill(process.pid, number) == 0 ? 0 : errno;
  };
  const int error = send(signal);
  if (error == 0 && signal != SIGKILL) send(SIGCONT);
  return error;
}

Sweep signal_descendants(pid_t root, int signal, pid_t spared) {
  return signal_those(root, 0, signal, spared);
}

Sweep signal_session(pid_t session, int signal) {
  return signal_those(0, session, signal, 0);
}

}  // namespace banyan
