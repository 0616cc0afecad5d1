// Goal: `banyan plan` says what ssh would do, with the reason, and contacts nobody.
// Method: the real program and the real ssh over configuration files of the test's own; one of them is
// checked against a real server, where `run` must then reach what `plan` said.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/not_tested.h"

using namespace banyan::test;
using banyan::cat;
using nlohmann::json;

namespace {

bool has_ssh() {
  if (::access("/usr/bin/ssh", X_OK) == 0) return true;
  not_tested("ssh", "there is no /usr/bin/ssh");
  return false;
}

class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TMPDIR");
    path_ = cat(base == nullptr ? "/tmp" : base, "/plan.XXXXXX");
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(std::string_view name) const { return cat(path_, "/", name); }
  // Every @ in the text becomes this folder.
  std::string write(std::string_view name, std::string text) const {
    for (std::size_t at = text.find('@'); at != text.npos; at = text.find('@', at + path_.size()))
      text.replace(at, 1, path_);
    std::ofstream(*this / name) << text;
    return *this / name;
  }

 private:
  std::string path_;
};

// The one route of the one target.
json route_of(const Words& words) {
  Words all = {"plan", "--json", "--ssh", "auto"};
  all.insert(all.end(), words.begin(), words.end());
  const Finished got = run_program(all);
  CAPTURE(got.out, got.err);
  REQUIRE(got.code == 0);
  CHECK(got.err == "");
  REQUIRE(lines_of(got.out).size() == 1);
  return json::parse(got.out).at("route");
}

json step_of(const Words& words) {
  const json route = route_of(words);
  REQUIRE(route.size() == 1);
  return route[0];
}

}  // namespace

TEST_CASE("aliases, includes and matches of ssh's configuration are followed") {
  if (!has_ssh()) return;
  const Folder folder;
  folder.write("included", "Host web\n  Port 2222\n  HostKeyAlias theweb\n");
  folder.write("known", "theweb ssh-ed25519 AAAA\n");
  folder.write("key", "-----BEGIN RSA PRIVATE KEY-----\n");
  const std::string config = folder.write("config",
                                          "Include @/included\n"
                                          "Host web db*\n"
                                          "  HostName %h.example.com\n"
                                          "  User ann\n"
                                          "  IdentityFile @/key\n"
                                          "  IdentitiesOnly yes\n"
                                          "  UserKnownHostsFile @/known\n"
                                          "  GlobalKnownHostsFile none\n"
                                          "Match host m1 user bob\n"
                                          "  Port 99\n");
  const std::string from = "ssh's configuration " + config;
  const json web = step_of({"-F", config, "web"});
  CHECK(web.at("method") == "ssh");
  CHECK(web.at("host") == "web.example.com");
  CHECK(web.at("user") == "ann");
  CHECK(web.at("port") == 2222);
  CHECK(web.at("mode") == "direct");
  CHECK(web.at("host_key_alias") == "theweb");
  CHECK(web.at("identity_files") == json::array({folder / "key"}));
  CHECK(web.at("identities_only") == true);
  CHECK(web.at("known_hosts") == json::array({folder / "known"}));
  CHECK(web.at("host_key_types") == json::array({"ssh-ed25519"}));
  CHECK(web.at("host_key_checking") == "strict");
  for (const char* key :
       {"host", "user", "port", "host_key_alias", "identity_files", "identities_only", "known_hosts"}) {
    CAPTURE(key);
    CHECK(web.at("because").at(key) == from);
  }

  const json db = step_of({"-F", config, "eve@db7:24", "-l", "unused"});
  CHECK(db.at("host") == "db7.example.com");
  CHECK(db.at("user") == "eve");
  CHECK(db.at("because").at("user") == "the target");
  CHECK(db.at("port") == 24);
  CHECK(db.at("because").at("port") == "the target");
  CHECK(db.at("host_key_types").empty());

  const json matched = step_of({"-F", config, "m1", "-l", "bob"});
  CHECK(matched.at("port") == 99);
  CHECK(matched.at("because").at("port") == from);
  CHECK(matched.at("because").at("user") == "-l");
  const json unmatched = step_of({"-F", config, "m1", "-l", "eve"});
  CHECK(unmatched.at("port") == 22);
  CHECK(unmatched.at("because").at("port") == "ssh's settings");
}

