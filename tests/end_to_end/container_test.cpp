// Goal: a container is as good a target as a host: entered where its process is one of this machine, so that
// it needs neither a shell nor a disk; with no more rights than it has; by its engine's exec where that
// cannot be; and nothing is left in there. What engines say when they fail is told in phase become with what
// to do. Method: the real program; roots made with unshare, without a shell and read-only; and engines that
// are scripts in PATH, which take exactly the words that they should be given. Wants root, and says so.
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/end_to_end/ssh.h"
#include "tests/support/not_tested.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// What stands in for an engine: scripts of these names, first in PATH.
class Engines {
 public:
  Engines() {
    static int serial = 0;
    folder_ = cat(std::getenv("TMPDIR") != nullptr ? std::getenv("TMPDIR") : "/tmp", "/engines-",
                  std::int64_t(::getpid()), "-", ++serial);
    REQUIRE(::mkdir(folder_.c_str(), 0755) == 0);
  }
  Engines(const Engines&) = delete;
  Engines& operator=(const Engines&) = delete;
  ~Engines() { std::filesystem::remove_all(folder_); }

  void add(const std::string& name, const std::string& lines) const {
    const std::string path = cat(folder_, "/", name);
    std::ofstream(path) << "#!/bin/sh\n" << lines;
    REQUIRE(::chmod(path.c_str(), 0755) == 0);
  }
  std::string path() const { return cat("PATH=", folder_, ":", std::getenv("PATH")); }
  std::string path_alone() const { return cat("PATH=", folder_); }

 private:
  std::string folder_;
};

// Runs its last word in a shell of this machine, if those before it are these.
std::string takes(const std::string& words) {
  return cat("got=\nwhile [ $# -gt 1 ]; do got=\"$got$1 \"; shift; done\n[ \"$got\" = '", words,
             " ' ] || { echo \"asked for: $got\" >&2; exit 9; }\nexport BY=exec\nexec /bin/sh -c \"$1\"\n");
}

// A process that stands for a container: a root of its own without a shell, which cannot be written to.
class Room {
 public:
  struct Shape {
    Words starter = {};  // of unshare
    Words spaces = {"--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"};
    bool has_proc = true;
    bool has_path = true;
    bool is_read_only = true;
    bool has_users_within = false;  // a user namespace that does not own the others
    int filter = 0;                 // 1: of system calls, as root may; 2: with no new privileges
  };

  Room() : Room(Shape{}) {}
  explicit Room(const Shape& shape) {
    std::string script =
        "umask 022\nmount -t tmpfs -o mode=755 none /mnt\ncd /mnt\n"
        "mkdir proc dev etc old work usr usr/bin\necho inside >etc/where\n"
        "for program in sleep cat readlink env pwd touch ln mount umount unshare; do\n"
        "  cp -L /usr/bin/$program usr/bin/\n"
        "  for library in $(ldd /usr/bin/$program | grep -o '/[^ ]*'); do\n"
        "    mkdir -p .${library%/*}\n    cp -L $library .$library\n  done\ndone\n"
        "touch dev/null\nmount --bind /dev/null dev/null\n";
    script +=
        "mount -t proc proc proc\n"
        "pivot_root . old\nexport PATH=/usr/bin\numount -l /old\n"
        "cd /work\n";
    if (shape.is_read_only) script += "mount -n -o remount,ro /\n";
    if (!shape.has_proc) script += "umount -l /proc\n";
    script += cat("exec env -i ", shape.has_path ? "PATH=/usr/bin " : "", "BANYAN_VISIT='x y' WHO=room ",
                  shape.has_users_within ? "unshare --user --map-root-user " : "", "sleep 1000\n");
    Words words = shape.starter;
    words.insert(words.end(), {"unshare", "--fork", "--kill-child"});
    words.insert(words.end(), shape.spaces.begin(), shape.spaces.end());
    words.insert(words.end(), {"sh", "-ec", script});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    keeper_ = ::fork();
    REQUIRE(keeper_ >= 0);
    if (keeper_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (shape.filter != 0 && !forbid_links(shape.filter == 2)) ::_exit(98);
      ::execvp(argv[0], argv.data());
      ::_exit(99);
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (read_file(cat("/proc/", leader_, "/comm")) != "sleep\n") {
      const std::string child = read_file(cat("/proc/", keeper_, "/task/", keeper_, "/children"));
      leader_ = child.empty() ? 0 : std::atoi(child.c_str());
      REQUIRE(::waitpid(keeper_, nullptr, WNOHANG) == 0);
      REQUIRE(std::chrono::steady_clock::now() < end);
      ::poll(nullptr, 0, 5);
    }
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  ~Room() {
    // It takes its child along, which is adopted by the tests and reaped with all that is left of the room.
    ::kill(keeper_, SIGKILL);
    ::waitpid(keeper_, nullptr, 0);
  }

  pid_t leader() const { return leader_; }
  std::string target() const { return cat("nsenter:", leader_); }

  // Who is in there besides.
  std::vector<pid_t> others() const {
    std::vector<pid_t> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      const pid_t pid = std::atoi(entry.path().filename().c_str());
      if (pid > 0 && pid != leader_ && is_running(pid) && space(pid, "pid") == space(leader_, "pid"))
        found.push_back(pid);
    }
    return found;
  }
  bool is_alone() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!others().empty()) {
      if (std::chrono::steady_clock::now() > end) return false;
      ::poll(nullptr, 0, 10);
    }
    return true;
  }
  // Until a command of ours runs in there.
  bool waits_for_sleep(std::string_view cgroup = {}) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < end) {
      for (const pid_t pid : others())
        if (read_file(cat("/proc/", pid, "/comm")) == "sleep\n" &&
            contains(read_file(cat("/proc/", pid, "/cgroup")), cgroup))
          return true;
      ::poll(nullptr, 0, 5);
    }
    return false;
  }
  static std::string space(pid_t pid, const std::string& kind) {
    std::error_code error;
    return std::filesystem::read_symlink(cat("/proc/", pid, "/ns/", kind), error).string();
  }

 private:
  // Links fail in a way that they never do otherwise.
  static bool forbid_links(bool no_new_privileges) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
