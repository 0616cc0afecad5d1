#include "parent/entry.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/spawn.h"
#include "core/text.h"

// Of 32-bit machines the calls without this end have 16-bit numbers of users.
#ifdef SYS_setresuid32
#define SYS_SETGROUPS SYS_setgroups32
#define SYS_SETRESGID SYS_setresgid32
#define SYS_SETRESUID SYS_setresuid32
#else
#define SYS_SETGROUPS SYS_setgroups
#define SYS_SETRESGID SYS_setresgid
#define SYS_SETRESUID SYS_setresuid
#endif

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#define F_SEAL_WRITE 8
#endif
#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

namespace banyan {

namespace {

constexpr std::size_t kAnswerMax = 4 * 1024;         // of an engine: two words and a number
constexpr std::size_t kFactMax = 64 * 1024;          // a file of /proc but the next
constexpr std::size_t kEnvironmentMax = 256 * 1024;  // the kernel's limit is the stack's; nobody has so much
constexpr int kCapabilitiesMax = 64;                 // as many as fit the mask in /proc
constexpr int kFiltersMax = 64;                      // of one process; engines give one or two

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

[[noreturn]] void say_and_end(std::string_view text, int code) {
  const std::string line = cat(text, '\n');
  write_all(2, line.data(), line.size());
  ::_exit(code);
}

[[noreturn]] void refuse(std::string_view why) {
  say_and_end(cat(kNotEntered, why), kOtherWay);
}

// Of a system call. Nothing is closed where this process ends, or becomes the agent: all is close-on-exec.
void must(long result, const char* what) {
  if (result < 0) refuse(cat(what, ": ", std::strerror(errno)));
}

constexpr const char* kLook = "they may not be looked at";
constexpr const char* kFilter = "its filter of system calls";
constexpr const char* kRights = "giving up rights";
constexpr const char* kRoot = "its root";

// What can be read, and not more than `max`. False: reading failed.
bool read_all(int fd, std::size_t max, std::string& text) {
  char bytes[4096];
  while (text.size() < max) {
    const ssize_t got = retry([&] { return ::read(fd, bytes, sizeof bytes); });
    if (got <= 0) return got == 0;
    text.append(bytes, std::size_t(got));
  }
  return true;
}

// Empty: there is no such file, as with some kernels.
std::string read_at(int folder, const char* name) {
  std::string text;
  if (const Fd file(::openat(folder, name, O_RDONLY | O_CLOEXEC)); file) read_all(file.get(), kFactMax, text);
  return text;
}

// The same, and whole: those in there could otherwise push a filter or a limit out of what is looked at.
std::string fact(int folder, const char* name, std::size_t max = kFactMax) {
  std::string text;
  const Fd file(::openat(folder, name, O_RDONLY | O_CLOEXEC));
  if (file && !read_all(file.get(), max, text)) must(-1, kLook);
  if (text.size() >= max) refuse(cat(name, " of its first process is too long"));
  return text;
}

// Where a link leads; empty: nowhere that we may see.
std::string link_at(int folder, const char* name) {
  char target[PATH_MAX];
  const ssize_t length = ::readlinkat(folder, name, target, sizeof target);
  return length > 0 ? std::string(target, std::size_t(length)) : std::string();
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == text.npos ? text.size() : end + 1);
  return line;
}

// Of /proc/PID/status; empty: not there.
std::string_view field(std::string_view status, std::string_view name) {
  while (!status.empty()) {
    std::string_view line = take_line(status);
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());
    while (!line.empty() && (line.front() == '\t' || line.front() == ' ')) line.remove_prefix(1);
    return line;
  }
  return {};
}

constexpr std::size_t kIdDigitsMax = 10;  // of 32 bits

bool take_id(std::string_view& text, std::uint32_t& id) {
  if (text.empty() || std::min(text.find_first_not_of("0123456789"), text.size()) - 1 >= kIdDigitsMax)
    return false;
  const std::uint64_t number = take_number(text);
  id = std::uint32_t(number);
  return number < UINT32_MAX;
}

// "UID" or "UID:GID"
bool parse_ids(std::string_view text, Leader& leader) {
  if (!take_id(text, leader.uid)) return false;
  leader.lacks_group = text.empty() && leader.uid != 0;
  if (text.empty()) return true;
  if (text.front() != ':') return false;
  text.remove_prefix(1);
  return take_id(text, leader.gid) && text.empty();
}

std::uint32_t id_of(std::string_view status, std::string_view name) {
  std::string_view ids = field(status, name);
  return std::uint32_t(take_number(ids));
}

