// Goal: what lies on this machine is seen: key files and their kinds, certificates, host keys, sockets,
// tickets. Method: files of the test's own in a private folder.
#include "transports/ssh_facts.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/fd.h"
#include "core/text.h"

using namespace banyan;

namespace {

class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TMPDIR");
    path_ = cat(base == nullptr ? "/tmp" : base, "/facts.XXXXXX");
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(std::string_view name) const { return cat(path_, "/", name); }
  void write(std::string_view name, std::string_view text) const { std::ofstream(*this / name) << text; }

 private:
  std::string path_;
};

LocalUser somebody(const std::string& ticket = "") {
  LocalUser local;
  local.id = 4'000'000'000;  // nobody's ticket lies in /tmp
  local.variable = [ticket](const std::string& name) -> std::optional<std::string> {
    if (name == "KRB5CCNAME" && !ticket.empty()) return ticket;
    return std::nullopt;
  };
  return local;
}

SshSettings web() {
  SshSettings settings;
  settings.host = settings.hostname = "web";
  settings.user = "ann";
  settings.port = 22;
  return settings;
}

}  // namespace

TEST_CASE("key files are seen with their kinds, and a certificate beside one") {
  const Folder folder;
  folder.write("rsa", "-----BEGIN RSA PRIVATE KEY-----\n");
  folder.write("pkcs8", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
  folder.write("pkcs8.pub", "ecdsa-sha2-nistp256 AAAA\n");
  folder.write("held.pub", "sk-ssh-ed25519@openssh.com AAAA\n");  // the private one is elsewhere
  folder.write("rsa-cert.pub", "ssh-rsa-cert-v01@openssh.com AAAA\n");
  SshSettings settings = web();
  for (const char* name : {"rsa", "pkcs8", "held", "nothing"})
    settings.identity_files.push_back(folder / name);
  ::mkdir((folder / "folder").c_str(), 0700);
  settings.identity_files.push_back(folder / "folder");
  SshFacts facts(somebody(), true);
  const BackEndFacts found = facts.about(settings);
  REQUIRE(found.keys.size() == 5);
  CHECK(found.keys[0].kind == KeyKind::kRsa);
  CHECK(found.keys[0].has_certificate);
  CHECK(found.keys[1].kind == KeyKind::kEcdsa);
  CHECK_FALSE(found.keys[1].has_certificate);
  CHECK(found.keys[2].kind == KeyKind::kFido);
  CHECK(found.keys[3].kind == KeyKind::kMissing);
  CHECK(found.keys[3].path == folder / "nothing");
  CHECK(found.keys[4].kind == KeyKind::kUnreadable);
  CHECK(found.has_connector);
}

TEST_CASE("host keys come from all files, and those with the port hide those without") {
  const Folder folder;
  folder.write("mine", "web ssh-ed25519 AAAA\n[web]:2222 ecdsa-sha2-nistp256 AAAA\n");
  folder.write("ours", "web ssh-rsa AAAA\ntheweb ecdsa-sha2-nistp521 AAAA\n");
  SshSettings settings = web();
  settings.user_known_hosts = {folder / "mine", folder / "missing", "/dev/null"};
  settings.global_known_hosts = {folder / "ours"};
  SshFacts facts(somebody(), true);
  auto types = [&] {
    std::string line;
    for (const KnownHostKey& key : facts.about(settings).known) line += key.type + " ";
    return line;
  };
  CHECK(types() == "ssh-ed25519 ssh-rsa ");
  settings.port = 2222;
  CHECK(types() == "ecdsa-sha2-nistp256 ");
  settings.port = 2223;
  CHECK(types() == "ssh-ed25519 ssh-rsa ");
  settings.host_key_alias = "theweb";
  CHECK(types() == "ecdsa-sha2-nistp521 ");
  settings.host_key_alias = "unknown";
  CHECK(types().empty());
}

TEST_CASE("a shared connection is a socket, and nothing else is") {
  const Folder folder;
  SshSettings settings = web();
  SshFacts facts(somebody(), true);
  CHECK_FALSE(facts.about(settings).has_control_socket);
  settings.control_path = folder / "cm";
  CHECK_FALSE(facts.about(settings).has_control_socket);
  folder.write("cm", "");
  CHECK_FALSE(facts.about(settings).has_control_socket);
  ::unlink(settings.control_path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(settings.control_path.size() < sizeof address.sun_path);
  std::strcpy(address.sun_path, settings.control_path.c_str());
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(facts.about(settings).has_control_socket);
}

TEST_CASE("a Kerberos ticket is a file that is there, or a place that somebody named") {
  const Folder folder;
  folder.write("ticket", "x");
  const SshSettings settings = web();
  auto has_ticket = [&](const std::string& name) {
    return SshFacts(somebody(name), true).about(settings).has_kerberos_ticket;
  };
  CHECK_FALSE(has_ticket(""));
  CHECK(has_ticket(folder / "ticket"));
  CHECK(has_ticket(cat("FILE:", folder / "ticket")));
  CHECK_FALSE(has_ticket(cat("FILE:", folder / "none")));
  CHECK(has_ticket("KEYRING:persistent:1000"));
}