#ifdef SYS_symlink
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_symlink, 1, 0),
#else
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_symlinkat, 1, 0),
#endif
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_symlinkat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{sizeof code / sizeof code[0], code};
    if (no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

  pid_t keeper_ = -1, leader_ = 0;
};

// A cgroup of its own for the leader of a room; "" as id where none can be made.
class Cgroup {
 public:
  explicit Cgroup(pid_t pid) : pid_(pid) {
    for (const char* base : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      if (!std::filesystem::exists(cat(base, "/cgroup.procs"))) continue;
      id_ = cat("banyan", pid, "c0ffee");
      base_ = base;
      folder_ = cat(base, "/docker-", id_);
      if (::mkdir(folder_.c_str(), 0755) == 0) {
        std::ofstream procs(cat(folder_, "/cgroup.procs"));
        procs << pid << std::flush;
        if (procs) return;
        ::rmdir(folder_.c_str());
      }
      id_.clear();
    }
    not_tested("cgroups", "no cgroup can be made here");
  }
  ~Cgroup() {
    if (id_.empty()) return;
    // The leader is still in it, and what was killed in there may be for a moment.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    std::ofstream(cat(base_, "/cgroup.procs")) << pid_ << std::flush;
    while (::rmdir(folder_.c_str()) != 0 && std::chrono::steady_clock::now() < end) ::poll(nullptr, 0, 5);
    CHECK(::access(folder_.c_str(), F_OK) != 0);
  }
  const std::string& id() const { return id_; }

 private:
  const pid_t pid_;
  std::string id_, base_, folder_;
};

// The file that `fd` of that process is, without its number: "socket", "/dev/null".
std::string open_at(const std::filesystem::path& fd) {
  std::error_code error;
  const std::string name = std::filesystem::read_symlink(fd, error).string();
  return name.substr(0, name.find(":["));
}

// From now on: traces all that come into a room, and tells once of each right and file that any of them has.
// It is in there, with the rights of the tests, and ends with the room.
banyan::Fd trace_in(const Room& room) {
  auto pipe = banyan::make_pipe();
  REQUIRE(bool(pipe));
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid > 0) {
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE(status == 0);
    return std::move(pipe->first);
  }
  const banyan::Fd leader(int(::syscall(SYS_pidfd_open, room.leader(), 0)));
  if (::setns(leader.get(), CLONE_NEWPID | CLONE_NEWNS) != 0 || ::chdir("/") != 0) ::_exit(1);
  if (::fork() != 0) ::_exit(0);
  for (std::set<std::string> told;;) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      const pid_t other = std::atoi(entry.path().filename().c_str());
      if (other <= 1 || other == ::getpid() || ::ptrace(PTRACE_SEIZE, other, 0, 0) != 0) continue;
      ::ptrace(PTRACE_INTERRUPT, other, 0, 0);
      int status = 0;
      ::waitpid(other, &status, __WALL);
      __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, other};
      __user_cap_data_struct rights[2] = {};
      std::set<std::string> seen;
      if (::syscall(SYS_capget, &header, rights) == 0)
        for (unsigned i = 0; i < 64; ++i)
          if ((rights[i / 32].permitted >> i % 32 & 1) != 0) seen.insert(cat("right ", i));
      // The command is the room's own, and opens its libraries.
      const bool is_command =
          contains(std::filesystem::read_symlink(entry.path() / "exe", error).string(), "sleep");
      if (!is_command)
        for (const auto& fd : std::filesystem::directory_iterator(entry.path() / "fd", error))
          seen.insert(cat("open ", open_at(fd.path())));
      for (const std::string& one : seen)
        if (told.insert(one).second)
          banyan::write_all(pipe->second.get(), (one + "\n").data(), one.size() + 1);
      ::ptrace(PTRACE_DETACH, other, 0, status >> 16 == 0 && WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
    }
  }
}