// The other groups of the first process.
std::vector<std::uint32_t> groups_of(std::string_view status) {
  std::vector<std::uint32_t> groups;
  std::string_view ids = field(status, "Groups:");
  while (!ids.empty() && is_digit(ids.front())) groups.push_back(std::uint32_t(take_number(ids)));
  return groups;
}

// With less the agent would fail in there without a word. Who has set itself such limits is no measure: the
// engine's exec has those that the container was given.
constexpr std::uint64_t kMega = 1024 * 1024;
constexpr std::pair<int, std::uint64_t> kLeast[] = {
    {RLIMIT_CPU, 60},         {RLIMIT_FSIZE, kMega}, {RLIMIT_DATA, 64 * kMega}, {RLIMIT_STACK, kMega / 4},
    {RLIMIT_AS, 256 * kMega}, {RLIMIT_NPROC, 16},    {RLIMIT_NOFILE, 32}};

// Of /proc/PID/limits, by the number of their resource.
std::vector<Limit> limits_of(std::string_view text) {
  std::vector<Limit> limits;
  take_line(text);  // the heads of its columns
  while (limits.size() < RLIM_NLIMITS)
    if (!parse_limit(take_line(text), limits.emplace_back())) refuse("its limits cannot be read");
  for (const auto& [resource, least] : kLeast)
    if (limits[std::size_t(resource)].soft < least) refuse("the limits of its first process leave no room");
  return limits;
}

void take_over(const std::vector<Limit>& limits) {
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    if (resource == RLIMIT_CORE) continue;  // our memory is not for files in there
    Limit theirs = limits[std::size_t(resource)], ours;
    if (::syscall(SYS_prlimit64, 0, resource, &theirs, nullptr) == 0) continue;
    // More than ours is not for everybody; less is.
    ::syscall(SYS_prlimit64, 0, resource, nullptr, &ours);
    theirs.hard = std::min(theirs.hard, ours.hard);
    theirs.soft = std::min(theirs.soft, theirs.hard);
    must(::syscall(SYS_prlimit64, 0, resource, &theirs, nullptr), "its limits");
  }
}

// Asks the engine. What it says besides goes to our own standard error.
Leader ask(char** command) {
  std::vector<std::string> words;
  for (char** word = command; *word != nullptr; ++word) words.emplace_back(*word);
  SpawnOptions options;
  options.die_with_parent = true;
  const std::string program = words[0];
  Result<FdPair> answer = make_pipe();
  if (!answer) refuse(answer.error().text);
  const Spawned engine =
      SpawnPlan(std::move(words), std::move(options)).run({.out = answer->second.get(), .err = 2});
  if (engine.pid < 0 && engine.error == ENOENT) say_and_end(cat(program, " ", kNotInstalled), 1);
  if (engine.pid < 0) refuse(cat(program, ": ", std::strerror(engine.error)));
  answer->second.reset();
  std::string said;
  read_all(answer->first.get(), kAnswerMax, said);
  answer->first.reset();
  int status = 0;
  retry([&] { return ::waitpid(engine.pid, &status, 0); });
  if (status != 0) refuse(cat(program, " does not name its first process"));
  if (said == "paused\n") say_and_end(kPaused, 1);
  Leader leader;
  if (!parse_leader(said, leader)) refuse(cat(program, " does not say who leads it, or as whom"));
  if (leader.pid == 0) say_and_end(kNotRunning, 1);
  return leader;
}

// The calls that the leader may make are ours. It is stopped for that, for a moment.
std::vector<std::vector<sock_filter>> filters_of(int pid, int folder) {
  std::vector<std::vector<sock_filter>> filters;
  must(::syscall(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0), kFilter);
  // The number may have been given away since its folder was opened.
  const bool is_same = !read_at(folder, "status").empty();
  int status = 0;
  if (::syscall(SYS_ptrace, PTRACE_INTERRUPT, pid, 0, 0) == 0)
    retry([&] { return ::waitpid(pid, &status, __WALL); });
  int error = 0;
  for (unsigned long index = 0; index < kFiltersMax; ++index) {
    const long count = ::syscall(SYS_ptrace, PTRACE_SECCOMP_GET_FILTER, pid, index, nullptr);
    if (count < 0 && errno == ENOENT) break;
    std::vector<sock_filter> filter(count > 0 && count <= BPF_MAXINSNS ? std::size_t(count) : 0);
    if (filter.empty() ||
        ::syscall(SYS_ptrace, PTRACE_SECCOMP_GET_FILTER, pid, index, filter.data()) != count) {
      error = errno;
      break;
    }
    filters.push_back(std::move(filter));
  }
  const bool has_signal = WIFSTOPPED(status) && status >> 16 == 0;  // that it was about to get
  ::syscall(SYS_ptrace, PTRACE_DETACH, pid, 0, has_signal ? WSTOPSIG(status) : 0);
  if (error != 0 || filters.empty() || filters.size() == kFiltersMax || !is_same)
    refuse(cat(kFilter, " cannot be read: ", std::strerror(error)));
  return filters;
}

