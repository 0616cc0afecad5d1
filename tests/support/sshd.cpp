#include "tests/support/sshd.h"

#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/fd.h"
#include "core/text.h"
#include "tests/support/not_tested.h"
#include "tests/support/processes.h"

namespace banyan::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kRunFolder = "/run/sshd";  // as root, sshd wants it to be there, and empty
constexpr int kStartsMax = 20;                   // somebody may take the port we found free
constexpr std::chrono::seconds kStartsIn{20};
constexpr std::chrono::seconds kSessionsEndIn{10}, kLeftoversGoIn{5};
constexpr uid_t kFirstUser = 23'000;  // of the accounts: nobody's on an ordinary machine

void write_file(const std::string& path, const std::string& content, mode_t mode = 0600) {
  std::ofstream(path, std::ios::binary) << content;
  ::chmod(path.c_str(), mode);
}

std::string my_name() {
  const passwd* me = ::getpwuid(::geteuid());
  return me != nullptr ? me->pw_name : "root";
}

// Free at this moment.
std::uint16_t free_port() {
  Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

int run(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  int status = -1;
  retry([&] { return ::waitpid(pid, &status, 0); });
  return status;
}

// `type`: "ed25519", "rsa -b 3072".
void make_key(const std::string& type, const std::string& path) {
  REQUIRE(run({"sh", "-c", cat("exec ssh-keygen -q -t ", type, " -N '' -C '' -f '", path, "'")}) == 0);
}

// As /etc/shadow has it.
std::string hash_of(const std::string& password) {
  int in[2], out[2];
  REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::execlp("openssl", "openssl", "passwd", "-6", "-stdin", nullptr);
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  REQUIRE(::write(in[1], password.data(), password.size()) == ssize_t(password.size()));
  ::close(in[1]);
  char bytes[256];
  const ssize_t got = retry([&] { return ::read(out[0], bytes, sizeof bytes); });
  ::close(out[0]);
  retry([&] { return ::waitpid(pid, nullptr, 0); });
  REQUIRE(got > 10);
  const std::string hash(bytes, std::size_t(got));
  return hash.substr(0, hash.find('\n'));
}

// Without PAM sshd refuses an account that is locked, as root's is on many machines.
bool is_locked(const std::string& name) {
  std::ifstream shadow("/etc/shadow");
  for (std::string line; std::getline(shadow, line);) {
    if (line.starts_with(name + ":!")) return true;
  }
  return false;
}

}  // namespace

