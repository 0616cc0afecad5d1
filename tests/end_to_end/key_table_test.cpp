// Goal: every kind of key logs in at every server through both back ends, from a file, from an encrypted file
// and from a key agent; so does every other way to log in; and every kind of host key is checked, or the host
// is left to ssh. Method: one table: {OpenSSH, dropbear} x {kinds of keys, ways to log in} x {openssh,
// libssh2}, each a run of the program against a real server that says what it was told; questions go to a
// program that SSH_ASKPASS names, and it notes them. What cannot be is a row too, with the words it is
// refused with.
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

// With a passphrase. ssh-keygen's -a: a round of OpenSSH's format costs ten milliseconds, and 16 are usual.
const struct {
  const char* name;
  const char* options;  // for ssh-keygen
} kEncryptedKeys[] = {
    {"ed25519-encrypted", "-t ed25519 -a 2"},
    {"ecdsa-256-encrypted", "-t ecdsa -b 256 -a 2"},
    {"rsa-3072-encrypted", "-t rsa -b 3072 -a 2"},
    {"rsa-3072-pem-encrypted", "-t rsa -b 3072 -m PEM"},
};
constexpr const char* kPassphrase = "open sesame";
constexpr const char* kPassword = "correct horse";

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
std::string configuration(const Folder& folder, const Sshd& server, Kind kind, const std::string& more,
                          const std::string& user = "") {
  static int serial = 0;
  const std::string path = folder.path(cat("config", ++serial));
  std::ofstream(path) << "Host web\nHostName 127.0.0.1\nPort " << server.port() << "\nUser "
                      << (user.empty() ? user_at(kind) : user) << "\nUserKnownHostsFile "
                      << server.known_hosts()
                      << "\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\n"
                      << more;
  return path;
}

Finished run_with(const std::string& configuration, const std::string& back_end, const Words& more = {},
                  const Words& environment = {}) {
  Words words = {"run", "-F", configuration, "--ssh", back_end, "-n"};
  words.insert(words.end(), more.begin(), more.end());
  words.insert(words.end(), {"web", "--", "echo", "it works"});
  return run_program(words, {}, environment);
}

// What SSH_ASKPASS names: gives the same answer to every question, and notes each.
class Answerer {
 public:
  Answerer(const Folder& folder, std::string_view answer)
      : program_(folder.path("answer")), asked_(folder.path("asked")) {
    std::ofstream(program_) << "#!/bin/sh\nprintf '%s\\n' \"$1\" >>" << asked_ << "\necho '" << answer
                            << "'\n";
    ::chmod(program_.c_str(), 0700);
  }
  Words environment() const { return {"SSH_ASKPASS=" + program_, "SSH_ASKPASS_REQUIRE=force"}; }
  // Since this was called before.
  Words take_questions() const {
    Words questions = lines_of(read_file(asked_));
    std::ofstream(asked_, std::ios::trunc).flush();
    return questions;
  }

 private:
  const std::string program_, asked_;
};

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

TEST_CASE("every kind of encrypted key logs in at every server with its passphrase, asked for once") {
  const Folder folder;
  std::string authorized;
  for (const auto& key : kEncryptedKeys) {
    const std::string file = folder.path(key.name);
    REQUIRE(std::system(cat("ssh-keygen -q -C '' -N '", std::string_view(kPassphrase), "' ",
                            std::string_view(key.options), " -f ", file)
                            .c_str()) == 0);
    authorized += read_file(file + ".pub");
  }
  const Answerer answerer(folder, kPassphrase);
  for (const Kind kind : {Kind::kOpenSsh, Kind::kDropbear}) {
    if (!has(kind)) continue;
    Sshd::Options options = options_for(kind);
    options.authorized_keys = authorized;
    const Sshd server(options);
    for (const auto& key : kEncryptedKeys) {
      const std::string file = folder.path(key.name);
      const std::string with_file = configuration(
          folder, server, kind, cat("IdentityFile ", file, "\nIdentitiesOnly yes\nIdentityAgent none\n"));
      for (const std::string back_end : kBackEnds) {
        CAPTURE(name_of(kind), key.name, back_end);
        const Finished got = run_with(with_file, back_end, {}, answerer.environment());
        CAPTURE(got.err);
        CHECK(got.code == 0);
        CHECK(got.out == "it works\n");
        CHECK(answerer.take_questions() == Words{cat("Enter passphrase for key '", file, "': ")});
        if (&key != kEncryptedKeys) continue;
        // Where nobody can be asked the key is no way, and that is said.
        const Finished alone = run_with(with_file, back_end, {"--json"}, {"SSH_ASKPASS_REQUIRE=never"});
        CAPTURE(alone.out);
        CHECK(alone.code == 255);
        const nlohmann::json fail = the_event(alone.out, "fail");
        REQUIRE(fail.is_object());
        CHECK(fail["class"] == "auth");
        CHECK(fail["started"] == "no");
        CHECK(contains(fail["remedy"], "ssh-add"));
      }
    }
  }
}

TEST_CASE("every way to log in that a server has lets in, over both back ends, and no other is gone") {
  const struct {
    Kind kind;
    const char* pam;
    const char* method;
    const char* question;  // empty: the server does not know that way
    const char* takes;     // what the server has, if it is not let in
  } table[] = {
      {Kind::kOpenSsh, Sshd::kUsualPam, "password", "web: guest@127.0.0.1's password: ", ""},
      {Kind::kOpenSsh, Sshd::kUsualPam, "keyboard-interactive", "web: (guest@127.0.0.1) Password: ", ""},
      {Kind::kOpenSsh, "", "password", "web: guest@127.0.0.1's password: ", ""},
      // Only PAM has something to ask, and dropbear is built without.
      {Kind::kOpenSsh, "", "keyboard-interactive", "", "publickey,password"},
      {Kind::kDropbear, "", "password", "web: guest@127.0.0.1's password: ", ""},
      {Kind::kDropbear, "", "keyboard-interactive", "", "publickey,password"},
  };
  const Folder folder;
  const Answerer answerer(folder, kPassword);
  for (const auto& row : table) {
    if (!has(row.kind) || !has_namespaces()) continue;
    const bool is_openssh = row.kind == Kind::kOpenSsh;
    const Sshd server({.kind = row.kind,
                       .server_lines = is_openssh ? "PasswordAuthentication yes\n" : "",
                       .accounts = {{.name = "guest", .shell = "/bin/sh", .password = kPassword}},
                       .pam = row.pam});
    const std::string only_this = configuration(
        folder, server, row.kind,
        cat("IdentityFile ", folder.path("none"), "\nIdentityAgent none\nPreferredAuthentications ",
            std::string_view(row.method), "\n"),
        "guest");
    for (const std::string back_end : kBackEnds) {
      CAPTURE(name_of(row.kind), row.pam, row.method, back_end);
      const Finished got = run_with(only_this, back_end, {"--json"}, answerer.environment());
      CAPTURE(got.out, got.err);
      const Words questions = answerer.take_questions();
      if (*row.question != '\0') {
        CHECK(got.code == 0);
        CHECK(questions == Words{row.question});
        continue;
      }
      CHECK(got.code == 255);
      CHECK(questions == Words{});
      const nlohmann::json fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["class"] == "auth");
      CHECK(fail["phase"] == "auth");
      CHECK(fail["started"] == "no");
      CHECK(contains(fail["error"], row.takes));
      CHECK(contains(fail["remedy"], "check the user (-l)"));
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