struct Namespace {
  const char* file;
  int type;
  int theirs = -1;  // -1: it is ours as well, or we are in it already
};

// Opens those that differ.
void open_namespaces(int folder, Namespace* first, Namespace* end) {
  for (Namespace* one = first; one != end; ++one) {
    const std::string ours = link_at(AT_FDCWD, cat("/proc/self/", one->file).c_str());  // "mnt:[4026531840]"
    if (!ours.empty() && ours == link_at(folder, one->file)) continue;
    one->theirs = ::openat(folder, one->file, O_RDONLY | O_CLOEXEC);
    // There are kernels without some of them, and none without the last.
    if (one->theirs < 0 && (errno != ENOENT || one + 1 == end)) must(-1, kLook);
  }
}

// Whoever joins that could not be left again; of version 2, or of version 1.
bool is_frozen(const std::string& folder) {
  return read_at(AT_FDCWD, cat(folder, "/cgroup.events").c_str()).find("frozen 1") != std::string::npos ||
         read_at(AT_FDCWD, cat(folder, "/freezer.state").c_str()).starts_with('F');
}

std::vector<int> open_cgroups(std::string_view theirs) {
  std::vector<int> files;
  const std::string ours = read_at(AT_FDCWD, "/proc/self/cgroup");
  const bool has_unified = ::access("/sys/fs/cgroup/unified", F_OK) == 0;
  for (std::string_view line; next_foreign_cgroup(ours, theirs, line);) {
    const std::string folder = cgroup_folder(line, has_unified);
    if (is_frozen(folder)) say_and_end(kPaused, 1);
    const int file = folder.empty() ? -1 : ::open(cat(folder, "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
    // Outside of it neither its limits nor its rules for devices would hold.
    if (file < 0) refuse(cat("its cgroup cannot be joined: ", line));
    files.push_back(file);
  }
  return files;
}

// Waits for what runs in there and ends as it did. It holds nothing open: the end of the link must be seen.
[[noreturn]] void stand_by(pid_t pid) {
  close_from(0);
  int status = 0;
  retry([&] { return ::waitpid(pid, &status, 0); });
  if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
  ::kill(::getpid(), WTERMSIG(status));
  ::_exit(128 + WTERMSIG(status));
}

void install(const std::vector<std::vector<sock_filter>>& filters) {
  // The last one is the oldest.
  for (auto filter = filters.rbegin(); filter != filters.rend(); ++filter) {
    const sock_fprog program{static_cast<unsigned short>(filter->size()),
                             const_cast<sock_filter*>(filter->data())};
    must(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), kFilter);
  }
}

}  // namespace

bool parse_leader(std::string_view said, Leader& leader) {
  bool has_pid = false;
  while (!said.empty()) {
    const std::size_t end = said.find_first_of(" \t\r\n");
    std::string_view word = said.substr(0, end);
    said.remove_prefix(end == said.npos ? said.size() : end + 1);
    if (word.empty()) continue;
    if (has_pid && !leader.mark.empty())
      return parse_ids(word, leader) && said.find_first_not_of(" \t\r\n") == said.npos;
    if (!has_pid && is_digit(word.front()) && word.find_first_not_of("0123456789") == word.npos) {
      const std::uint64_t pid = word.size() <= 9 ? take_number(word) : UINT64_MAX;
      if (pid > INT_MAX) return false;
      leader.pid = int(pid);
      has_pid = true;
    } else if (leader.mark.empty()) {
      leader.mark = word;
    } else {
      return false;
    }
  }
  return has_pid;
}

bool is_marked(std::string_view cgroups, std::string_view mark) {
  if (mark.size() < kMarkMin || mark.find('/') != mark.npos) return false;
  while (!cgroups.empty()) {
    std::string_view path = take_line(cgroups);
    while (!path.empty()) {
      const std::size_t slash = path.rfind('/');
      const std::string_view folder = slash == path.npos ? std::string_view() : path.substr(slash + 1);
      const std::size_t at = folder.find(mark);
      // "ID", "docker-ID.scope", "machine-m.scope"
      const bool begins = at == 0 || (at != folder.npos && folder[at - 1] == '-');
      const std::size_t end = at == folder.npos ? at : at + mark.size();
      if (begins && (end == folder.size() || folder[end] == '.')) return true;
      path = path.substr(0, slash == path.npos ? 0 : slash);
    }
  }
  return false;
}