bool can_test() {
  static const bool can =
      ::geteuid() == 0 && std::system("unshare --mount --pid --net --cgroup --fork true 2>/dev/null") == 0;
  if (!can) not_tested("namespaces", "making and entering namespaces wants root, and a kernel that lets it");
  return can;
}

bool may_run_program(uid_t user) {
  const bool may =
      std::system(cat("setpriv --reuid=", user, " --regid=", user, " --clear-groups test -x ", BANYAN_PROGRAM)
                      .c_str()) == 0;
  if (!may) not_tested("users", "another user may not run the program where it was built");
  return may;
}

nlohmann::json failure_of(const Finished& got) {
  REQUIRE_FALSE(lines_of(got.out).empty());
  nlohmann::json fail = nlohmann::json::parse(lines_of(got.out).at(0));
  REQUIRE(fail.at("event") == "fail");
  return fail;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::istringstream in(read_file(cat("/proc/", pid, "/task/", pid, "/children")));
  for (pid_t child; in >> child;) children.push_back(child);
  return children;
}

}  // namespace

TEST_CASE("a root without a shell that cannot be written to is entered, beneath a hop as well") {
  if (!can_test()) return;
  const Room room;
  for (const std::string& target :
       {room.target(), cat("local/", room.target()), cat(room.target(), "/local")}) {
    CAPTURE(target);
    const Finished got = run_program({"run", target, "--", "cat", "/etc/where", "-"}, "given\n");
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "inside\ngiven\n");
    CHECK(run_program({"run", target, "--", "touch", "/new"}).code == 1);
    CHECK(run_program({"run", target, "--sh", "true"}).code == 127);
  }
  for (const char* kind : {"mnt", "pid", "uts", "ipc", "net", "cgroup", "user"}) {
    CAPTURE(kind);
    const Finished got = run_program({"run", room.target(), "--", "readlink", cat("/proc/self/ns/", kind)});
    CHECK(got.out == cat(Room::space(room.leader(), kind), "\n"));
  }
  CHECK(room.is_alone());
}

TEST_CASE("a container of a host is entered on that host") {
  if (!can_test() || !has_sshd()) return;
  const Sshd server;
  const Room room;
  for (const std::string& target : {cat("web/", room.target()), cat("web/", room.target(), "/local")}) {
    CAPTURE(target);
    const Finished got = run_program(over(server, target, {"--", "cat", "/etc/where"}));
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "inside\n");
    CHECK(room.is_alone());
  }
}

TEST_CASE("what runs in there has the environment and the folder of its first process, and no more") {
  if (!can_test()) return;
  const Room room;
  const Finished got = run_program({"run", room.target(), "--", "env"}, {}, {"SECRET=canary"});
  CHECK(got.out == "PATH=/usr/bin\nWHO=room\n");
  CHECK(run_program({"run", room.target(), "--", "pwd"}).out == "/work\n");
}

TEST_CASE("without /proc in there commands run all the same") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.has_proc = false;
  const Room room(shape);
  const Finished got = run_program({"run", room.target(), "--", "cat", "/etc/where"});
  CAPTURE(got.err);
  CHECK(got.code == 0);
  CHECK(got.out == "inside\n");
  CHECK(room.is_alone());
}