std::string find_server(std::string_view name) {
  if (std::getenv("BANYAN_HIDE_SERVERS") != nullptr) return "";  // to see what is skipped then
  const char* path = std::getenv("PATH");
  const std::string folders =
      cat(std::string_view(path != nullptr ? path : ""), ":/usr/local/sbin:/usr/sbin:/sbin:");
  for (std::size_t from = 0, to; (to = folders.find(':', from)) != folders.npos; from = to + 1) {
    const std::string file = cat(folders.substr(from, to - from), "/", name);
    if (file[0] == '/' && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

bool has_sshd() {
  if (!find_server("sshd").empty() && ::access("/usr/bin/ssh", X_OK) == 0) return true;
  not_tested("sshd", "there is no sshd or no ssh (Debian: openssh-server, openssh-client)");
  return false;
}

bool has_dropbear() {
  if (!find_server("dropbear").empty() && ::access("/usr/bin/ssh", X_OK) == 0) return true;
  not_tested("dropbear", "there is no dropbear or no ssh (Debian: dropbear-bin, openssh-client)");
  return false;
}

bool has_namespaces() {
  static const bool has = run({"unshare", "-m", "true"}) == 0;
  if (!has) not_tested("mounts", "a mount namespace, which this needs, is only for root");
  return has;
}

std::vector<pid_t> descendants_of(pid_t ancestor) {
  std::vector<pid_t> all, found = {ancestor};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    if (const pid_t pid = std::atoi(entry.path().filename().c_str()); pid > 0) all.push_back(pid);
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (pid_t pid : all) {
      if (parent_of(pid) == found[i] && is_running(pid)) found.push_back(pid);
    }
  }
  found.erase(found.begin());
  return found;
}

Sshd::Sshd(const Options& options) {
  const char* base = std::getenv("TMPDIR");
  folder_ = cat(std::string_view(base != nullptr ? base : "/tmp"), "/sshd-XXXXXX");
  REQUIRE(::mkdtemp(folder_.data()) != nullptr);
  client_config_ = folder_ + "/ssh_config";
  own_namespace_ = !options.accounts.empty() || !options.setup.empty() || !options.pam.empty();
  make_key("ed25519", folder_ + "/user_key");
  for (const std::string& type : options.host_keys) make_key(type, host_key_file(host_keys_++));
  if (::geteuid() == 0 && ::mkdir(kRunFolder, 0755) == 0) made_run_folder_ = true;
  if (own_namespace_) make_homes(options);
  for (int attempt = 0; attempt < kStartsMax; ++attempt) {
    if (start(options)) return;
    if (log().find("Address already in use") == std::string::npos) break;
  }
  FAIL("sshd does not start: " << log());
}

Sshd::~Sshd() {
  const auto deadline = Clock::now() + kSessionsEndIn;
  while (pid_ > 0 && !descendants_of(pid_).empty() && Clock::now() < deadline) ::poll(nullptr, 0, 5);
  if (pid_ > 0) {
    for (pid_t pid : descendants_of(pid_)) {
      FAIL_CHECK("left behind by the server: " << read_file(cat("/proc/", pid, "/cmdline")));
      ::kill(pid, SIGKILL);
    }
    for (const std::string& file : leftovers()) FAIL_CHECK("left behind by an agent: " << file);
    end_server(pid_);
  }
  if (made_run_folder_) ::rmdir(kRunFolder);
  std::error_code error;
  fs::remove_all(folder_, error);
}

std::string Sshd::host_key_file(std::size_t number) const {
  return cat(folder_, "/host_key", number);
}

std::string Sshd::host_key(std::size_t number) const {
  const std::string key = read_file(host_key_file(number) + ".pub");
  return key.substr(0, key.find_last_not_of(" \n") + 1);
}

std::string Sshd::log() const {
  return read_file(folder_ + "/log");
}

std::string Sshd::outside(const std::string& path) const {
  return own_namespace_ ? cat("/proc/", pid_, "/root", path) : path;
}

std::vector<std::string> Sshd::leftovers() const {
  // A stage 0 whose connection was cut sees that a little later than we do.
  const auto deadline = Clock::now() + kLeftoversGoIn;
  std::vector<std::string> found;
  while (!(found = files_of_stage0()).empty() && Clock::now() < deadline) ::poll(nullptr, 0, 5);
  return found;
}

std::vector<std::string> Sshd::files_of_stage0() const {
  std::vector<std::string> found;
  if (!own_namespace_) return found;  // the leak check looks at the folders of the machine, and at /tmp
  std::vector<std::string> folders = {"/dev/shm", "/var/tmp", "/"};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(outside(kHomes), error))
    folders.push_back(cat(std::string_view(kHomes), "/", entry.path().filename().string()));
  for (const std::string& folder : folders) {
    for (const auto& entry : fs::directory_iterator(outside(folder), error)) {
      if (entry.path().filename().string().starts_with(".banyan-"))
        found.push_back(cat(folder, "/", entry.path().filename().string()));
    }
  }
  return found;
}

bool Sshd::start(const Options& options) {
  port_ = free_port();
  write_configurations(options);
  write_file(folder_ + "/log", "");
  const std::string line = server_line(options);
  std::vector<std::string> words = {"sh", "-ec", line};
  if (own_namespace_) words = {"unshare", "-m", "sh", "-ec", namespace_script(options) + line};
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    ::setsid();
    const Fd log(::open(cat(folder_, "/log").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    ::dup2(log.get(), 1);
    ::dup2(log.get(), 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  if (wait_until_listening(options.kind)) return true;
  ::kill(pid_, SIGKILL);
  retry([&] { return ::waitpid(pid_, nullptr, 0); });
  pid_ = -1;
  return false;
}

// It says so in its log; or it ends.
bool Sshd::wait_until_listening(Kind kind) const {
  const std::string_view ready = kind == Kind::kOpenSsh ? "Server listening on" : "Not backgrounding";
  const Fd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const Fd process(int(::syscall(SYS_pidfd_open, pid_, 0)));
  REQUIRE(::inotify_add_watch(changes.get(), cat(folder_, "/log").c_str(), IN_MODIFY) >= 0);
  const auto deadline = Clock::now() + kStartsIn;
  for (;;) {
    if (log().find(ready) != std::string::npos) return true;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait[] = {{changes.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
    if (left <= 0 || ::poll(wait, 2, int(left)) == 0 || wait[1].revents != 0) return false;
    char events[4096];
    [[maybe_unused]] auto read = ::read(changes.get(), events, sizeof events);
  }
}

std::string Sshd::server_line(const Options& options) const {
  if (options.kind == Kind::kOpenSsh)
    return cat("exec ", find_server("sshd"), " -D -f ", folder_, "/sshd_config -E ", folder_, "/log");
  std::string conversions, names;
  for (std::size_t i = 0; i < host_keys_; ++i) {
    const std::string key = cat(folder_, "/dropbear_key", i);
    conversions +=
        cat("test -e ", key, " || dropbearconvert openssh dropbear ", host_key_file(i), " ", key, "\n");
    names += cat(" -r ", key);
  }
  const bool has_passwords =
      std::ranges::any_of(options.accounts, [](const Account& account) { return !account.password.empty(); });
  const std::string_view without_passwords = has_passwords ? "" : " -s";
  return cat(conversions, "exec ", find_server("dropbear"), " -F -E", without_passwords,
             " -p 127.0.0.1:", port_, " -P ", folder_, "/dropbear_pid", names);
}

void Sshd::write_configurations(const Options& options) {
  const std::string keys =
      own_namespace_ ? cat(std::string_view(kHomes), "/authorized_keys") : folder_ + "/authorized_keys";
  if (!own_namespace_) write_file(keys, authorized_keys(options));
  // What the start-up files of whoever runs the tests do and cost is not our business.
  const std::string home_elsewhere = own_namespace_ ? "" : cat("\nSetEnv HOME=", folder_, "/home");
  if (!own_namespace_) fs::create_directory(folder_ + "/home");
  const bool needs_pam = ::geteuid() == 0 && !own_namespace_ && is_locked(my_name());
  // Of this one sshd takes the last.
  const bool has_startups = options.server_lines.find("MaxStartups") != std::string::npos;
  const char* startups = has_startups ? "" : "MaxStartups 300\n";
  std::string host_keys, known;
  for (std::size_t i = 0; i < host_keys_; ++i) {
    host_keys += cat("\nHostKey ", host_key_file(i));
    known += cat("[127.0.0.1]:", port_, " ", host_key(i), "\n");
  }
  write_file(
      folder_ + "/sshd_config",
      cat(options.server_lines,
          std::string_view(
              options.pam.empty()
                  ? ""
                  : "\nUsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes"),
          home_elsewhere, "\nListenAddress 127.0.0.1\nPort ", port_, host_keys, "\nPidFile none\n",
          "AuthorizedKeysFile ", keys, "\nStrictModes no\nUsePAM ",
          std::string_view(needs_pam ? "yes" : "no"),
          "\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
          "PrintMotd no\nPrintLastLog no\nUseDNS no\nAcceptEnv BANYAN_TEST_*\nLogLevel VERBOSE\n",
          std::string_view(startups)));
  write_file(folder_ + "/known_hosts", known);
  // The default key exchange costs ten times as much processor time, which is not what we test.
  write_file(client_config_,
             cat("Host web db*\n", options.client_lines, "\nHostName 127.0.0.1\nPort ", port_, "\nUser ",
                 my_name(), "\nIdentityFile ", folder_,
                 "/user_key\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile ", folder_,
                 "/known_hosts\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\nSendEnv "
                 "BANYAN_TEST_*\n"));
}

std::string Sshd::authorized_keys(const Options& options) const {
  return read_file(folder_ + "/user_key.pub") + options.authorized_keys;
}

void Sshd::make_homes(const Options& options) const {
  const std::string homes = folder_ + "/homes";
  fs::create_directory(homes);
  ::chmod(homes.c_str(), 0755);
  write_file(homes + "/authorized_keys", authorized_keys(options), 0644);
  std::string passwd = read_file("/etc/passwd"), shadow = read_file("/etc/shadow");
  uid_t user = kFirstUser;
  for (const Account& account : options.accounts) {
    const std::string id = cat(std::int64_t(user));
    passwd += cat(account.name, ":x:", id, ":", id, "::", home(account.name), ":", account.shell, "\n");
    // Changed on a day long ago, and good for ten days or for ever.
    shadow += cat(account.name, ":", account.password.empty() ? "*" : hash_of(account.password),
                  ":18000:0:", account.has_expired ? "10" : "99999", ":7:::\n");
    const std::string folder = cat(homes, "/", account.name);
    fs::create_directory(folder);
    for (const Options::File& file : options.files) {
      if (file.account != account.name) continue;
      const fs::path path = fs::path(folder) / file.path;
      fs::create_directories(path.parent_path());
      write_file(path, file.content, 0644);
    }
    fs::create_directory(folder + "/.ssh");  // where dropbear looks
    write_file(folder + "/.ssh/authorized_keys", authorized_keys(options), 0644);
    std::vector<fs::path> all = {folder};
    for (const auto& entry : fs::recursive_directory_iterator(folder)) all.push_back(entry.path());
    for (const fs::path& path : all) REQUIRE(::chown(path.c_str(), user, user) == 0);
    ++user;
  }
  if (!options.pam.empty()) {
    fs::create_directory(folder_ + "/pam.d");
    write_file(folder_ + "/pam.d/sshd", options.pam, 0644);
  }
  write_file(folder_ + "/passwd", passwd, 0644);
  write_file(folder_ + "/shadow", shadow);
}

// Folders of its own wherever an agent may look for room, so that what is left there is this server's.
std::string Sshd::namespace_script(const Options& options) const {
  return cat("here='", folder_, "'\nmount --bind ", folder_, "/passwd /etc/passwd\nmount --bind ", folder_,
             "/shadow /etc/shadow\nmount --bind ", folder_, "/homes ", std::string_view(kHomes),
             "\nmount -t tmpfs -o mode=1777 none /dev/shm\nmount -t tmpfs -o mode=1777 none /var/tmp\n",
             options.pam.empty() ? "" : cat("mount --bind ", folder_, "/pam.d /etc/pam.d\n"), options.setup,
             "\n");
}

}  // namespace banyan::test
