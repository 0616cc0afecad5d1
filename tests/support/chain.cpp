#include "tests/support/chain.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "core/fd.h"
#include "core/text.h"
#include "tests/support/processes.h"

namespace banyan::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kNamespaces = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
constexpr std::chrono::seconds kComesIn{20};
constexpr const char *kServer = "/opt/sshd", *kServerLog = "/var/log/sshd", *kServerPid = "/run/sshd.pid";
// Addresses that are for test beds (RFC 2544). Wire i has four of them: the machine before it is 1, the one
// behind it 2.
constexpr const char* kNetwork = "198.18.";

// Runs there until that machine ends. Only system calls: we are a copy of a program with threads.
[[noreturn]] void be_first_process(int go) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Who made us may have ended before that.
  char byte = 0;
  if (retry([&] { return ::read(go, &byte, 1); }) != 1) ::_exit(0);
  ::prctl(PR_SET_NAME, "first");
  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &ended, nullptr);
  ::setsid();
  ::syscall(SYS_close_range, 0U, ~0U, 0U);
  for (;;) {
    siginfo_t info;
    ::sigwaitinfo(&ended, &info);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

void must(bool is_so, const std::string& what) {
  if (!is_so) throw std::runtime_error("chain: " + what);
}

struct Said {
  int status = -1;
  std::string text;
};

// Runs the words in the namespaces of that process, as their own processes see it.
Said run_in(pid_t first, int namespaces, const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int out[2];
  must(::pipe2(out, O_CLOEXEC) == 0, "pipe");
  const pid_t pid = ::fork();
  must(pid >= 0, "fork");
  if (pid == 0) {
    const Fd machine(int(::syscall(SYS_pidfd_open, first, 0)));
    if (::setns(machine.get(), namespaces) != 0) ::_exit(126);
    const pid_t inside = ::fork();  // only children are in the process namespace
    if (inside == 0) {
      ::dup2(out[1], 1);
      ::dup2(out[1], 2);
      ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    int status = 0;
    retry([&] { return ::waitpid(inside, &status, 0); });
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  ::close(out[1]);
  Said said;
  char bytes[4096];
  // Not until its end: what stays in the background may hold it open.
  for (bool has_ended = false;;) {
    pollfd wait = {out[0], POLLIN, 0};
    if (::poll(&wait, 1, has_ended ? 0 : 2) > 0) {
      const ssize_t got = retry([&] { return ::read(out[0], bytes, sizeof bytes); });
      if (got > 0) {
        said.text.append(bytes, std::size_t(got));
        continue;
      }
      if (!has_ended) retry([&] { return ::waitpid(pid, &said.status, 0); });
      break;
    }
    if (has_ended) break;
    has_ended = retry([&] { return ::waitpid(pid, &said.status, WNOHANG); }) == pid;
  }
  ::close(out[0]);
  return said;
}

std::string link_of(pid_t pid, const char* what) {
  std::error_code error;
  return fs::read_symlink(cat("/proc/", pid, "/ns/", what), error).string();
}

std::string text_of(const std::string& path) {
  std::string text = read_file(path);
  return text.substr(0, text.find_last_not_of(" \n") + 1);
}

std::string address_of(std::size_t wire, int end) {
  return cat(kNetwork, wire, ".", end);
}

// A root file system out of nothing, and into it. $name: who it is; $server: what it has of ours.
constexpr const char* kMakeRoot = R"(
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /mnt
cd /mnt
for folder in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L /$folder ]; then cp -P /$folder .
  elif [ -d /$folder ]; then mkdir $folder; mount --bind /$folder $folder; mount -o remount,bind,ro $folder
  fi
done
mkdir -p dev proc tmp run etc var/tmp var/log var/lib root home opt before
chmod 1777 var/tmp
chmod 700 root
mount -t tmpfs -o mode=1777 none tmp
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=755 none dev
mkdir dev/shm dev/pts run/sshd
mount -t tmpfs -o mode=1777 none dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty; do
  : >dev/$device
  mount --bind /dev/$device dev/$device
done
mount -t proc none proc
cd etc
mkdir ssh pam.d sudoers.d ssl
for file in alternatives ld.so.cache localtime login.defs security ssl/openssl.cnf; do
  if [ -e /etc/$file ]; then cp -a /etc/$file $file; fi
done
cat >passwd <<END
root:x:0:0:root:/root:/bin/sh
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
ann:x:24001:24001::/home/ann:/bin/sh
db:x:24002:24002::/home/db:/bin/sh
END
cat >group <<END
root:x:0:
tty:x:5:
ann:x:24001:
db:x:24002:
nogroup:x:65534:
END
cat >shadow <<END
root:*:19000:0:99999:7:::
ann:*:19000:0:99999:7:::
db:*:19000:0:99999:7:::
END
chmod 600 shadow
for database in passwd group shadow hosts; do echo "$database: files"; done >nsswitch.conf
echo "127.0.0.1 localhost $name" >hosts
for service in sudo su sshd other; do
  printf '%s\n' 'auth required pam_unix.so' 'account required pam_unix.so' 'session required pam_permit.so' >pam.d/$service
done
cd ..
mkdir -m 700 home/ann home/db
chown 24001:24001 home/ann
chown 24002:24002 home/db
: >opt/sshd
mount --bind "$server" opt/sshd
bind_folders
pivot_root . before
cd /
umount -l before
rmdir before
echo $name >/proc/sys/kernel/hostname
echo 0 >/proc/sys/net/ipv4/ip_forward
# A wire that works again is used within a second, however long it did not, and until then nobody gives up: where
# the kernel lets us say so.
for setting in tcp_rto_max_ms:1000 tcp_retries2:250 tcp_orphan_retries:250; do
  file=/proc/sys/net/ipv4/${setting%:*}
  if [ -e $file ] && [ -e /proc/sys/net/ipv4/tcp_rto_max_ms ]; then echo ${setting#*:} >$file; fi
done
ip link set lo up
)";

}  // namespace

std::string lacks_for_chains() {
  if (std::system("command -v ip >/dev/null && command -v nsenter >/dev/null") != 0)
    return "there is no ip or no nsenter (Debian: iproute2, util-linux)";
  static const bool may = std::system("unshare -nmpui --fork true 2>/dev/null") == 0;
  return may ? "" : "network and process namespaces, which chains of machines are made of, are only for root";
}

struct Machine::Plan {
  const Chain::Options& options;
};

namespace {

// For kMakeRoot: in the new root, which is where it is called.
std::string bind_folders(const Chain::Options& options) {
  std::string lines = "bind_folders() {\n:\n";
  for (const auto& [there, ours] : options.folders)
    lines += cat("mkdir -p '.", there, "'\nmount --bind '", ours, "' '.", there,
                 "'\nmount -o remount,bind,ro '.", there, "'\n");
  return lines + "}\n";
}

}  // namespace

Machine::Machine(std::string name, std::string address, const Plan& plan)
    : name_(std::move(name)), address_(std::move(address)) {
  int go[2];
  must(::pipe2(go, O_CLOEXEC) == 0, "pipe");
  first_.pid = pid_t(::syscall(SYS_clone, kNamespaces | SIGCHLD, 0, 0, 0, 0));
  if (first_.pid == 0) {
    ::close(go[1]);
    be_first_process(go[0]);
  }
  ::close(go[0]);
  const bool is_going = ::write(go[1], "g", 1) == 1;
  ::close(go[1]);
  must(first_.pid > 0 && is_going, "no namespaces");
  const Said made = run_in(first_.pid, kNamespaces,
                           {"sh", "-ec",
                            cat("name='", name_, "' server='", plan.options.server, "'\n",
                                bind_folders(plan.options), kMakeRoot)});
  must(made.status == 0, cat(name_, ": ", made.text));
  write("/etc/sudoers", plan.options.sudoers, 0440);
  if (address_.empty()) return;
  write("/etc/ssh/sshd_config",
        cat(plan.options.server_lines, "\nListenAddress 0.0.0.0\nHostKey /etc/ssh/key\nPidFile ", kServerPid,
            "\nAuthorizedKeysFile .ssh/authorized_keys\nUsePAM no\nPermitRootLogin prohibit-password\n",
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\n",
            "UseDNS no\nAcceptEnv BANYAN_TEST_*\nLogLevel VERBOSE\nMaxStartups 300\n"));
  change_host_key();
}

// Of those that were brought to a machine: whoever brought one and has ended leaves it to us.
static void reap_adopted() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || parent_of(pid) != ::getpid() || is_running(pid)) continue;
    // Its numbers, here and there; a machine's first process is 1 there.
    const std::string status = read_file(entry.path() / "status");
    const std::size_t at = status.find(cat("\nNSpid:\t", pid, "\t"));
    if (at == status.npos) continue;
    const std::string numbers = status.substr(at + 1, status.find('\n', at + 1) - at - 1);
    if (!numbers.ends_with("\t1")) ::waitpid(pid, nullptr, WNOHANG);
  }
}

