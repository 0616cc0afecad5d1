#include "bench/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/fd.h"

namespace banyan::bench {

namespace {

constexpr int kAttempts = 20;         // at a port that nobody else takes meanwhile
constexpr double kPatienceUs = 10e6;  // for sshd to listen
constexpr const char* kKeyExchange = "curve25519-sha256";
constexpr const char* kCipher = "aes128-ctr";
constexpr const char* kMac = "hmac-sha2-256";
constexpr std::size_t kToServer = 0, kToClient = 1, kOpen = 2;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Fd connect_to(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const int yes = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return socket;
}

// On any port that is free.
Fd listen_somewhere(int& port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), generic, length) != 0 || ::listen(socket.get(), 16) != 0 ||
      ::getsockname(socket.get(), generic, &length) != 0)
    die("cannot listen on the loopback interface");
  port = ntohs(address.sin_port);
  return socket;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string login_name() {
  const passwd* entry = ::getpwuid(::getuid());
  if (entry == nullptr) die("the user has no name");
  return entry->pw_name;
}

// Ends when we do, however that is, and holds no output of ours.
pid_t start_with_us(char** argv) {
  const pid_t us = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) die("cannot fork");
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing, fd);
  if (::getppid() == us) ::execv(argv[0], argv);
  ::_exit(127);
}

// Both ways until both have ended.
void pump(int client, int server, std::uint64_t* to_server, std::uint64_t* to_client) {
  char buffer[64 << 10];
  pollfd ends[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
  for (int open = 2; open > 0;) {
    ::poll(ends, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (ends[i].revents == 0) continue;
      const int to = i == 0 ? server : client;
      const ssize_t bytes = ::recv(ends[i].fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (bytes > 0 && write_all(to, buffer, std::size_t(bytes))) {
        *(i == 0 ? to_server : to_client) += std::uint64_t(bytes);
        continue;
      }
      ::shutdown(to, SHUT_WR);
      ends[i].fd = -1;
      --open;
    }
  }
}

}  // namespace

std::string find_sshd() {
  std::string path = std::string(::getenv("PATH")) + ":/usr/sbin:/sbin";
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    std::string candidate = path.substr(begin, end - begin) + "/sshd";
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;  // sshd insists on an absolute path
    begin = end + 1;
  }
  die("needs an SSH server, sshd");
}

Server::Server() {
  run_program({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("host_key")});
  run_program({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("user_key")});
  std::filesystem::copy_file(path("user_key.pub"), path("authorized_keys"));
  const std::string program = find_sshd();
  // Without PAM, sshd refuses an account whose password is locked, as root's often is.
  for (const char* pam : {"no", "yes"}) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      listen_somewhere(port_).reset();  // free a moment ago
      std::ofstream(path("sshd_config")) << "ListenAddress 127.0.0.1\nPort " << port_ << "\nHostKey "
                                         << path("host_key") << "\nPidFile none\nAuthorizedKeysFile "
                                         << path("authorized_keys") << "\nStrictModes no\nUsePAM " << pam
                                         << "\nPermitRootLogin prohibit-password\nPasswordAuthentication "
                                            "no\nKbdInteractiveAuthentication no\n"
                                            "PrintMotd no\nMaxStartups 1000\nLoginGraceTime 60\nSetEnv HOME="
                                         << folder_.path() << "\n";
      const std::string configuration = path("sshd_config"), log = path("log");
      const char* argv[] = {program.c_str(), "-D", "-f", configuration.c_str(), "-E", log.c_str(), nullptr};
      pid_ = start_with_us(const_cast<char**>(argv));
      const double began = now_us();
      while (now_us() - began < kPatienceUs && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
        if (connect_to(port_)) break;
        ::usleep(10'000);
      }
      if (::kill(pid_, 0) == 0) break;
      pid_ = -1;
    }
    if (pid_ < 0) die("could not start sshd: " + text_of(path("log")));
    std::ofstream(path("known_hosts")) << "bench " << text_of(path("host_key.pub"));
    const Words probe = {"sh", "-c", "ssh -F " + config(Algorithms::kOwnChoice) + " h1 true || [ $0 = no ]",
                         pam};
    run_program(probe);
    if (text_of(path("log")).find("Accepted publickey") != std::string::npos) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  die("sshd does not let us in: " + text_of(path("log")));
}

Server::~Server() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

std::string Server::config(Algorithms algorithms, int port) const {
  const bool common = algorithms == Algorithms::kCommon;
  const std::string file = path(format("config_%d_%d", common ? 1 : 0, port));
  std::ofstream out(file);
  out << "Host *\n  HostName 127.0.0.1\n  Port " << (port != 0 ? port : port_) << "\n  User " << login_name()
      << "\n  IdentityFile " << path("user_key")
      << "\n  IdentitiesOnly yes\n  HostKeyAlias bench\n  UserKnownHostsFile " << path("known_hosts") << "\n";
  if (common)
    out << "  KexAlgorithms " << kKeyExchange << "\n  Ciphers " << kCipher << "\n  MACs " << kMac << "\n";
  return file;
}

SessionSettings Server::session(int port) const {
  SessionSettings settings;
  settings.host = "127.0.0.1";
  settings.port = std::uint16_t(port != 0 ? port : port_);
  settings.user = login_name();
  settings.key_name = "bench";
  settings.known_hosts = {path("known_hosts")};
  settings.identities = {path("user_key")};
  settings.only_identities = true;
  settings.key_exchanges = {kKeyExchange};
  settings.ciphers = {kCipher};
  settings.macs = {kMac};
  return settings;
}

double Server::ended_sessions_us() const {
  const double began = now_us();
  while (has_children(pid_)) {
    if (now_us() - began > kPatienceUs) die("sessions of the server do not end");
    ::usleep(5'000);
  }
  return processor_times_of(pid_).reaped;
}

CountingRelay::CountingRelay(int to_port) {
  const Fd listener = listen_somewhere(port_);
  children_.start([&] {
    for (;;) {
      const Fd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      *counters_.at(kOpen) = 1;
      const int yes = 1;
      ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      const Fd server = connect_to(to_port);
      if (!server) return;
      pump(client.get(), server.get(), counters_.at(kToServer), counters_.at(kToClient));
      *counters_.at(kOpen) = 0;
    }
  });
}

CountingRelay::Counted CountingRelay::take() {
  while (*static_cast<volatile std::uint64_t*>(counters_.at(kOpen)) != 0) ::usleep(1'000);
  const Counted counted{*counters_.at(kToServer), *counters_.at(kToClient)};
  *counters_.at(kToServer) = *counters_.at(kToClient) = 0;
  return counted;
}

}  // namespace banyan::bench
