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

namespace banyan {

namespace {

// No malloc here (its lock may be held by a thread that fork left behind), so tables of the largest size are
// mapped and only the touched pages exist.
constexpr std::size_t kPidMax = 1 << 22;        // the kernel's own limit
constexpr std::size_t kProcessesMax = 1 << 16;  // the rest is found by the next sweep, when these are gone
constexpr int kPassesMax = 64;                  // one is usual: a parent's number is mostly below its child's

struct Process {
  pid_t pid, parent, group, session;
};

struct Tables {
  std::uint8_t wanted[kPidMax / 8];
  Process processes[kProcessesMax];
  std::size_t count;

  bool is_wanted(pid_t pid) const {
    return pid > 0 && std::size_t(pid) < kPidMax && (wanted[pid / 8] >> (pid % 8) & 1) != 0;
  }
  void want(pid_t pid) {
    if (pid > 0 && std::size_t(pid) < kPidMax) wanted[pid / 8] |= std::uint8_t(1u << (pid % 8));
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

// Reads a number and moves past it and one space.
pid_t take_number(const char*& at) {
  long number = 0;
  const bool negative = *at == '-';
  if (negative) ++at;
  while (*at >= '0' && *at <= '9') number = number * 10 + (*at++ - '0');
  if (*at == ' ') ++at;
  return pid_t(negative ? -number : number);
}

// False for one that has ended, wholly or but for its parent's asking.
bool read_process(int proc, const char* name, Process& process) {
  char path[32];
  std::size_t length = 0;
  while (name[length] != '\0') {
    if (name[length] < '0' || name[length] > '9' || length > 10) return false;
    path[length] = name[length];
    ++length;
  }
  std::memcpy(path + length, "/stat", 6);
  const int fd = ::openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[512];
  const ssize_t bytes = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (bytes <= 0) return false;
  text[bytes] = '\0';
  // The name may hold anything, so from its last parenthesis on: ") S PARENT GROUP SESSION ..."
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || std::strlen(at) < 4 || at[2] == 'Z' || at[2] == 'X') return false;
  const char* number = name;
  process.pid = take_number(number);
  at += 4;
  process.parent = take_number(at);
  process.group = take_number(at);
  process.session = take_number(at);
  return true;
}

bool read_processes(Tables& tables) {
  const int proc = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return false;
  alignas(DirectoryEntry) char entries[4096];
  long bytes;
  while ((bytes = ::syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0) {
    for (long at = 0; at < bytes;) {
      auto* entry = reinterpret_cast<const DirectoryEntry*>(entries + at);
      at += entry->length;
      if (tables.count == kProcessesMax) break;
      if (read_process(proc, entry->name, tables.processes[tables.count])) ++tables.count;
    }
  }
  ::close(proc);
  return tables.count > 0;
}

void send(const Process& process, int signal, Sweep& sweep) {
  if (::kill(process.pid, signal) == 0) {
    ++sweep.signalled;
    if (signal != SIGKILL) ::kill(process.pid, SIGCONT);
  } else if (errno == EPERM) {
    ++sweep.refused;
  }
}

Tables* map_tables() {
  void* at = ::mmap(nullptr, sizeof(Tables), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<Tables*>(at);  // the kernel's zeroes are what we start from
}

void mark_descendants(Tables& tables, pid_t root) {
  tables.want(root);
  bool more = true;
  for (int pass = 0; more && pass < kPassesMax; ++pass) {
    more = false;
    for (std::size_t i = 0; i < tables.count; ++i) {
      const Process& process = tables.processes[i];
      if (tables.is_wanted(process.pid) || !tables.is_wanted(process.parent)) continue;
      tables.want(process.pid);
      more = true;
    }
  }
}

}  // namespace

Sweep signal_descendants(pid_t root, int signal, pid_t spared) {
  Sweep sweep;
  Tables* tables = map_tables();
  if (tables == nullptr) return sweep;
  sweep.has_proc = read_processes(*tables);
  mark_descendants(*tables, root);
  for (std::size_t i = 0; i < tables->count; ++i) {
    const Process& process = tables->processes[i];
    if (process.pid == root || !tables->is_wanted(process.pid)) continue;
    if (spared == 0 || process.group != spared) send(process, signal, sweep);
  }
  ::munmap(tables, sizeof(Tables));
  return sweep;
}

Sweep signal_session(pid_t session, int signal) {
  Sweep sweep;
  Tables* tables = map_tables();
  if (tables == nullptr) return sweep;
  sweep.has_proc = read_processes(*tables);
  for (std::size_t i = 0; i < tables->count; ++i)
    if (tables->processes[i].session == session) send(tables->processes[i], signal, sweep);
  ::munmap(tables, sizeof(Tables));
  return sweep;
}

}  // namespace banyan