// The kernel ends it when nobody is left there, so neither may wait for the other.
Machine::First::~First() {
  if (pid <= 0) return;
  ::kill(pid, SIGKILL);
  while (retry([&] { return ::waitpid(pid, nullptr, WNOHANG); }) == 0) {
    reap_adopted();
    ::poll(nullptr, 0, 1);
  }
}

std::string Machine::outside(const std::string& path) const {
  return cat("/proc/", first_.pid, "/root", path);
}

std::vector<std::string> Machine::starter() const {
  return {"nsenter",    "-t",          cat(first_.pid, ""),
          "-n",         "-m",          "-p",
          "-u",         "-i",          "--",
          "env",        "-u",          "SSH_AUTH_SOCK",
          "HOME=/root", "TMPDIR=/tmp", "XDG_RUNTIME_DIR=/run"};
}

std::string Machine::run(const std::string& line) const {
  const Said said = run_in(first_.pid, kNamespaces, {"sh", "-c", line});
  must(said.status == 0, cat(name_, ": ", line, ": ", said.text));
  return said.text;
}

void Machine::write(const std::string& path, const std::string& content, mode_t mode) const {
  std::ofstream(outside(path), std::ios::binary) << content;
  must(::chmod(outside(path).c_str(), mode) == 0, path);
}

