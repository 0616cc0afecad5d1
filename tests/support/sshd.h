// tests/support/sshd.h -- a real SSH server on the loopback interface, for one test, with keys of its own.
//
// Works as root, and as an ordinary user, who then is the only one to log in. Its sessions end with it: the
// destructor waits for those that are about to end by themselves, and fails the test for those that are not.
//
// Tests that need other accounts, shells or mounts than this machine has get them in a mount namespace of the
// server's own, which needs root: nothing of the machine's is ever changed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::test {

// Is there one to test with? If not, it is said, and the test is passed over.
bool has_sshd();
bool has_dropbear();
// In PATH, to which ./dev test adds the folder of a server it has unpacked, and where an ordinary user's does
// not lead. Empty: nowhere. The path is absolute, as sshd wants its own.
std::string find_server(std::string_view name);
// May we have a mount namespace? If not, as has_sshd().
bool has_namespaces();

class Sshd {
 public:
  // An account of the server's own, with an ordinary user's rights. Its home is Sshd::home(name).
  struct Account {
    std::string name, shell;
    std::string password = {};  // empty: none lets in
    bool has_expired = false;   // it: a new one is wanted
  };
  enum class Kind {
    kOpenSsh,
    kDropbear,  // only for accounts of its own; takes no server_lines, passes no environment on
  };
  struct Options {
    Kind kind = Kind::kOpenSsh;
    std::vector<std::string> host_keys = {"ed25519"};  // for ssh-keygen -t: "ecdsa -b 256", "rsa -b 3072"
    std::string authorized_keys = {};                  // more public keys that may log in, to every account
    std::string server_lines = {};  // more for sshd_config; the first that sets something wins
    std::string client_lines = {};  // more for ssh_config, for every host
    std::vector<Account> accounts = {};
    // Shell lines to run in the namespace before the server starts: mounts. $here is folder().
    std::string setup = {};
    // What PAM is to do for sshd: then it is used, and both ways of asking for a password are offered. Lines
    // of a file as in /etc/pam.d; kUsualPam is what most machines have.
    std::string pam = {};
    // For each file in a home: name of the account, path in its home, content.
    struct File {
      std::string account, path, content;
    };
    std::vector<File> files = {};
  };

  static constexpr const char* kUsualPam =
      "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";

  Sshd() : Sshd(Options{}) {}
  explicit Sshd(const Options& options);
  ~Sshd();
  Sshd(const Sshd&) = delete;
  Sshd& operator=(const Sshd&) = delete;

  // For ssh's and banyan's -F. Knows the host names web and db1, db2, ...; each is this server.
  const std::string& client_config() const { return client_config_; }
  const std::string& folder() const { return folder_; }  // private, gone with us
  std::string known_hosts() const { return folder_ + "/known_hosts"; }
  // The first, or the one of that number, as it stands in known_hosts: type and key.
  std::string host_key(std::size_t number = 0) const;
  std::uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  // A home as the account sees it, and a path of the namespace as we see it.
  static std::string home(const std::string& account) { return std::string(kHomes) + "/" + account; }
  std::string outside(const std::string& path) const;
  std::string log() const;

  // Files that stage 0 or the loader left where the server's accounts can write. Waits for those that are
  // about to go.
  std::vector<std::string> leftovers() const;

 private:
  static constexpr const char* kHomes = "/srv";

  std::vector<std::string> files_of_stage0() const;
  bool start(const Options& options);
  void write_configurations(const Options& options);
  std::string authorized_keys(const Options& options) const;
  std::string host_key_file(std::size_t number) const;
  std::string server_line(const Options& options) const;
  std::string namespace_script(const Options& options) const;
  void make_homes(const Options& options) const;
  bool wait_until_listening(Kind kind) const;

  std::string folder_, client_config_;
  std::size_t host_keys_ = 0;
  bool own_namespace_ = false;
  bool made_run_folder_ = false;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

// All that descend from it, at this moment.
std::vector<pid_t> descendants_of(pid_t pid);

}  // namespace banyan::test