TEST_CASE("options are named where they decide") {
  if (!has_ssh()) return;
  const Folder folder;
  folder.write("key", "ssh-ed25519 AAAA\n");
  folder.write("known", "[::1]:2200 ecdsa-sha2-nistp256 AAAA\n");
  const json step = step_of({"-F", "none", "[::1]", "--port", "2200", "--identity", folder / "key",
                             "--known-hosts", folder / "known", "-6", "--accept-new", "--ssh", "openssh"});
  CHECK(step.at("host") == "::1");
  CHECK(step.at("port") == 2200);
  CHECK(step.at("address_family") == "inet6");
  CHECK(step.at("host_key_checking") == "accept-new");
  CHECK(step.at("host_key_types") == json::array({"ecdsa-sha2-nistp256"}));
  CHECK(step.at("identity_files") == json::array({folder / "key"}));
  CHECK(step.at("backend") == "openssh");
  const json because = step.at("because");
  CHECK(because.at("port") == "--port");
  CHECK(because.at("address_family") == "-6");
  CHECK(because.at("host_key_checking") == "--accept-new");
  CHECK(because.at("identity_files") == "--identity");
  CHECK(because.at("known_hosts") == "--known-hosts");
  CHECK(because.at("backend") == "--ssh: as it says");
}

TEST_CASE("the setting that decides for openssh is named") {
  if (!has_ssh()) return;
  const Folder folder;
  folder.write("key", "-----BEGIN EC PRIVATE KEY-----\n");
  folder.write("key-cert.pub", "");
  folder.write("fido", "sk-ssh-ed25519@openssh.com AAAA\n");
  struct {
    const char* lines;
    const char* because;
  } table[] = {
      {"ProxyCommand nc %h %p", "ProxyCommand: nc %h %p: "},
      {"ControlMaster auto\nControlPath @/cm-%C", "ControlMaster: auto: "},
      {"BindInterface lo", "BindInterface: lo: "},
      {"BindAddress localhost", "BindAddress: localhost: "},
      {"Ciphers aes256-gcm@openssh.com", "Ciphers: "},
      {"IdentityFile @/key", "IdentityFile: @/key: a certificate"},
      {"IdentityFile @/fido", "IdentityFile: @/fido: its key is on a security key"},
      {"CertificateFile @/key-cert.pub", "CertificateFile: @/key-cert.pub: "},
      {"PKCS11Provider /lib/p.so", "PKCS11Provider: /lib/p.so: "},
      {"UserKnownHostsFile @/rsa", "host key: ssh-rsa: "},
  };
  folder.write("rsa", "web ssh-rsa AAAA\n");
  for (const auto& row : table) {
    CAPTURE(row.lines);
    // "@" is the folder, except in the names of algorithms.
    std::string lines = row.lines, because = row.because;
    auto put_folder = [&](std::string& text) {
      for (std::size_t at = text.find("@/"); at != text.npos; at = text.find("@/", at + 1))
        text.replace(at, 2, folder / "");
    };
    put_folder(lines);
    put_folder(because);
    std::ofstream(folder / "config") << lines << "\n";
    const json step = step_of({"-F", folder / "config", "web"});
    CHECK(step.at("backend") == "openssh");
    const std::string said = step.at("because").at("backend");
    CAPTURE(said);
    CHECK(said.starts_with(because));
    CHECK(contains(said, "(for libssh2: "));
  }
}