std::uint64_t Machine::bytes_received() const {
  const std::string wires = read_file(cat("/proc/", first_.pid, "/net/dev")), name = "before:";
  const std::size_t at = wires.find(name);
  must(at != wires.npos, cat(name_, " has no wire"));
  return std::strtoull(wires.c_str() + at + name.size(), nullptr, 10);
}

std::vector<Machine::Process> Machine::processes() const {
  std::vector<Process> found;
  const std::string ours = link_of(first_.pid, "pid");
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == first_.pid || pid == server_ || link_of(pid, "pid") != ours || !is_running(pid))
      continue;
    struct stat status = {};
    if (::stat(entry.path().c_str(), &status) != 0) continue;
    std::string command = read_file(entry.path() / "cmdline");
    for (char& c : command) {
      if (c == '\0') c = ' ';
    }
    found.push_back({pid, status.st_uid, text_of(entry.path() / "comm"), command});
  }
  return found;
}

pid_t Machine::the(const std::string& name) const {
  pid_t found = -1;
  for (const Process& process : processes()) {
    if (process.name != name) continue;
    if (found > 0) return -1;
    found = process.pid;
  }
  return found;
}

pid_t Machine::wait_for(const std::string& name) const {
  const auto deadline = Clock::now() + kComesIn;
  pid_t found = -1;
  while ((found = the(name)) < 0 && Clock::now() < deadline) ::poll(nullptr, 0, 5);
  must(found > 0, cat(name_, " has no ", name));
  return found;
}