TEST_CASE("what runs in there has no right that its first process cannot have") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.starter = {"setpriv", "--bounding-set", "-sys_module,-sys_rawio,-mknod,-net_raw", "--inh-caps",
                   "-all"};
  const Room room(shape);
  const auto rights = [](const std::string& status) {
    std::string lines;
    for (const std::string& line : lines_of(status))
      if (line.starts_with("Cap") || line.starts_with("NoNew") || line.starts_with("Seccomp:") ||
          line.starts_with("Groups:") || line.starts_with("Uid:"))
        lines += line + '\n';
    return lines;
  };
  const Finished got = run_program({"run", room.target(), "--", "cat", "/proc/self/status"});
  CHECK(got.code == 0);
  const std::string theirs = rights(read_file(cat("/proc/", room.leader(), "/status")));
  CHECK_FALSE(contains(theirs, rights(read_file("/proc/self/status"))));
  CHECK(contains(got.out, "CapBnd:"));
  CHECK(rights(got.out).substr(rights(got.out).find("Cap")) == theirs.substr(theirs.find("Cap")));
}

TEST_CASE("what runs in there has the other groups of its first process, if it is the same user") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.starter = {"setpriv", "--groups", "77,4242"};
  const Room room(shape);
  const Finished got = run_program({"run", room.target(), "--", "cat", "/proc/self/status"});
  CAPTURE(got.err);
  CHECK(contains(got.out, "Groups:\t77 4242 \n"));

  const Cgroup cgroup(room.leader());
  if (cgroup.id().empty()) return;
  const Engines engines;
  engines.add("docker", cat("echo '", room.leader(), " ", cgroup.id(), " 1234:4321'\n"));
  const Finished other =
      run_program({"run", "docker:app", "--", "cat", "/proc/self/status"}, {}, {engines.path()});
  CAPTURE(other.err);
  CHECK(contains(other.out, "Groups:\t \n"));
}

TEST_CASE("who has so many groups that its filter cannot be read of it is not entered") {
  if (!can_test()) return;
  std::string groups;
  for (std::uint32_t i = 0; i < 6'000; ++i) groups += cat(i == 0 ? "" : ",", 4'000'000'000 + i);
  Room::Shape shape;
  shape.starter = {"setpriv", "--groups", groups};
  shape.filter = 1;
  const Room room(shape);
  const nlohmann::json fail =
      failure_of(run_program({"run", room.target(), "--json", "--", "ln", "-s", "a", "/tmp/b"}));
  CHECK(fail.at("phase") == "become");
  CHECK(contains(fail.at("error").get<std::string>(), "status of its first process is too long"));
  CHECK(room.is_alone());
}

TEST_CASE("limits and the memory score of its first process hold for what runs in there, whoever enters") {
  if (!can_test()) return;
  for (const bool as_root : {true, false}) {
    CAPTURE(as_root);
    const uid_t ann = 300'000 + uid_t(::getpid());
    const Words as_ann = {"setpriv", cat("--reuid=", ann), cat("--regid=", ann), "--clear-groups",
                          "--inh-caps=-all"};
    if (!as_root && !may_run_program(ann)) return;
    Room::Shape shape;
    shape.starter = {"prlimit", "--nofile=100:200", "--core=0:unlimited", "choom", "-n", "500", "--"};
    if (!as_root) {
      shape.starter.insert(shape.starter.end(), as_ann.begin(), as_ann.end());
      shape.spaces.insert(shape.spaces.end(), {"--user", "--map-root-user"});
      shape.is_read_only = false;  // that is not for mount(8) of a stranger
    }
    const Room room(shape);
    ::signal(SIGPIPE, SIG_IGN);
    Program program({"run", room.target(), "--", "cat", "/proc/self/limits", "/proc/self/oom_score_adj"},
                    Program::Shape::kPipes, {}, as_root ? Words{"prlimit", "--core=0:1000"} : as_ann);
    const Finished got = program.finish();
    CAPTURE(got.out, got.err);
    CHECK(contains(got.out, "Max open files            100                  200"));
    CHECK(got.out.ends_with("\n500\n"));
    if (as_root) CHECK(contains(got.out, "Max core file size        0                    1000"));
    CHECK(room.is_alone());
  }
}

TEST_CASE("who has limited itself so far that nothing could run beside it is not entered") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.starter = {"prlimit", "--nproc=15"};
  const Room room(shape);
  const nlohmann::json fail = failure_of(run_program({"run", room.target(), "--json", "--", "true"}));
  CHECK(fail.at("phase") == "become");
  CHECK(contains(fail.at("error").get<std::string>(), "limits of its first process leave no room"));
}

TEST_CASE("an environment without PATH gets the usual one") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.has_path = false;
  const Room room(shape);
  CHECK(run_program({"run", room.target(), "--", "env"}).out ==
        "WHO=room\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
}

