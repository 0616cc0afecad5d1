// Goal: what `ssh -G` prints becomes settings, and file names are expanded as ssh does when it connects.
// Method: texts as OpenSSH prints them, a made-up local user, tables.
#include "transports/ssh_settings.h"

#include <catch2/catch.hpp>

#include "core/text.h"

using namespace banyan;

namespace {

using Names = std::vector<std::string>;

LocalUser somebody() {
  LocalUser local;
  local.name = "jane";
  local.home = "/home/jane";
  local.host = "desk.example.org";
  local.id = 1000;
  local.variable = [](const std::string& name) -> std::optional<std::string> {
    if (name == "SSH_AUTH_SOCK") return "/run/agent";
    if (name == "KEYS") return "/keys";
    return std::nullopt;
  };
  local.home_of = [](const std::string& user) -> std::optional<std::string> {
    if (user == "bob") return "/home/bob";
    return std::nullopt;
  };
  return local;
}

SshSettings parsed(std::string_view more) {
  auto settings = parse_ssh_settings(cat("host web\nuser ann\nhostname web.example.com\nport 2222\n", more),
                                     "web", somebody());
  REQUIRE(settings);
  return *settings;
}

}  // namespace

TEST_CASE("settings are read by their name, and those not said keep ssh's default") {
  const SshSettings settings = parsed(
      "addressfamily inet6\nbindaddress 10.0.0.1\nbindinterface eth1\nproxyjump gw\ncontrolmaster auto\n"
      "controlpath /run/cm\nconnecttimeout 7\nconnectionattempts 2\ncompression yes\nrekeylimit 1024 3600\n"
      "kexalgorithms a,b\nciphers c\nmacs d,e\nhostkeyalgorithms ssh-ed25519,ssh-rsa\nhostkeyalias theweb\n"
      "stricthostkeychecking accept-new\nverifyhostkeydns ask\ncheckhostip yes\nhashknownhosts yes\n"
      "identitiesonly yes\npkcs11provider /lib/p.so\nsecuritykeyprovider internal\n"
      "pubkeyacceptedalgorithms ssh-ed25519\npreferredauthentications publickey,password\n"
      "pubkeyauthentication unbound\npasswordauthentication no\nkbdinteractiveauthentication no\n"
      "gssapiauthentication yes\nhostbasedauthentication yes\nnumberofpasswordprompts 1\n"
      "sendenv LANG\nsendenv LC_*\nsetenv A=b c\n");
  CHECK(settings.host == "web");
  CHECK(settings.hostname == "web.example.com");
  CHECK(settings.user == "ann");
  CHECK(settings.port == 2222);
  CHECK(settings.address_family == "inet6");
  CHECK(settings.bind_address == "10.0.0.1");
  CHECK(settings.bind_interface == "eth1");
  CHECK(settings.proxy_jump == "gw");
  CHECK(settings.control_master == "auto");
  CHECK(settings.control_path == "/run/cm");
  CHECK(settings.connect_timeout == 7);
  CHECK(settings.connection_attempts == 2);
  CHECK(settings.compression);
  CHECK(settings.rekey_limit == "1024 3600");
  CHECK(settings.kex_algorithms == Names{"a", "b"});
  CHECK(settings.ciphers == Names{"c"});
  CHECK(settings.macs == Names{"d", "e"});
  CHECK(settings.host_key_algorithms == Names{"ssh-ed25519", "ssh-rsa"});
  CHECK(settings.host_key_alias == "theweb");
  CHECK(settings.strict_host_key_checking == "accept-new");
  CHECK(settings.verify_host_key_dns == "ask");
  CHECK(settings.check_host_ip);
  CHECK(settings.hash_known_hosts);
  CHECK(settings.identities_only);
  CHECK(settings.pkcs11_provider == "/lib/p.so");
  CHECK(settings.security_key_provider == "internal");
  CHECK(settings.pubkey_algorithms == Names{"ssh-ed25519"});
  CHECK(settings.preferred_authentications == Names{"publickey", "password"});
  CHECK(settings.pubkey_authentication == "unbound");
  CHECK_FALSE(settings.password_authentication);
  CHECK_FALSE(settings.keyboard_interactive);
  CHECK(settings.gssapi_authentication);
  CHECK_FALSE(settings.gssapi_key_exchange);
  CHECK(settings.hostbased_authentication);
  CHECK(settings.password_prompts == 1);
  CHECK(settings.send_env == Names{"LANG", "LC_*"});
  CHECK(settings.set_env == Names{"A=b c"});
  CHECK(settings.unclear.empty());

  const SshSettings plain = parsed("");
  CHECK(plain.password_authentication);
  CHECK(plain.password_prompts == 3);
  CHECK(plain.control_master == "false");
}

TEST_CASE("none is no value, except as a name") {
  const SshSettings settings = parsed(
      "proxyjump none\ncontrolpath none\nidentityfile none\nuserknownhostsfile none\n"
      "globalknownhostsfile /etc/known none\npkcs11provider none\nconnecttimeout none\n");
  CHECK(settings.proxy_jump.empty());
  CHECK(settings.control_path.empty());
  CHECK(settings.identity_files.empty());
  CHECK(settings.user_known_hosts.empty());
  CHECK(settings.global_known_hosts == Names{"/etc/known"});
  CHECK(settings.pkcs11_provider.empty());
  CHECK(settings.connect_timeout == 0);
  CHECK(settings.unclear.empty());
  auto none = parse_ssh_settings("hostname none\nuser none\nport 22\n", "none", somebody());
  REQUIRE(none);
  CHECK(none->hostname == "none");
  CHECK(none->user == "none");
}