// Of a folder its time is not its own: whatever comes and goes in it changes that.
Machine::Files Machine::files() const {
  Files found;
  const std::string root = outside("/");
  std::error_code error;
  for (fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, error), end;
       at != end; at.increment(error)) {
    const std::string path = at->path().string().substr(root.size() - 1);
    struct stat status = {};
    if (::lstat(at->path().c_str(), &status) != 0) continue;  // it has just gone
    for (const char* foreign : {"/proc", "/sys", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
                                "/libx32", "/opt", "/dev/pts"})
      if (path == foreign) at.disable_recursion_pending();
    std::string what = cat("mode ", std::uint32_t(status.st_mode), " user ", std::uint32_t(status.st_uid));
    const bool is_servers = path == kServerLog || path == kServerPid || path.starts_with("/etc/ssh/key");
    if (S_ISREG(status.st_mode) && !is_servers)
      what += cat(" bytes ", std::int64_t(status.st_size), " time ", std::int64_t(status.st_mtim.tv_sec), ".",
                  std::int64_t(status.st_mtim.tv_nsec));
    found[path] = what;
  }
  return found;
}

std::string Machine::host_key() const {
  return text_of(outside("/etc/ssh/key.pub"));
}

void Machine::change_host_key() {
  stop_server();
  run("rm -f /etc/ssh/key*; exec ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/key");
  start_server();
}

void Machine::stop_server() {
  if (server_ <= 0) return;
  // Its sessions, which are not its only processes, have their own groups.
  ::kill(server_, SIGKILL);
  const auto deadline = Clock::now() + kComesIn;
  while (is_running(server_) && Clock::now() < deadline) ::poll(nullptr, 0, 1);
  must(!is_running(server_), "sshd does not end");
  server_ = -1;
  ::unlink(outside(kServerPid).c_str());
}

void Machine::start_server() {
  run(cat(kServer, " -E ", kServerLog));
  // It becomes a child of the first process, and says where it is once it listens.
  const auto deadline = Clock::now() + kComesIn;
  std::string number;
  while (!(number = read_file(outside(kServerPid))).ends_with('\n') && Clock::now() < deadline)
    ::poll(nullptr, 0, 1);
  for (const Process& process : processes()) {
    const std::string status = read_file(cat("/proc/", process.pid, "/status"));
    if (status.find(cat("\nNSpid:\t", process.pid, "\t", number)) != status.npos) server_ = process.pid;
  }
  must(server_ > 0, cat(name_, ": ", read_file(outside(kServerLog))));
}

Chain::Chain(const Options& options) : length_(options.length) {
  const Machine::Plan plan = {options};
  machines_.emplace_back(new Machine("home", "", plan));
  for (std::size_t i = 0; i < options.length; ++i) add(std::string(1, char('A' + i)), plan);
  for (std::size_t i = 1; i <= options.leaves; ++i) add(cat("h", i), plan);
  write_configurations(options);
  remember_files();
}

// And wires it to the one before it.
void Chain::add(const std::string& name, const Machine::Plan& plan) {
  const std::size_t number = machines_.size() - 1;
  const Machine& behind = *machines_.emplace_back(new Machine(name, address_of(number, 2), plan));
  const Machine& before = this->before(number + 1);
  const auto ip = [](const Machine& machine, const std::string& line) {
    // The numbers of processes are ours, so that is all we enter.
    const Said said = run_in(machine.first(), CLONE_NEWNET, {"sh", "-ec", line});
    must(said.status == 0, said.text);
  };
  ip(before,
     cat("ip link add ", name, " type veth peer name before netns ", behind.first(), "; ip address add ",
         address_of(number, 1), "/30 dev ", name, "; ip link set ", name, " up"));
  ip(behind, cat("ip address add ", address_of(number, 2), "/30 dev before; ip link set before up"));
  const std::string hosts = read_file(before.outside("/etc/hosts"));
  before.write("/etc/hosts", cat(hosts, behind.address(), " ", name, "\n"), 0644);
}

