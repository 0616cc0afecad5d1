// Goal: every kind of key logs in at every server through both back ends, from a file and from a key agent;
// and every kind of host key is checked, or the host is left to ssh. Method: one table: {OpenSSH, dropbear} x
// {kinds of keys} x {key file, real ssh-agent} x {openssh, libssh2}, each a run of the program against a real
// server that says what it was told. What cannot be is a row too, with the words it is refused with.
#include <pwd.h>
#include <sys/stat.h>

#include <fstream>
#include <memory>

#include "tests/end_to_end/ssh.h"
#include "tests/support/key_agent.h"

using namespace banyan::test;
using banyan::cat;

namespace {

using Kind = Sshd::Kind;

const struct {
  const char* name;
  const char* type;    // for ssh-keygen -t
  const char* format;  // of the file, for ssh-keygen -m; empty: OpenSSH's
} kKeys[] = {
    {"ed25519", "ed25519", ""},
    {"ecdsa-256", "ecdsa -b 256", ""},
    {"ecdsa-384", "ecdsa -b 384", ""},
    {"ecdsa-521", "ecdsa -b 521", ""},
    {"rsa-3072", "rsa -b 3072", ""},
    {"ecdsa-256-pem", "ecdsa -b 256", "PEM"},
    {"rsa-3072-pem", "rsa -b 3072", "PEM"},
    {"rsa-3072-pkcs8", "rsa -b 3072", "PKCS8"},
};

// A private folder, in TMPDIR.
class Folder {
 public:
  Folder() : path_(cat(std::string_view(std::getenv("TMPDIR")), "/keys-XXXXXX")) {
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { CHECK(std::system(cat("rm -r '", path_, "'").c_str()) == 0); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  std::string path(std::string_view name) const { return cat(path_, "/", name); }

 private:
  std::string path_;
};

// A user's keys, and nothing else of the server's: what logs in is what the row says.
struct Keys {
  Keys() {
    for (const auto& key : kKeys) {
      std::string line =
          cat("ssh-keygen -q -N '' -C '' -t ", std::string_view(key.type), " -f ", folder.path(key.name));
      if (*key.format != '\0') line += cat(" -m ", std::string_view(key.format));
      REQUIRE(std::system(line.c_str()) == 0);
      authorized += read_file(folder.path(key.name) + ".pub");
    }
  }
  const Folder folder;
  std::string authorized;
};

std::string name_of(Kind kind) {
  return kind == Kind::kOpenSsh ? "OpenSSH" : "dropbear";
}

Sshd::Options options_for(Kind kind) {
  Sshd::Options options;
  options.kind = kind;
  if (kind == Kind::kDropbear) options.accounts = {{"guest", "/bin/sh"}};
  return options;
}

bool has(Kind kind) {
  return kind == Kind::kOpenSsh ? has_sshd() : has_dropbear() && has_namespaces();
}

std::string user_at(Kind kind) {
  const passwd* me = ::getpwuid(::geteuid());
  return kind == Kind::kDropbear ? "guest" : me != nullptr ? me->pw_name : "root";
}

// A configuration that knows this server as web, and no key of its own.
std::string configuration(const Folder& folder, const Sshd& server, Kind kind, const std::string& more) {
  static int serial = 0;
  const std::string path = folder.path(cat("config", ++serial));
  std::ofstream(path) << "Host web\nHostName 127.0.0.1\nPort " << server.port() << "\nUser " << user_at(kind)
                      << "\nUserKnownHostsFile " << server.known_hosts()
                      << "\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\n"
                      << more;
  return path;
}

Finished run_with(const std::string& configuration, const std::string& back_end, const Words& more = {}) {
  Words words = {"run", "-F", configuration, "--ssh", back_end, "-n"};
  words.insert(words.end(), more.begin(), more.end());
  words.insert(words.end(), {"web", "--", "echo", "it works"});
  return run_program(words);
}

}  // namespace

TEST_CASE(
    "every kind of key logs in at every server, from a file and from a key agent, over both back ends") {
  const Keys keys;
  for (const Kind kind : {Kind::kOpenSsh, Kind::kDropbear}) {
    if (!has(kind)) continue;
    Sshd::Options options = options_for(kind);
    options.authorized_keys = keys.authorized;
    const Sshd server(options);
    for (const auto& key : kKeys) {
      const std::string file = keys.folder.path(key.name);
      const std::string with_file =
          configuration(keys.folder, server, kind,
                        cat("IdentityFile ", file, "\nIdentitiesOnly yes\nIdentityAgent none\n"));
      const KeyAgentProcess agent(keys.folder.path(), {file});
      const std::string with_agent = configuration(
          keys.folder, server, kind,
          cat("IdentityFile ", keys.folder.path("none"), "\nIdentityAgent ", agent.socket(), "\n"));
      for (const std::string back_end : kBackEnds) {
        for (const bool from_agent : {false, true}) {
          CAPTURE(name_of(kind), key.name, back_end, from_agent);
          const Finished got = run_with(from_agent ? with_agent : with_file, back_end);
          CAPTURE(got.err);
          CHECK(got.code == 0);
          CHECK(got.out == "it works\n");
        }
      }
    }
  }
}

TEST_CASE("a server that takes RSA with one kind of SHA-2 only is logged in at with that") {
  if (!has_sshd()) return;
  const Keys keys;
  for (const char* algorithm : {"rsa-sha2-256", "rsa-sha2-512"}) {
    Sshd::Options options;
    options.server_lines = cat("PubkeyAcceptedAlgorithms ", std::string_view(algorithm));
    options.authorized_keys = keys.authorized;
    const Sshd server(options);
    const std::string file = keys.folder.path("rsa-3072");
    const KeyAgentProcess agent(keys.folder.path(), {file});
    const std::string with_file = configuration(keys.folder, server, Kind::kOpenSsh,
                                                cat("IdentityFile ", file, "\nIdentityAgent none\n"));
    const std::string with_agent = configuration(
        keys.folder, server, Kind::kOpenSsh,
        cat("IdentityFile ", keys.folder.path("none"), "\nIdentityAgent ", agent.socket(), "\n"));
    for (const std::string& configuration : {with_file, with_agent}) {
      CAPTURE(algorithm, configuration);
      const Finished got = run_with(configuration, "libssh2");
      CAPTURE(got.err);
      CHECK(got.code == 0);
    }
  }
}

TEST_CASE("every kind of host key is checked, and a host known by RSA alone is left to ssh") {
  const Folder folder;
  const struct {
    const char* type;
    const char* chosen;  // what auto takes
    bool by_libssh2;
  } table[] = {
      {"ed25519", "libssh2", true},
      {"ecdsa -b 256", "libssh2", true},
      {"ecdsa -b 384", "libssh2", true},
      {"ecdsa -b 521", "libssh2", true},
      // libssh2 1.10 checks host keys of RSA with SHA-1 only, which no server signs with any more.
      {"rsa -b 3072", "openssh", false},
  };
  for (const Kind kind : {Kind::kOpenSsh, Kind::kDropbear}) {
    if (!has(kind)) continue;
    for (const auto& row : table) {
      CAPTURE(name_of(kind), row.type);
      Sshd::Options options = options_for(kind);
      options.host_keys = {row.type};
      const Sshd server(options);
      const std::string known = configuration(
          folder, server, kind, cat("IdentityFile ", server.folder(), "/user_key\nIdentityAgent none\n"));
      const Finished over_ssh = run_with(known, "openssh");
      CAPTURE(over_ssh.err);
      CHECK(over_ssh.out == "it works\n");
      const Finished automatic = run_with(known, "auto");
      CAPTURE(automatic.err);
      CHECK(automatic.out == "it works\n");
      const Finished plan = run_program({"plan", "-F", known, "--ssh", "auto", "web"});
      CAPTURE(plan.out);
      CHECK(contains(plan.out, row.chosen));
      const Finished over_library = run_with(known, "libssh2", {"--json"});
      CAPTURE(over_library.out);
      if (row.by_libssh2) {
        CHECK(over_library.code == 0);
      } else {
        CHECK(over_library.code == 255);
        const nlohmann::json fail = the_event(over_library.out, "fail");
        REQUIRE(fail.is_object());
        CHECK(fail["class"] == "refused");
        CHECK(fail["started"] == "no");
        CHECK(contains(fail["error"], "--ssh libssh2: host key: ssh-rsa: libssh2 1.10 cannot check"));
        CHECK(contains(fail["remedy"], "ed25519 or ecdsa"));
      }
      // The same server, not known at all: refused with the fingerprint of what it shows.
      const std::string unknown = configuration(
          folder, server, kind, cat("IdentityFile ", server.folder(), "/user_key\nIdentityAgent none\n"));
      for (const std::string back_end : kBackEnds) {
        CAPTURE(back_end);
        const Finished got = run_with(unknown, back_end, {"--json", "--known-hosts", "/dev/null"});
        CAPTURE(got.out);
        CHECK(got.code == 255);
        const nlohmann::json fail = the_event(got.out, "fail");
        REQUIRE(fail.is_object());
        CHECK(fail["phase"] == "kex");
        // What it has no words for, libssh2 cannot show a fingerprint of.
        const bool is_shown = back_end == "openssh" || row.by_libssh2;
        CHECK(fail["class"] == (is_shown ? "hostkey" : "protocol"));
        if (!is_shown) CHECK(contains(fail["error"], "a host key of RSA only"));
        if (!is_shown) CHECK(contains(fail["remedy"], "--ssh openssh"));
        const Finished by_either = run_with(unknown, "auto", {"--json", "--known-hosts", "/dev/null"});
        CHECK(the_event(by_either.out, "fail").value("class", "") == "hostkey");
      }
    }
  }
}

TEST_CASE("of a host with several keys the kind that is known is asked for, whichever the server prefers") {
  if (!has_sshd()) return;
  const Folder folder;
  Sshd::Options options;
  options.host_keys = {"ed25519", "ecdsa -b 256", "rsa -b 3072"};
  const Sshd server(options);
  for (const std::size_t known : {0, 1, 2}) {
    const std::string file = folder.path(cat("known", known));
    std::ofstream(file) << "[127.0.0.1]:" << server.port() << " " << server.host_key(known) << "\n";
    const std::string identity = cat("IdentityFile ", server.folder(), "/user_key\nIdentityAgent none\n");
    const std::string config = configuration(folder, server, Kind::kOpenSsh, identity);
    for (const std::string back_end : {"openssh", "libssh2", "auto"}) {
      CAPTURE(known, back_end);
      const Finished got = run_with(config, back_end, {"--known-hosts", file});
      CAPTURE(got.err);
      CHECK(got.code == (known == 2 && back_end == "libssh2" ? 255 : 0));
    }
  }
}