TEST_CASE("calls that its first process may not make, what runs in there may not make either") {
  if (!can_test()) return;
  for (const int kind : {1, 2}) {
    CAPTURE(kind);
    Room::Shape shape;
    shape.filter = kind;
    const Room room(shape);
    const Finished got = run_program({"run", room.target(), "--", "ln", "-s", "a", "/work/b"});
    CAPTURE(got.err);
    CHECK(got.code == 1);
    CHECK(contains(got.err, "Invalid cross-device link"));
    CHECK(contains(run_program({"run", room.target(), "--", "cat", "/proc/self/status"}).out,
                   cat("NoNewPrivs:\t", kind - 1)));
    // It was stopped for a moment, and goes on.
    CHECK(stat_field(room.leader(), 0) == "S");
    CHECK(room.is_alone());
  }
}

TEST_CASE("what enters runs from sealed memory, and holds nothing of the outside open") {
  if (!can_test()) return;
  const Room room;
  Program program({"run", room.target(), "--", "sleep", "1000"});
  REQUIRE(room.waits_for_sleep());
  int agents = 0;
  for (const pid_t pid : room.others()) {
    std::error_code error;
    const std::string exe = cat("/proc/", pid, "/exe");
    if (contains(std::filesystem::read_symlink(exe, error).string(), "sleep")) continue;
    ++agents;
    CHECK(contains(std::filesystem::read_symlink(exe, error).string(), "/memfd:"));
    const banyan::Fd file(::open(exe.c_str(), O_RDONLY | O_CLOEXEC));
    CHECK((::fcntl(file.get(), F_GET_SEALS) & F_SEAL_WRITE) != 0);
    for (const auto& entry : std::filesystem::directory_iterator(cat("/proc/", pid, "/fd"), error)) {
      const std::string open = std::filesystem::read_symlink(entry.path(), error).string();
      CAPTURE(open);
      CHECK((!open.starts_with('/') || open == "/dev/null"));
    }
  }
  CHECK(agents >= 1);
  program.signal(SIGKILL);
  program.finish();
  CHECK(room.is_alone());
}

TEST_CASE(
    "who traces in there whatever enters sees no right that the room has not, and nothing of the outside") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.starter = {"setpriv", "--bounding-set", "-sys_module,-sys_rawio,-mknod,-net_raw", "--inh-caps",
                   "-all"};
  const Room room(shape);
  const banyan::Fd told = trace_in(room);
  for (int i = 0; i < 20; ++i)
    CHECK(
        run_program({"run", i % 2 == 0 ? room.target() : cat("local/", room.target()), "--", "sleep", "0.01"})
            .code == 0);
  std::string said;
  char bytes[64 * 1024];
  for (pollfd ready = {told.get(), POLLIN, 0}; ::poll(&ready, 1, said.empty() ? 10'000 : 200) > 0;) {
    const ssize_t got = ::read(told.get(), bytes, sizeof bytes);
    if (got <= 0) break;
    said.append(bytes, std::size_t(got));
  }
  const std::string status = read_file(cat("/proc/", room.leader(), "/status")), bounds = "CapBnd:\t";
  const std::uint64_t may = std::strtoull(status.c_str() + status.find(bounds) + bounds.size(), nullptr, 16);
  std::size_t rights = 0;
  for (const std::string& line : lines_of(said)) {
    CAPTURE(line);
    if (line.starts_with("right ")) {
      ++rights;
      CHECK((may >> std::atoi(line.c_str() + 6) & 1) != 0);
    } else {
      const std::string harmless =
          "open socket, open pipe, open /memfd:banyan (deleted), open anon_inode, open /dev/null, ";
      CHECK(contains(harmless, line + ", "));
    }
  }
  CHECK(rights > 0);
}

TEST_CASE("Ctrl-C, the end of the program or of the hop, and a deadline end what runs in there") {
  if (!can_test()) return;
  const Room room;
  for (const bool beneath : {false, true}) {
    CAPTURE(beneath);
    const std::string target = cat(beneath ? "local/" : "", room.target());
    CHECK(run_program({"run", target, "--timeout", "200ms", "--", "sleep", "1000"}).code == 124);
    CHECK(room.is_alone());
    Program program({"run", target, "--", "sleep", "1000"});
    REQUIRE(room.waits_for_sleep());
    std::vector<pid_t> below = children_of(program.pid());
    REQUIRE_FALSE(below.empty());
    // Beneath a hop that is the hop; else what stands by outside.
    if (beneath) {
      for (const pid_t pid : below) ::kill(pid, SIGKILL);
      CHECK(room.is_alone());
      program.finish();
    } else {
      program.signal(SIGKILL);
      CHECK(room.is_alone());
      program.finish();
    }
  }
  CHECK(room.is_alone());
}