void Chain::let_hops_in() {
  for (std::size_t i = 2; i < machines_.size(); ++i) {
    const Machine &hop = before(i), &next = *machines_[i];
    const std::string known = read_file(hop.outside(kKnownHosts)), keys = "/root/.ssh/authorized_keys";
    if (known.empty()) {
      hop.run(cat("exec ssh-keygen -q -t ed25519 -N '' -C '' -f ", kUserKey));
      hop.write("/root/.ssh/config", "KexAlgorithms curve25519-sha256\n");
    }
    hop.write(kKnownHosts, cat(known, next.name(), ",", next.address(), " ", next.host_key(), "\n"));
    next.write(keys, read_file(next.outside(keys)) + read_file(hop.outside(cat(kUserKey, ".pub"))), 0644);
  }
}

void Chain::remember_files() {
  files_.clear();
  for (const auto& machine : machines_) files_.push_back(machine->files());
}

void Chain::write_configurations(const Options& options) {
  home().run(cat("mkdir -m 700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -C '' -f ", kUserKey));
  std::string known,
      to_all = cat(options.client_lines, "\nUser ", options.user, "\nIdentityFile ", kUserKey,
                   "\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile ", kKnownHosts,
                   "\nGlobalKnownHostsFile none\nConnectTimeout 20\n"
                   // The default costs ten times as much processor time.
                   "KexAlgorithms curve25519-sha256\n");
  std::string hosts[3];  // by tunnel, relay, both
  for (std::size_t i = 1; i < machines_.size(); ++i) {
    Machine& machine = *machines_[i];
    machine.run(
        "for home in /root /home/ann; do mkdir -m 700 $home/.ssh; done; chown ann:ann /home/ann/.ssh");
    for (const char* user_home : {"/root", "/home/ann"})
      machine.write(cat(user_home, "/.ssh/authorized_keys"),
                    read_file(home().outside("/root/.ssh/id_ed25519.pub")), 0644);
    known += cat(machine.address(), " ", machine.host_key(), "\n");
    for (std::size_t way = 0; way < 3; ++way) {
      hosts[way] += cat("Host ", machine.name(), "\nHostName ", machine.address(), "\n");
      if (i > 1 && (way == 0 || (way == 2 && i == 2)))
        hosts[way] += cat("ProxyJump ", before(i).name(), "\n");
    }
  }
  if (options.has_keys_on_hops) let_hops_in();
  home().write(kKnownHosts, known);
  const char* files[] = {kTunnel, kRelay, kMixed};
  for (std::size_t way = 0; way < 3; ++way) home().write(files[way], cat(hosts[way], "Host *\n", to_all));
}

void Chain::cut(char name) {
  // At the far end: whoever sends at the near one sees no error, as with a cable that is cut elsewhere.
  (*this)[name].run("ip link set before down");
}

void Chain::mend(char name) {
  (*this)[name].run("ip link set before up");
}

bool Chain::is_quiet(int within_seconds) const {
  const auto deadline = Clock::now() + std::chrono::seconds(within_seconds);
  for (const auto& machine : machines_) {
    while (!machine->processes().empty()) {
      if (Clock::now() > deadline) return false;
      ::poll(nullptr, 0, 10);
    }
  }
  return true;
}

std::vector<std::string> Chain::leftovers() const {
  std::vector<std::string> found;
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    const Machine& machine = *machines_[i];
    for (const Machine::Process& process : machine.processes())
      found.push_back(cat(machine.name(), ": process ", process.pid, " of user ", process.user, ", ",
                          process.name, ": ", process.command));
    const Machine::Files now = machine.files();
    for (const auto& [path, what] : now) {
      const auto before = files_[i].find(path);
      if (before == files_[i].end())
        found.push_back(cat(machine.name(), ": new file ", path, ", ", what));
      else if (before->second != what)
        found.push_back(cat(machine.name(), ": ", path, " was ", before->second, ", is ", what));
    }
    for (const auto& [path, what] : files_[i])
      if (!now.contains(path)) found.push_back(cat(machine.name(), ": ", path, " has gone"));
  }
  return found;
}

}  // namespace banyan::test