bool next_foreign_cgroup(std::string_view ours, std::string_view& theirs, std::string_view& line) {
  while (!theirs.empty()) {
    line = take_line(theirs);
    if (line.empty()) continue;
    bool is_ours = false;
    for (std::string_view rest = ours; !rest.empty() && !is_ours;) is_ours = take_line(rest) == line;
    if (!is_ours) return true;
  }
  return false;
}

// "0::/x" is version 2's, "4:cpu,cpuacct:/x" and "1:name=systemd:/x" are version 1's.
std::string cgroup_folder(std::string_view line, bool has_unified) {
  const std::size_t first = line.find(':'), second = first == line.npos ? first : line.find(':', first + 1);
  if (second == line.npos) return {};
  std::string_view kind = line.substr(first + 1, second - first - 1);
  const std::string_view path = line.substr(second + 1);
  constexpr std::string_view kNamed = "name=";
  if (kind.starts_with(kNamed)) kind.remove_prefix(kNamed.size());
  if (kind.empty() && has_unified) kind = "unified";
  // Above what we may see of them.
  if (!path.starts_with('/') || path.find("/..") != path.npos || kind.find('/') != kind.npos) return {};
  return cat("/sys/fs/cgroup", kind.empty() ? "" : "/", kind, path);
}

bool parse_limit(std::string_view line, Limit& limit) {
  constexpr std::string_view kUnlimited = "unlimited";
  constexpr std::size_t kNameWidth = 26;
  line.remove_prefix(std::min(line.size(), kNameWidth));
  for (std::uint64_t* value : {&limit.soft, &limit.hard}) {
    *value = UINT64_MAX;
    if (line.starts_with(kUnlimited))
      line.remove_prefix(kUnlimited.size());
    else if (!line.empty() && is_digit(line.front()))
      *value = take_number(line);
    else
      return false;
    while (line.starts_with(' ')) line.remove_prefix(1);
  }
  return limit.soft <= limit.hard;
}