TEST_CASE("a user namespace is entered too, by root and by whoever owns it") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.spaces.insert(shape.spaces.end(), {"--user", "--map-root-user"});
  {
    const Room room(shape);
    const Finished got = run_program({"run", room.target(), "--", "readlink", "/proc/self/ns/user"});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == cat(Room::space(room.leader(), "user"), "\n"));
    CHECK(room.is_alone());
  }
  const uid_t ann = 300'000 + uid_t(::getpid());
  const Words as_ann = {"setpriv", cat("--reuid=", ann), cat("--regid=", ann), "--clear-groups",
                        "--inh-caps=-all"};
  if (!may_run_program(ann)) return;
  shape.starter = as_ann;
  shape.is_read_only = false;  // that is not for mount(8) of a stranger
  const Room room(shape);
  ::signal(SIGPIPE, SIG_IGN);
  Program program({"run", room.target(), "--", "readlink", "/proc/self/ns/user"}, Program::Shape::kPipes, {},
                  as_ann);
  const Finished got = program.finish();
  CAPTURE(got.err);
  CHECK(got.code == 0);
  CHECK(got.out == cat(Room::space(room.leader(), "user"), "\n"));
  CHECK(room.is_alone());
}

TEST_CASE("a user namespace that does not own the others is entered after them") {
  if (!can_test()) return;
  Room::Shape shape;
  shape.has_users_within = true;
  const Room room(shape);
  for (const char* kind : {"user", "mnt", "pid"}) {
    CAPTURE(kind);
    const Finished got = run_program({"run", room.target(), "--", "readlink", cat("/proc/self/ns/", kind)});
    CAPTURE(got.err);
    CHECK(got.out == cat(Room::space(room.leader(), kind), "\n"));
  }
  CHECK(room.is_alone());
}

TEST_CASE("whoever may not enter is told so, and what to do") {
  if (!can_test()) return;
  const Room room;
  const uid_t ann = 300'000 + uid_t(::getpid());
  if (!may_run_program(ann)) return;
  Program program(
      {"run", room.target(), "--json", "--", "true"}, Program::Shape::kPipes, {},
      {"setpriv", cat("--reuid=", ann), cat("--regid=", ann), "--clear-groups", "--inh-caps=-all"});
  const nlohmann::json fail = failure_of(program.finish());
  CHECK(fail.at("phase") == "become");
  CHECK(fail.at("class") == "refused");
  CHECK(contains(fail.at("error").get<std::string>(), "Permission denied"));
  CHECK(contains(fail.at("remedy").get<std::string>(), "root"));

  const nlohmann::json none = failure_of(run_program({"run", "nsenter:999999999", "--json", "--", "true"}));
  CHECK(none.at("phase") == "become");
  CHECK(contains(none.at("error").get<std::string>(), "no such process"));
}

TEST_CASE("a container whose engine names its process is entered, into its cgroups, without a word to exec") {
  if (!can_test()) return;
  const Room room;
  const Cgroup cgroup(room.leader());
  if (cgroup.id().empty()) return;
  for (const auto& [target, program] :
       {std::pair("docker:app", "docker"), std::pair("podman:app", "podman")}) {
    CAPTURE(target);
    const Engines engines;
    engines.add(program,
                cat("[ \"$1\" = inspect ] || exit 9\necho '", room.leader(), " ", cgroup.id(), " '\n"));
    for (const char* hop : {"", "local/"}) {
      const Finished got = run_program(
          {"run", cat(hop, target), "--", "cat", "/etc/where", "/proc/self/cgroup"}, {}, {engines.path()});
      CAPTURE(got.err);
      CHECK(got.code == 0);
      CHECK(got.out.starts_with("inside\n"));
      const Finished outside =
          run_program({"run", cat(hop, target), "--", "sleep", "0"}, {}, {engines.path()});
      CHECK(outside.code == 0);
    }
    Program long_one({"run", target, "--", "sleep", "1000"}, Program::Shape::kPipes, {engines.path()});
    CHECK(room.waits_for_sleep(cgroup.id()));
    long_one.signal(SIGKILL);
    long_one.finish();
    CHECK(room.is_alone());
  }
}

TEST_CASE("a user in numbers is who runs in there, and loses what rights root has") {
  if (!can_test()) return;
  const Room room;
  const Cgroup cgroup(room.leader());
  if (cgroup.id().empty()) return;
  const Engines engines;
  engines.add("docker", cat("echo '", room.leader(), " ", cgroup.id(), " 1234:4321'\n"));
  const Finished got =
      run_program({"run", "docker:app", "--", "cat", "/proc/self/status"}, {}, {engines.path()});
  CHECK(contains(got.out, "Uid:\t1234\t1234\t1234\t1234\n"));
  CHECK(contains(got.out, "Gid:\t4321\t4321\t4321\t4321\n"));
  CHECK(contains(got.out, "Groups:\t \n"));
  CHECK(contains(got.out, "CapEff:\t0000000000000000\n"));
  CHECK(room.is_alone());
}

