// tests/support/chain.h -- a chain of machines for one test: home - A - B - C - D, each reachable only from
// the one before it; and, if wanted, more of them side by side behind the last: h1, h2, ...
//
// A machine is a set of namespaces (network, mounts, processes, host name, IPC) with a root file system of
// its own: of the real machine it has the programs, read-only, and nothing else. Its first process does
// nothing but reap; on all but `home` a real sshd runs beneath it. No machine forwards packets, so what is to
// reach C has to pass through processes on A and B. Nothing of it has a name outside: it ends with its first
// process, and that ends with the test, however the test ends.
//
// At the end of a test each machine is to have its first process and its server alone, and each file is to be
// as it was: leftovers() has what is not so. What cannot be made is a std::runtime_error with what was said.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace banyan::test {

// What makes chains here. Empty: all is there; else what is missing, for a person.
std::string lacks_for_chains();

class Machine {
 public:
  struct Process {
    pid_t pid;  // as we see it
    uid_t user;
    std::string name, command;
  };
  using Files = std::map<std::string, std::string>;  // what each file is, in words, by path

  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const std::string& name() const { return name_; }
  const std::string& address() const { return address_; }  // from the machine before it; empty for home
  pid_t first() const { return first_.pid; }
  pid_t server() const { return server_; }
  // A path of the machine, as we see it.
  std::string outside(const std::string& path) const;
  // Words that run what follows them there, as root, and end as it ends.
  std::vector<std::string> starter() const;

  // Runs a shell line there and returns what it said. It must end well.
  std::string run(const std::string& line) const;
  void write(const std::string& path, const std::string& content, mode_t mode = 0600) const;

  // By the wire to the machine before it, since it was made.
  std::uint64_t bytes_received() const;

  // All that run there, but for the first process and the server.
  std::vector<Process> processes() const;
  // The one of that name; -1 when there is none, or more than one.
  pid_t the(const std::string& name) const;
  // Waits until there is one, which must be soon.
  pid_t wait_for(const std::string& name) const;
  Files files() const;  // but for /opt, which is the test's own

  // Its public key, as it stands in known_hosts.
  std::string host_key() const;
  // From now on it shows another one. Sessions that there are stay.
  void change_host_key();
  void stop_server();
  void start_server();

 private:
  friend class Chain;
  struct Plan;
  Machine(std::string name, std::string address, const Plan& plan);

  struct First {
    pid_t pid = -1;
    ~First();  // ends it, and with it all that run there
  };

  std::string name_, address_;
  First first_;
  pid_t server_ = -1;
};

class Chain {
 public:
  struct Options {
    std::size_t length = 4;   // machines beside home; at most 26
    std::size_t leaves = 0;   // behind the last of these, each on a wire of its own
    std::string server = {};  // the program sshd
    // Folders of ours, by where they are on each machine, read-only.
    std::map<std::string, std::string> folders = {};
    // Who is on a machine may log in to the next as root, with a key that lies there, and knows it; so that
    // `ssh A ssh B true` works.
    bool has_keys_on_hops = false;
    std::string user = "root";      // who logs in: root, or ann, who is an ordinary user
    std::string server_lines = {};  // more for each sshd_config; the first that sets something wins
    std::string client_lines = {};  // more for each host in ssh_config
    // Of each machine. Besides root and ann there is db, as whom nobody logs in.
    std::string sudoers = "root ALL=(ALL) ALL\nann ALL=(db) NOPASSWD: ALL\n";
  };

  // Where ssh's configuration lies on home. The hosts are called as the machines are; on the way to each lie,
  // by ProxyJump: all before it; none; none, but A before B.
  static constexpr const char *kTunnel = "/root/.ssh/tunnel", *kRelay = "/root/.ssh/relay",
                              *kMixed = "/root/.ssh/mixed";
  static constexpr const char* kKnownHosts = "/root/.ssh/known_hosts";
  static constexpr const char* kUserKey = "/root/.ssh/id_ed25519";

  explicit Chain(const Options& options);
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  std::size_t length() const { return length_; }
  Machine& home() { return *machines_[0]; }
  Machine& operator[](char name) { return *machines_[std::size_t(name - 'A' + 1)]; }
  Machine& last() { return *machines_[length_]; }
  Machine& leaf(std::size_t number) { return *machines_[length_ + number]; }  // from 1

  // The wire between a machine and the one before it. What is on its way when it is cut is lost, and neither
  // end is told.
  void cut(char name);
  void mend(char name);

  // Waits until each machine has only its first process and its server.
  bool is_quiet(int within_seconds = kQuietInSeconds) const;
  // How the files are now is how they are to be at the end: after a test has changed some itself.
  void remember_files();
  // What is not as it is to be, a line each; empty when all is.
  std::vector<std::string> leftovers() const;

 private:
  static constexpr int kQuietInSeconds = 10;

  void add(const std::string& name, const Machine::Plan& plan);
  const Machine& before(std::size_t i) const { return *machines_[i <= length_ ? i - 1 : length_]; }
  void write_configurations(const Options& options);
  void let_hops_in();

  const std::size_t length_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::vector<Machine::Files> files_;
};

}  // namespace banyan::test