TEST_CASE("jumps are steps of the route, each with its own settings, in their order") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string config =
      folder.write("config",
                   "Host web\n  ProxyJump gw1,gw2:2222\n"
                   "Host gw1\n  HostName first.example.com\n  ProxyJump outer\n  User ann\n"
                   "Host gw2\n  User bob\n  ProxyJump ignored\n"
                   "Host around\n  ProxyJump about\n"
                   "Host about\n  ProxyJump around\n");
  const json route = route_of({"-F", config, "web", "-l", "me"});
  REQUIRE(route.size() == 4);
  auto is = [&](std::size_t at, const char* host, const char* user, int port, const char* mode) {
    const json& step = route[at];
    CAPTURE(step.dump());
    CHECK(step.at("host") == host);
    if (*user != '\0') CHECK(step.at("user") == user);
    CHECK(step.at("port") == port);
    CHECK(step.at("mode") == mode);
    CHECK(step.at("backend") == route[3].at("backend"));
  };
  is(0, "outer", "", 22, "direct");
  is(1, "first.example.com", "ann", 22, "tunnel");
  is(2, "gw2", "bob", 2222, "tunnel");
  is(3, "web", "me", 22, "tunnel");
  CHECK(route[2].at("because").at("port") == "ProxyJump");
  CHECK(route[2].at("because").at("user") == "ssh's configuration " + config);
  // Of a jump that is not the first ssh passes its own ProxyJump over.
  CHECK(route[2].at("proxy_jump") == "gw1");

  const Finished around = run_program({"plan", "-F", config, "around"});
  CHECK(around.code == 255);
  CHECK(contains(around.err, "leads back to itself"));
}

TEST_CASE("a user that the configuration names is never a default, though it would be one") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string own = step_of({"-F", "none", "web"}).at("user");
  CHECK(step_of({"-F", "none", "web"}).at("because").at("user") == "default");
  const std::string config = folder.write("config", cat("Host web\n  User ", own, "\n"));
  const json step = step_of({"-F", config, "web"});
  CHECK(step.at("user") == own);
  CHECK(step.at("because").at("user") == "ssh's settings");
}

TEST_CASE("hops are called as they were written, whatever their HostName") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string config = folder.write("config",
                                          "Host web\n  HostName 192.0.2.7\n  ProxyJump gw,far:2222\n"
                                          "Host gw\n  HostName 192.0.2.1\n  User ann\n");
  const json route = route_of({"-F", config, "me@web"});
  REQUIRE(route.size() == 3);
  CHECK(route[0].at("name") == "gw");
  CHECK(route[0].at("host") == "192.0.2.1");
  CHECK(route[1].at("name") == "far:2222");
  CHECK(route[2].at("name") == "me@web");
  const Finished got = run_program({"plan", "-F", config, "me@web"});
  CHECK(got.out.starts_with("me@web  by gw → far:2222 → me@web\n  step 1: gw\n"));
}

TEST_CASE("text is for people: a block a target, in the order written, this machine too") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string config = folder.write("config", "Host web2\n  ProxyJump gw\n");
  const Finished got = run_program({"plan", "-F", config, "web[1-2],local,web3"});
  CHECK(got.code == 0);
  CHECK(got.err == "");
  std::vector<std::string> heads;
  for (const std::string& line : lines_of(got.out)) {
    if (!line.starts_with(" ")) heads.push_back(line);
  }
  CHECK(heads == std::vector<std::string>{"web1", "web2  by gw → web2", "local", "web3"});
  CHECK(contains(got.out, "  step 1: gw\n"));
  CHECK(contains(got.out, "back end"));
}

TEST_CASE("a configuration that ssh refuses is a failure of each target, with the line") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string config = folder.write("config", "Host web\n  Frobnicate yes\n");
  const Finished one = run_program({"plan", "-F", config, "web"});
  CHECK(one.code == 255);
  CHECK(one.out == "");
  CHECK(contains(one.err, "✗ web  resolve: "));
  CHECK(contains(one.err, "line 2: Bad configuration option: frobnicate"));
  const Finished many = run_program({"plan", "-F", config, "web,local", "--json"});
  CHECK(many.code == 4);
  const std::vector<json> said = events_of(many.out);
  REQUIRE(said.size() == 2);
  CHECK(said[0].at("event") == "fail");
  CHECK(said[0].at("target") == "web");
  CHECK(said[0].at("phase") == "resolve");
  CHECK(said[0].at("started") == "no");
  CHECK(said[1].at("target") == "local");
}