TEST_CASE("a process that is not the engine's here is not entered: the engine's exec is used") {
  const Engines engines;
  for (const std::string& answer : {cat(::getpid(), " 9f86d081884c7d65 "),
                                    std::string("999999999 9f86d081884c7d65 "), std::string("what?\nthat")}) {
    CAPTURE(answer);
    engines.add("docker", cat("if [ \"$1\" = inspect ]; then echo '", answer, "'; exit 0; fi\n",
                              takes("exec -i app /bin/sh -c")));
    const Finished got = run_program({"run", "docker:app", "--", "printenv", "BY"}, {}, {engines.path()});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "exec\n");
  }
}

TEST_CASE("each engine is given exactly the words of its exec, and carries input, output and exit code") {
  struct Row {
    const char* target;
    const char* program;
    const char* words;
    const char* lookup;  // the program that is asked first, and knows nothing
  };
  const Row table[] = {
      {"docker:app", "docker", "exec -i app /bin/sh -c", ""},
      {"docker:ann@app", "docker", "exec -i -u ann app /bin/sh -c", nullptr},
      {"podman:app", "podman", "exec -i app /bin/sh -c", ""},
      {"podman:ann@app", "podman", "exec -i -u ann app /bin/sh -c", nullptr},
      {"kubectl:pod", "kubectl", "exec -i -q pod -- /bin/sh -c", nullptr},
      {"kubectl:ns:pod", "kubectl", "exec -i -q -n ns pod -- /bin/sh -c", nullptr},
      {"kubectl:ns:pod:web", "kubectl", "exec -i -q -n ns pod -c web -- /bin/sh -c", nullptr},
      {"lxc:c1", "lxc-attach", "-n c1 --clear-env -- /bin/sh -c", "lxc-info"},
      {"lxd:c1", "lxc", "exec c1 -T -- /bin/sh -c", nullptr},
      {"incus:c1", "incus", "exec c1 -T -- /bin/sh -c", nullptr},
      {"nspawn:m", "systemd-run", "--machine=m --quiet --pipe --wait --collect -- /bin/sh -c", "machinectl"},
      {"nspawn:ann@m", "systemd-run", "--machine=m --quiet --pipe --wait --collect --uid=ann -- /bin/sh -c",
       nullptr},
  };
  for (const Row& row : table) {
    const Engines engines;
    std::string lines = takes(row.words);
    if (row.lookup != nullptr && *row.lookup == '\0') lines = "[ \"$1\" != inspect ] || exit 1\n" + lines;
    if (row.lookup != nullptr && *row.lookup != '\0') engines.add(row.lookup, "exit 1\n");
    engines.add(row.program, lines);
    for (const char* hop : {"", "local/"}) {
      const std::string target = cat(hop, row.target);
      CAPTURE(target);
      const Finished got =
          run_program({"run", target, "--sh", "cat; echo e >&2; exit 7"}, "given\n", {engines.path()});
      CHECK(got.err == "e\n");
      CHECK(got.code == 7);
      CHECK(got.out == "given\n");
    }
  }
}

