// tests/bootstrap/emulate/emulate.cpp -- a machine that executes programs of another one, for whoever may not
// tell the kernel how to (binfmt_misc).
//
//   emulate QEMU MACHINE COMMAND...
//
// Runs COMMAND and all that it starts. Where one of them executes an ELF file for MACHINE (the number that
// stands in its head), QEMU is executed on that file in its place, as the kernel would: also where the file
// is in memory, closes itself as it is executed, or has no name any more. That is why ours is the descriptor
// that QEMU opens. Ends as COMMAND did, when all are gone; with it, all are.
#include <elf.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#ifndef __x86_64__
#error "knows the registers of x86-64 only"
#endif

namespace {

constexpr std::size_t kTextMax = 128 * 1024;  // the kernel's limit of one argument
constexpr std::size_t kArgumentsMax = 4096;
constexpr std::uint64_t kRedZone = 128;  // below the stack pointer, in use all the same

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulate: %s: %s\n", what, std::strerror(errno));
  std::exit(125);
}

struct Emulator {
  std::string program;
  unsigned machine;
};

// The memory of a process that stands still.
class Memory {
 public:
  explicit Memory(pid_t pid)
      : fd_(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC)) {}
  ~Memory() { ::close(fd_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::uint64_t word(std::uint64_t at) const {
    std::uint64_t value = 0;
    return ::pread(fd_, &value, sizeof value, off_t(at)) == sizeof value ? value : 0;
  }
  std::string text(std::uint64_t at) const {
    std::string found;
    for (char c; found.size() < kTextMax && ::pread(fd_, &c, 1, off_t(at + found.size())) == 1 && c != 0;)
      found.push_back(c);
    return found;
  }
  bool write(std::uint64_t at, const void* bytes, std::size_t count) const {
    return ::pwrite(fd_, bytes, count, off_t(at)) == ssize_t(count);
  }

 private:
  const int fd_;
};

// What `path` means to that process, as a path of ours.
std::string seen_from_here(pid_t pid, const std::string& path) {
  const std::string process = "/proc/" + std::to_string(pid);
  constexpr char kSelf[] = "/proc/self/";
  if (path.rfind(kSelf, 0) == 0) return process + "/" + path.substr(sizeof kSelf - 1);
  return path.rfind('/', 0) == 0 ? path : process + "/cwd/" + path;
}

// -1: it may not be executed, or is no program for that machine.
int open_program(const std::string& path, unsigned machine) {
  if (::access(path.c_str(), X_OK) != 0) return -1;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  Elf32_Ehdr header;  // as far as it is the same for 64 bits
  if (fd < 0) return -1;
  if (::pread(fd, &header, sizeof header, 0) == sizeof header &&
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_machine == machine)
    return fd;
  ::close(fd);
  return -1;
}

// The process is about to execute something.
void on_execute(pid_t pid, const Emulator& emulator) {
  user_regs_struct registers;
  if (::ptrace(PTRACE_GETREGS, pid, nullptr, &registers) != 0) return;
  const Memory memory(pid);
  const int program = open_program(seen_from_here(pid, memory.text(registers.rdi)), emulator.machine);
  if (program < 0) return;

  std::vector<std::string> texts = {emulator.program, "-0", memory.text(memory.word(registers.rsi)),
                                    "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(program)};
  std::vector<std::uint64_t> argv;  // those of the process that stay where they are
  for (std::uint64_t at = registers.rsi + 8; argv.size() < kArgumentsMax && memory.word(at) != 0; at += 8)
    argv.push_back(memory.word(at));

  // Under its stack there is room, and it will not come back to complain.
  std::uint64_t at = registers.rsp - kRedZone;
  std::vector<std::uint64_t> all;
  for (const std::string& text : texts) {
    at -= text.size() + 1;
    if (!memory.write(at, text.c_str(), text.size() + 1)) return;
    all.push_back(at);
  }
  registers.rdi = all.front();
  all.insert(all.end(), argv.begin(), argv.end());
  all.push_back(0);
  at = (at - all.size() * 8) & ~std::uint64_t{15};
  if (!memory.write(at, all.data(), all.size() * 8)) return;
  registers.rsi = at;
  ::ptrace(PTRACE_SETREGS, pid, nullptr, &registers);
}

// In the child: of what it and its descendants do, only executing stops them.
void stop_at_execute() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_execve, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
  };
  const sock_fprog filter = {sizeof program / sizeof *program, program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    fail("seccomp");
}

// Until all are gone. What `first` ended with.
int watch(pid_t first, const Emulator& emulator) {
  int ended_with = 0;
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) return ended_with;
    if (!WIFSTOPPED(status)) {
      if (pid == first) ended_with = status;
      continue;
    }
    const int event = status >> 16, signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_SECCOMP) on_execute(pid, emulator);
    const bool is_halted = event == PTRACE_EVENT_STOP && signal != SIGTRAP;  // by SIGSTOP and the like
    ::ptrace(is_halted ? PTRACE_LISTEN : PTRACE_CONT, pid, nullptr, event == 0 ? signal : 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: emulate QEMU MACHINE COMMAND...\n", stderr);
    return 125;
  }
  int go[2];
  if (::pipe2(go, O_CLOEXEC) != 0) fail("pipe");
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    char byte;
    ::close(go[1]);
    if (::read(go[0], &byte, 1) != 1) return 125;  // our parent is gone
    stop_at_execute();
    ::execvp(argv[3], argv + 3);
    fail(argv[3]);
  }
  // Ours would else keep the pipes open that its end should close.
  ::close(0);
  ::close(1);
  constexpr long kOptions = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                            PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (::ptrace(PTRACE_SEIZE, child, nullptr, kOptions) != 0) {
    const int error = errno;
    ::kill(child, SIGKILL);
    errno = error;
    fail("ptrace");
  }
  if (::write(go[1], "", 1) != 1) fail("write");
  ::close(go[0]);
  ::close(go[1]);
  const int status = watch(child, {argv[1], unsigned(std::strtoul(argv[2], nullptr, 10))});
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
