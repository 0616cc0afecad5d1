// Goal: a program gets what it was to get and nothing else, and a failure names its step and reason.
// Method: real programs; what they see of themselves comes back through a pipe.
#include "core/spawn.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>

#include "core/fd.h"
#include "core/text.h"
#include "tests/support/processes.h"

namespace banyan {
namespace {

struct Ran {
  Spawned spawned;
  std::string out;
  int status = -1;
};

Ran run(const SpawnPlan& plan) {
  Ran ran;
  auto pipe = make_pipe();
  ran.spawned = plan.run({-1, pipe->second.get(), 2});
  pipe->second.reset();
  if (ran.spawned.pid < 0) return ran;
  char bytes[4096];
  ssize_t count;
  while ((count = retry([&] { return ::read(pipe->first.get(), bytes, sizeof bytes); })) > 0)
    ran.out.append(bytes, std::size_t(count));
  retry([&] { return ::waitpid(ran.spawned.pid, &ran.status, 0); });
  return ran;
}

Ran run(std::vector<std::string> argv, SpawnOptions options = {}) {
  return run(SpawnPlan(std::move(argv), std::move(options)));
}

// A file in a folder of its own, both gone at the end.
struct TemporaryFile {
  std::string folder, path;
  TemporaryFile(const char* text, mode_t mode) {
    const char* base = std::getenv("TMPDIR");
    folder = cat(std::string_view(base != nullptr ? base : "/tmp"), "/spawn-XXXXXX");
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    path = folder + "/program";
    Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, mode));
    REQUIRE(write_all(file.get(), text, std::char_traits<char>::length(text)));
  }
  ~TemporaryFile() {
    ::unlink(path.c_str());
    ::rmdir(folder.c_str());
  }
};

TEST_CASE("a program gets its arguments as they are, and its exit code comes back") {
  const Ran ran = run({"sh", "-c", "printf '%s|' \"$@\"; exit 7", "sh", "a b", "", "*", "\xff"});
  CHECK(ran.out == "a b||*|\xff|");
  REQUIRE(WIFEXITED(ran.status));
  CHECK(WEXITSTATUS(ran.status) == 7);
}

TEST_CASE("added variables replace ours, the last of a name counts, and the rest is inherited") {
  ::setenv("SPAWN_TEST_OURS", "ours", 1);
  ::setenv("SPAWN_TEST_REPLACED", "ours", 1);
  SpawnOptions options;
  options.environment = {
      {"SPAWN_TEST_REPLACED", "first"}, {"SPAWN_TEST_REPLACED", "last"}, {"SPAWN_TEST_NEW", "="}};
  const Ran ran = run({"sh", "-c", "env | grep ^SPAWN_TEST_ | sort"}, options);
  ::unsetenv("SPAWN_TEST_OURS");
  ::unsetenv("SPAWN_TEST_REPLACED");
  CHECK(ran.out == "SPAWN_TEST_NEW==\nSPAWN_TEST_OURS=ours\nSPAWN_TEST_REPLACED=last\n");
}

TEST_CASE("a program is looked up in the PATH it is given") {
  const TemporaryFile program("#!/bin/sh\necho found\n", 0755);
  SpawnOptions options;
  options.environment = {{"PATH", "/nowhere:" + program.folder}};
  CHECK(run({"program"}, options).out == "found\n");
  CHECK(run({"program"}).spawned.error == ENOENT);
}

TEST_CASE("what is not there, may not be executed, or is no program is told apart") {
  const TemporaryFile unexecutable("#!/bin/sh\n", 0644), no_program("neither script nor ELF\n", 0755);
  for (const auto& [name, error] : {std::pair<std::string, int>{"no-such-program-anywhere", ENOENT},
                                    {"/no/such/program", ENOENT},
                                    {"", ENOENT},
                                    {unexecutable.path, EACCES},
                                    {"/", EACCES},
                                    {no_program.path, ENOEXEC}}) {
    CAPTURE(name);
    const Ran ran = run({name});
    CHECK(ran.spawned.pid == -1);
    CHECK(ran.spawned.step == SpawnStep::kExecute);
    CHECK(ran.spawned.error == error);
  }
}

TEST_CASE("an unexecutable file in PATH does not hide an executable one behind it") {
  const TemporaryFile unexecutable("", 0644), program("#!/bin/sh\necho found\n", 0755);
  SpawnOptions options;
  options.environment = {{"PATH", unexecutable.folder + ":" + program.folder}};
  CHECK(run({"program"}, options).out == "found\n");
  options.environment = {{"PATH", unexecutable.folder + ":/nowhere"}};
  CHECK(run({"program"}, options).spawned.error == EACCES);
}