TEST_CASE("names of older releases mean the same") {
  const SshSettings settings = parsed(
      "challengeresponseauthentication no\npubkeyacceptedkeytypes ssh-rsa\nuserknownhostsfile "
      "~/.ssh/known\n");
  CHECK_FALSE(settings.keyboard_interactive);
  CHECK(settings.pubkey_algorithms == Names{"ssh-rsa"});
  CHECK(settings.user_known_hosts == Names{"/home/jane/.ssh/known"});
}

TEST_CASE("names of identity files are expanded as ssh does when it connects") {
  struct {
    const char* written;
    std::optional<std::string> path;
  } table[] = {
      {"~/.ssh/id", "/home/jane/.ssh/id"},
      {"~bob/id", "/home/bob/id"},
      {"~nobody-at-all/id", std::nullopt},
      {"%d/%r@%h-%p", "/home/jane/ann@web.example.com-2222"},
      {"/k/%u.%i.%n.%L.%l", "/k/jane.1000.web.desk.desk.example.org"},
      {"/k/100%%", "/k/100%"},
      {"/k/%k", "/k/web"},
      {"/with space/id", "/with space/id"},
      {"${KEYS}/id", "/keys/id"},
      {"${MISSING}/id", std::nullopt},
      {"${KEYS", std::nullopt},
      {"/k/%Z", std::nullopt},
      {"/k/%", std::nullopt},
      // What OpenSSH 9.2 makes of it: SHA-1 of our host, theirs, the port and the user.
      {"/k/%C", "/k/4c6b24a6d6dc0e03253ee077afc50deb7da12b55"},
  };
  const SshSettings settings = parsed("");
  for (const auto& row : table) {
    CAPTURE(row.written);
    CHECK(expand_ssh_path(row.written, settings, somebody()) == row.path);
  }
  CHECK_FALSE(expand_ssh_path(std::string(10'000, 'a'), settings, somebody()));
}

TEST_CASE("an alias stands for the host where host keys are looked for, without the port") {
  CHECK(known_hosts_names(parsed("")) == Names{"[web.example.com]:2222", "web.example.com"});
  CHECK(known_hosts_names(parsed("hostkeyalias TheWeb\n")) == Names{"theweb"});
  auto plain = parse_ssh_settings("hostname WEB\nuser a\nport 22\n", "web", somebody());
  REQUIRE(plain);
  CHECK(known_hosts_names(*plain) == Names{"web"});
  CHECK(expand_ssh_path("/k/%k", parsed("hostkeyalias theweb\n"), somebody()) == "/k/theweb");
}

TEST_CASE("a value that only ssh can follow is said to be unclear") {
  CHECK(parsed("identityfile /k/%Z\n").unclear == Names{"IdentityFile /k/%Z"});
  CHECK(parsed("certificatefile ${MISSING}\n").unclear == Names{"CertificateFile ${MISSING}"});
  CHECK(parsed("userknownhostsfile /tmp/kn own /b\n").unclear == Names{"UserKnownHostsFile /tmp/kn own /b"});
  CHECK(parsed("userknownhostsfile /a%b /c\n").user_known_hosts == Names{"/a%b", "/c"});
}

TEST_CASE("the key agent is the one that ssh would ask") {
  struct {
    const char* lines;
    const char* socket;
  } table[] = {
      {"", "/run/agent"},
      {"identityagent SSH_AUTH_SOCK\n", "/run/agent"},
      {"identityagent none\n", ""},
      {"identityagent /home/jane/agent.sock\n", "/home/jane/agent.sock"},
      {"identityagent $KEYS\n", "/keys"},
      {"identityagent $MISSING\n", ""},
  };
  for (const auto& row : table) {
    CAPTURE(row.lines);
    CHECK(parsed(row.lines).key_agent == row.socket);
  }
}

TEST_CASE("an answer that is none is an error, and never a guess") {
  for (const char* wrong : {"", "hostname web\nuser ann\n", "hostname web\nport 22\n", "user ann\nport 22\n",
                            "hostname web\nuser ann\nport 0\n", "hostname web\nuser ann\nport 65536\n",
                            "hostname web\nuser ann\nport 22x\n", "\n\n\n", "hostname\nuser\nport\n"}) {
    CAPTURE(wrong);
    auto settings = parse_ssh_settings(wrong, "web", somebody());
    REQUIRE_FALSE(settings);
    CHECK(settings.error().phase == Phase::kResolve);
  }
  std::string endless = "hostname web\nuser ann\nport 22\n";
  for (int i = 0; i < 20'000; ++i) endless += "sendenv X\n";
  CHECK_FALSE(parse_ssh_settings(endless, "web", somebody()));
}

TEST_CASE("jumps are read in every form that ssh prints") {
  auto jumps = parse_proxy_jump("gw,ann@gw2:2222,[::1]:23,bob@[fe80::1%eth0],ssh://eve@gw3:24");
  REQUIRE(jumps);
  REQUIRE(jumps->size() == 5);
  auto is = [&](std::size_t at, const char* user, const char* host, int port) {
    return (*jumps)[at].user == user && (*jumps)[at].host == host && (*jumps)[at].port == port;
  };
  CHECK(is(0, "", "gw", 0));
  CHECK(is(1, "ann", "gw2", 2222));
  CHECK(is(2, "", "::1", 23));
  CHECK(is(3, "bob", "fe80::1%eth0", 0));
  CHECK(is(4, "eve", "gw3", 24));
  for (const char* wrong :
       {"", ",", "gw:x", "gw:0", "[::1", "[::1]22", "-oProxyCommand=x", "a@-x", "-l@x", "gw:"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_proxy_jump(wrong));
  }
}