TEST_CASE(
    "what an engine says when it fails is told in phase become, with what to do, beneath a hop as well") {
  struct Row {
    const char* target;
    const char* program;
    const char* lines;
    const char* error_class;
    const char* error;
    const char* remedy;
  };
  const Row table[] = {
      {"docker:app", "docker", "echo 'Error response from daemon: No such container: app' >&2; exit 1",
       "refused", "No such container", "docker ps -a"},
      {"docker:app", "docker", "echo '0 9f86d081884c '", "refused", "not running", "start it"},
      {"docker:app", "docker", "echo paused", "refused", "it is paused", "docker unpause app"},
      {"podman:app", "podman", "echo paused", "refused", "it is paused", "podman unpause app"},
      {"docker:app", "docker",
       "echo 'permission denied while trying to connect to the Docker daemon socket at "
       "unix:///var/run/docker.sock' >&2; exit 1",
       "refused", "permission denied", "group docker"},
      {"docker:app", "docker",
       "[ $1 = inspect ] && exit 1; echo 'OCI runtime exec failed: exec failed: unable to start container "
       "process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown'; exit 127",
       "bootstrap", "were not entered: docker does not name", "/bin/sh"},
      {"podman:app", "podman", "echo 'Error: no such container \"app\"' >&2; exit 125", "refused",
       "no such container", "podman ps -a"},
      {"kubectl:pod", "kubectl", "echo 'Error from server (NotFound): pods \"pod\" not found' >&2; exit 1",
       "refused", "NotFound", "kubectl get pods"},
      {"lxc:c1", "lxc-info", "echo \"c1 doesn't exist\" >&2; exit 1", "refused", "doesn't exist", "lxc-ls"},
      {"lxd:c1", "lxc", "echo 'Error: Instance not found' >&2; exit 1", "refused", "not found", "lxc list"},
      {"incus:c1", "incus", "echo 'Error: Instance is not running' >&2; exit 1", "refused", "not running",
       "start it"},
      {"nspawn:m", "machinectl", "echo \"Could not get path to machine: No machine 'm' known\" >&2; exit 1",
       "refused", "No machine", "machinectl list"},
      {"docker:app", "none", "", "bootstrap", "docker is not installed", "PATH"},
      {"kubectl:pod", "none", "", "bootstrap", "starting kubectl: No such file", "install kubectl"},
  };
  for (const Row& row : table) {
    const Engines engines;
    engines.add(row.program, cat(row.lines, "\n"));
    for (const char* hop : {"", "local/"}) {
      const std::string target = cat(hop, row.target);
      CAPTURE(target, row.lines);
      const Finished got = run_program({"run", target, "--json", "--", "true"}, {}, {engines.path_alone()});
      CHECK(got.code == 255);
      const nlohmann::json fail = failure_of(got);
      CHECK(fail.at("phase") == "become");
      CHECK(fail.at("class") == row.error_class);
      CHECK(fail.at("started") == "no");
      CHECK(contains(fail.at("error").get<std::string>(), row.error));
      REQUIRE(fail.at("remedy").is_string());
      CHECK(contains(fail.at("remedy").get<std::string>(), row.remedy));
    }
  }
}

TEST_CASE("an engine that does not answer is ended when time is up") {
  const Engines engines;
  engines.add("docker", "sleep 1000 & wait\n");
  for (const char* target : {"docker:app", "local/docker:app", "docker:ann@app"}) {
    CAPTURE(target);
    const std::string mark = fresh_mark();
    const Finished got = run_program({"run", target, "--json", "--connect-timeout", "500ms", "--", "true"},
                                     {}, {engines.path(), mark});
    CHECK(got.code == 255);
    CHECK(failure_of(got).at("class") == "timeout");
    CHECK(all_gone(mark));
  }
}

TEST_CASE("the doctor has a step for a container, and the tree names its engine") {
  const Engines engines;
  engines.add("docker", cat("[ \"$1\" != inspect ] || exit 1\n", takes("exec -i app /bin/sh -c")));
  const Finished well = run_program({"doctor", "docker:app"}, {}, {engines.path()});
  CHECK(well.code == 0);
  CHECK(contains(well.out, "docker:app: all is well"));
  CHECK(contains(well.out, "into app, by the exec of docker"));
  CHECK(contains(well.out, "stage 0"));

  engines.add("docker", "echo 'Error: No such container: app' >&2\nexit 1\n");
  const Finished ill = run_program({"doctor", "docker:app"}, {}, {engines.path()});
  CHECK(ill.code == 255);
  CHECK(contains(ill.out, "docker:app: fails at become"));
  CHECK(contains(ill.out, "-> check the name, on that machine: docker ps -a"));

  if (!can_test()) return;
  const Room room;
  const Finished entered = run_program({"doctor", room.target()});
  CHECK(entered.code == 0);
  CHECK(contains(entered.out, "by its namespaces"));
  CHECK_FALSE(contains(entered.out, "stage 0"));
  const Finished tree = run_program({"tree", room.target(), "--json"});
  REQUIRE(lines_of(tree.out).size() >= 2);
  CHECK(nlohmann::json::parse(lines_of(tree.out)[1]).at("method") == "nsenter");
  CHECK(room.is_alone());
}

TEST_CASE("a plan says which way into a container will be gone, and runs nothing") {
  const Finished got = run_program({"plan", "docker:app", "--json"}, {}, {"PATH=/nonexistent"});
  CHECK(got.code == 0);
  const nlohmann::json step = nlohmann::json::parse(lines_of(got.out).at(0)).at("route").at(0);
  CHECK(step.at("method") == "docker");
  CHECK(step.at("way") == "namespaces, else exec");
  CHECK(step.at("command") == "docker exec -i app /bin/sh -c ...");
}