TEST_CASE("without ssh it is said what to install, and local targets are planned all the same") {
  const Finished got = run_program({"plan", "local,web"}, {}, {"PATH=/nonexistent"});
  CHECK(got.code == 4);
  CHECK(contains(got.out, "local\n"));
  CHECK(contains(got.err, "✗ web  resolve: starting ssh: No such file"));
  CHECK(contains(got.err, "install"));
}

TEST_CASE("a thousand targets are planned in bounded time and memory, in order") {
  if (!has_ssh()) return;
  Program program({"plan", "-F", "none", "--json", "web[1-1000]"});
  REQUIRE(program.read_output(100'000));
  const long peak = peak_kib(program.pid());
  const Finished got = program.finish();
  CHECK(got.code == 0);
  const std::vector<json> plans = events_of(got.out);
  REQUIRE(plans.size() == 1000);
  for (std::size_t i = 0; i < plans.size(); ++i) CHECK(plans[i].at("target") == cat("web", i + 1));
  CHECK(got.seconds < 60);
  if (kMemoryIsOurs) CHECK(peak < 64 * 1024);
}

TEST_CASE("a reader who goes away ends it as SIGPIPE would, and leaves no ssh behind") {
  if (!has_ssh()) return;
  const std::string mark = fresh_mark();
  Program program({"plan", "-F", "none", "web[1-2000]"}, Program::Shape::kPipes, {mark});
  REQUIRE(program.read_output(1));
  program.close_output();
  CHECK(program.finish().code == 141);
  CHECK(all_gone(mark));
}

TEST_CASE("Ctrl-C ends it at once, with a Match exec that waits") {
  if (!has_ssh()) return;
  const Folder folder;
  const std::string mark = fresh_mark();
  const std::string config =
      folder.write("config", "Match exec \"touch @/here; exec sleep 1000\"\n  Port 23\n");
  Program program({"plan", "-F", config, "web"}, Program::Shape::kPipes, {mark});
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (::access((folder / "here").c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < end)
    ::poll(nullptr, 0, 5);
  REQUIRE(::access((folder / "here").c_str(), F_OK) == 0);
  program.signal(SIGINT);
  CHECK(program.finish().code == 130);
  CHECK(all_gone(mark));
}

TEST_CASE("what plan says is where run goes") {
  if (!has_sshd()) return;
  const Sshd server;
  const json step = step_of({"-F", server.client_config(), "web"});
  CHECK(step.at("port") == server.port());
  CHECK(step.at("known_hosts").at(0) == server.known_hosts());
  CHECK_FALSE(step.at("host_key_types").empty());
  const std::string host = step.at("host"), user = step.at("user"),
                    identity = step.at("identity_files").at(0);
  const Finished got =
      run_program({"run", "-F", "none", cat(user, "@", host, ":", server.port()), "--identity", identity,
                   "--known-hosts", server.known_hosts(), "--", "echo", "here"});
  CHECK(got.out == "here\n");
}

TEST_CASE("a new host key is believed with --accept-new, written down, and said") {
  if (!has_sshd()) return;
  const Sshd server;
  const Folder folder;
  const std::string known = folder.write("known", "");
  auto run = [&](const Words& more) {
    Words words = over(server, "web", {"--known-hosts", known});
    words.insert(words.end(), more.begin(), more.end());
    for (const char* word : {"--", "echo", "here"}) words.emplace_back(word);
    return run_program(words);
  };
  CHECK(run({}).code == 255);
  CHECK(read_file(known).empty());
  const Finished first = run({"--accept-new"});
  CHECK(first.out == "here\n");
  CHECK(contains(first.err, "web: Warning: Permanently added"));
  CHECK_FALSE(read_file(known).empty());
  const Finished second = run({});
  CHECK(second.out == "here\n");
  CHECK(second.err == "");
}