TEST_CASE(
    "a program starts in its directory, and a directory that is not there is named as the step that failed") {
  SpawnOptions options;
  options.directory = "/usr/bin";
  CHECK(run({"pwd"}, options).out == "/usr/bin\n");
  options.directory = "/no/such/folder";
  const Ran ran = run({"pwd"}, options);
  CHECK(ran.spawned.pid == -1);
  CHECK(ran.spawned.step == SpawnStep::kDirectory);
  CHECK(ran.spawned.error == ENOENT);
}

TEST_CASE(
    "signals we ignore or block are neither ignored nor blocked in the program, and ours stay as they were") {
  auto* const before = ::signal(SIGUSR1, SIG_IGN);
  sigset_t usr2, mask_before, mask_after;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &usr2, &mask_before);

  const Ran ran = run({"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"});

  ::pthread_sigmask(SIG_SETMASK, &mask_before, &mask_after);
  CHECK(sigismember(&mask_after, SIGUSR2) == 1);
  CHECK(::signal(SIGUSR1, before) == SIG_IGN);
  CHECK(ran.out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("a program has the three descriptors and no other, whatever we left open to it") {
  const int careless = ::dup2(2, 77);  // not close-on-exec
  const Ran ran = run({"ls", "/proc/self/fd"});
  ::close(careless);
  CHECK(ran.out == "0\n1\n2\n3\n");  // the last is that of ls itself
}

TEST_CASE("descriptors arrive where they belong although one of them has the number of another") {
  auto pipe = make_pipe();
  const int saved = ::fcntl(0, F_DUPFD_CLOEXEC, 100);
  ::dup2(pipe->second.get(), 0);
  pipe->second.reset();

  const SpawnPlan plan({"sh", "-c", "cat; echo out; echo err >&2"}, {});
  const Spawned spawned = plan.run({-1, 0, 0});

  if (saved >= 0) ::dup2(saved, 0);
  ::close(saved >= 0 ? saved : 0);
  REQUIRE(spawned.pid > 0);
  std::string text;
  char bytes[64];
  ssize_t count;
  while ((count = ::read(pipe->first.get(), bytes, sizeof bytes)) > 0) text.append(bytes, std::size_t(count));
  CHECK(text == "out\nerr\n");
  retry([&] { return ::waitpid(spawned.pid, nullptr, 0); });
}

TEST_CASE("an open executable runs without a name") {
  Fd memory(::memfd_create("program", MFD_CLOEXEC));
  const std::string program = test::read_file("/bin/echo");
  REQUIRE(write_all(memory.get(), program.data(), program.size()));
  CHECK(run(SpawnPlan(memory.get(), {"any name", "hello"}, {})).out == "hello\n");
}

TEST_CASE("a program in a session of its own leads it") {
  SpawnOptions options;
  options.new_session = true;
  const Ran ran = run({"sh", "-c", "cut -d' ' -f1,5,6 /proc/self/stat; echo $$"}, options);
  const std::string pid = cat(ran.spawned.pid);
  CHECK(ran.out.find(cat(' ', pid, ' ', pid, '\n')) != ran.out.npos);
}

TEST_CASE("a program that is to die with its parent does") {
  auto pipe = make_pipe();
  SpawnOptions options;
  options.die_with_parent = true;
  const SpawnPlan plan({"sh", "-c", "echo up; exec sleep 1000"}, options);
  const pid_t parent = ::fork();
  if (parent == 0) {
    plan.run({-1, pipe->second.get(), -1});
    ::pause();
  }
  pipe->second.reset();
  char bytes[8];
  REQUIRE(::read(pipe->first.get(), bytes, sizeof bytes) == 3);

  ::kill(parent, SIGKILL);

  retry([&] { return ::waitpid(parent, nullptr, 0); });
  CHECK(::read(pipe->first.get(), bytes, sizeof bytes) == 0);  // the last writer is gone
}

// From here on the kernel of this process is one that has never heard of them.
bool forget_system_calls(std::initializer_list<int> numbers) {
  std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const int number : numbers) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, std::uint32_t(number), 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_CASE("on a kernel without close_range and execveat, programs start as well") {
  const pid_t old_kernel = ::fork();
  if (old_kernel == 0) {
    if (!forget_system_calls({SYS_close_range, SYS_execveat})) ::_exit(1);
    ::dup2(2, 77);
    const bool closed = run({"ls", "/proc/self/fd"}).out == "0\n1\n2\n3\n";
    const Fd shell(::open("/bin/echo", O_RDONLY | O_CLOEXEC));
    const bool executed = run(SpawnPlan(shell.get(), {"name", "hello"}, {})).out == "hello\n";
    ::_exit(closed && executed ? 0 : 2);
  }
  int status = -1;
  retry([&] { return ::waitpid(old_kernel, &status, 0); });
  CHECK(status == 0);
}

}  // namespace
}  // namespace banyan