void enter_namespaces(char* nonce, char** words) {
  const pid_t parent = ::getppid();
  Leader leader;
  if (!is_digit(words[0][0])) {
    leader = ask(words);
  } else if (!parse_leader(words[0], leader)) {
    refuse("that is no process");
  }

  // All that is looked at is that process's, whoever is given its number later.
  const int folder = ::open(cat("/proc/", leader.pid).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0 && leader.mark.empty()) say_and_end(cat(leader.pid, ": ", kNoProcess), 1);
  const std::string cgroups = fact(folder, "cgroup");
  if (folder < 0 || (!leader.mark.empty() && !is_marked(cgroups, leader.mark)))
    refuse("its first process is not one of this machine, or not marked as the engine's");
  if (read_at(AT_FDCWD, "/proc/self/attr/current") != read_at(folder, "attr/current"))
    refuse("a security module (AppArmor, SELinux) confines it, and would not us");
  const std::string status = fact(folder, "status"), score = fact(folder, "oom_score_adj");
  if (field(status, "CapBnd:").empty()) refuse(kLook);
  const std::vector<Limit> limits = limits_of(fact(folder, "limits"));
  const std::uint64_t bounds = parse_hex(field(status, "CapBnd:"));
  const bool has_no_new_privileges = field(status, "NoNewPrivs:") == "1";
  const std::string_view filtered = field(status, "Seccomp:");
  Namespace spaces[] = {{"ns/user", CLONE_NEWUSER}, {"ns/cgroup", CLONE_NEWCGROUP},
                        {"ns/ipc", CLONE_NEWIPC},   {"ns/uts", CLONE_NEWUTS},
                        {"ns/net", CLONE_NEWNET},   {"ns/time", CLONE_NEWTIME},
                        {"ns/pid", CLONE_NEWPID},   {"ns/mnt", CLONE_NEWNS}};
  open_namespaces(folder, std::begin(spaces), std::end(spaces));
  const bool has_user = spaces[0].theirs >= 0, has_pid = spaces[6].theirs >= 0;
  // An engine's container has files of its own; a process without is the machine's, whoever says what.
  if (!leader.mark.empty() && spaces[7].theirs < 0) refuse("the process that it names is not in a container");
  // In a user namespace the numbers are others.
  const bool is_that_user = !has_user && id_of(status, "Uid:") == leader.uid;
  if (leader.lacks_group && !is_that_user) refuse("the group of that user is known to the engine alone");
  if (leader.lacks_group) leader.gid = id_of(status, "Gid:");
  std::vector<std::uint32_t> groups;
  if (is_that_user && id_of(status, "Gid:") == leader.gid) groups = groups_of(status);
  const int root = ::openat(folder, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
  must(root, kLook);
  const std::vector<int> joined = open_cgroups(cgroups);
  std::vector<std::vector<sock_filter>> filters;
  if (filtered == "2") {
    filters = filters_of(leader.pid, folder);
  } else if (filtered == "1") {
    refuse("it may make next to no system calls");
  }
  const std::string directory = link_at(folder, "cwd");
  std::string environment = fact(folder, "environ", kEnvironmentMax);
  environment.push_back('\0');
  const int image = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), seals = ::fcntl(image, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_WRITE) == 0) refuse("this program does not run from sealed memory");

  // Who is to be killed first when memory runs out. To be spared more than now is not for everybody.
  if (const Fd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); file)
    write_all(file.get(), score.data(), score.size());
  // Until the image is executed anew, nobody in there may look into this process. Who may trace whatever is
  // there may do so all the same: so before it is there (the fork) it has no right that they have not, and
  // nothing of the outside open but its link and the image.
  ::prctl(PR_SET_DUMPABLE, 0);
  // Not of a process in there; and in a user namespace it may be forbidden.
  ::syscall(SYS_SETGROUPS, 0, nullptr);
  for (const int one : joined) {
    must(::write(one, "0", 1), "joining its cgroup");
    ::close(one);
  }
  take_over(limits);
  // From more rights to fewer the user namespace comes last, from fewer to more first: whichever it is.
  for (Namespace* one = spaces + 1; one != std::end(spaces); ++one)
    if (one->theirs >= 0 && ::setns(one->theirs, one->type) == 0) ::close(std::exchange(one->theirs, -1));
  for (const Namespace& one : spaces) {
    if (one.theirs < 0) continue;
    must(::setns(one.theirs, one.type), one.file);
    ::close(one.theirs);
  }
  must(::syscall(SYS_fchdir, root), kRoot);
  must(::chroot("."), kRoot);
  ::close(root);
  ::close(folder);
  // The keys that ours holds are not for those in there.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS && errno != EPERM)
    must(-1, "a keyring of its own");
  for (int capability = 0; capability < kCapabilitiesMax; ++capability) {
    // The last ones there are not.
    if ((bounds >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 &&
        errno != EINVAL)
      must(-1, kRights);
  }
  // Without it only who still has all rights may; then it has to let the next steps pass, as with any engine.
  if (!has_no_new_privileges) install(filters);
  // Where a user namespace forbids it there are none left but what it maps.
  if (::syscall(SYS_SETGROUPS, groups.size(), groups.data()) != 0 && !has_user) must(-1, "its groups");
  must(::syscall(SYS_SETRESGID, leader.gid, leader.gid, leader.gid), "its group");
  must(::syscall(SYS_SETRESUID, leader.uid, leader.uid, leader.uid), "its user");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct rights[2] = {};
  must(::syscall(SYS_capget, &header, rights), kRights);
  for (int i = 0; i < 2; ++i) {
    const auto mask = std::uint32_t(bounds >> 32 * i);
    rights[i].effective &= mask;
    rights[i].permitted &= mask;
    rights[i].inheritable = 0;
  }
  must(::syscall(SYS_capset, &header, rights), kRights);
  // A change of rights has forgotten both.
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  if (has_no_new_privileges) {
    must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), kRights);
    install(filters);
  }

  if (has_pid) {
    const pid_t inside = ::fork();
    must(inside, "fork");
    if (inside > 0) stand_by(inside);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::umask(022);
  if (::chdir(directory.c_str()) != 0) must(::chdir("/"), kRoot);

  // It may have written over its own: what is left of that are no variables. And ours are not for it to set.
  std::vector<char*> variables;
  for (std::size_t at = 0; at < environment.size(); at = environment.find('\0', at) + 1)
    if (const char* one = environment.data() + at;
        std::strchr(one, '=') != nullptr && std::strncmp(one, "BANYAN_", 7) != 0)
      variables.push_back(environment.data() + at);
  // An init may have none, and its containers' programs lie where all do.
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  if (std::ranges::none_of(variables, [](const char* one) { return std::strncmp(one, "PATH=", 5) == 0; }))
    variables.push_back(path);
  variables.push_back(nullptr);
  char name[] = "banyan-agent";
  char* argv[] = {name, nonce, nullptr};
  must(::syscall(SYS_execveat, image, "", argv, variables.data(), AT_EMPTY_PATH), "executing from memory");
  ::_exit(1);
}

}  // namespace banyan
