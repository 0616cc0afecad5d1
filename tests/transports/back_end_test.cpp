// Goal: libssh2 is taken exactly when it can honour every setting, and otherwise the setting that decided is
// named. Method: a table of one setting each over what a plain OpenSSH 9.2 says.
#include "transports/back_end.h"

#include <catch2/catch.hpp>
#include <functional>

#include "core/text.h"

using namespace banyan;

namespace {

LocalUser nobody() {
  LocalUser local;
  local.home = "/home/nobody";
  local.variable = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  local.home_of = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  return local;
}

// As OpenSSH 9.2 says with no configuration; `more` may say it again, and then counts.
SshSettings settings_with(std::string_view more) {
  constexpr std::string_view kPlain =
      "user ann\nhostname web\nport 22\naddressfamily any\ncompression no\ncontrolmaster false\n"
      "gssapiauthentication no\ngssapikeyexchange no\nhostbasedauthentication no\npubkeyauthentication true\n"
      "stricthostkeychecking ask\nverifyhostkeydns false\ncheckhostip no\nrekeylimit 0 0\n"
      "kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,ecdh-sha2-nistp256\n"
      "ciphers chacha20-poly1305@openssh.com,aes128-ctr,aes256-gcm@openssh.com\n"
      "macs umac-64-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha1\n"
      "hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512\n"
      "identityfile ~/.ssh/id_ed25519\nuserknownhostsfile /home/nobody/.ssh/known_hosts\n"
      "securitykeyprovider internal\nidentityagent /run/agent\n";
  auto settings = parse_ssh_settings(cat(kPlain, more), "web", nobody());
  REQUIRE(settings);
  return *settings;
}

struct Case {
  const char* lines;
  const char* decides;  // "": libssh2
  const char* says = "";
  std::function<void(BackEndFacts&)> change = {};
};

BackEndFacts facts_of(const SshSettings& settings) {
  BackEndFacts facts{.settings = settings};
  facts.keys = {{"/home/nobody/.ssh/id_ed25519", KeyKind::kEd25519, false}};
  facts.has_connector = true;
  return facts;
}

void know(BackEndFacts& facts, const std::vector<KnownHostKey>& keys) {
  facts.known = keys;
}

}  // namespace

TEST_CASE("the first setting that libssh2 cannot honour decides, and is named") {
  const Case table[] = {
      {"", ""},
      {"proxycommand nc %h %p\n", "ProxyCommand", "nc %h %p"},
      {"proxycommand none\n", ""},
      // Through jumps or not is no matter to one host.
      {"proxyjump ann@gw\n", ""},
      {"controlpath /run/cm\n", ""},
      {"controlpath /run/cm\n", "ControlPath", "/run/cm",
       [](BackEndFacts& f) { f.has_control_socket = true; }},
      {"controlpath /run/cm\ncontrolmaster auto\n", "ControlMaster", "auto"},
      {"controlmaster auto\n", ""},
      {"bindinterface eth0\n", "BindInterface", "eth0"},
      {"bindaddress localhost\n", "BindAddress", "localhost"},
      {"addressfamily inet6\n", ""},
      {"compression yes\n", "Compression"},
      {"kexalgorithms sntrup761x25519-sha512@openssh.com\n", "KexAlgorithms"},
      {"kexalgorithms sntrup761x25519-sha512@openssh.com,diffie-hellman-group14-sha256\n", ""},
      {"ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com\n", "Ciphers"},
      {"macs hmac-sha2-256-etm@openssh.com,umac-128@openssh.com\n", "MACs"},
      {"hostkeyalgorithms rsa-sha2-512,rsa-sha2-256\n", "HostKeyAlgorithms"},
      {"hostkeyalgorithms ecdsa-sha2-nistp256-cert-v01@openssh.com\n", "HostKeyAlgorithms"},
      {"hostkeyalgorithms ssh-rsa\n", ""},
      {"rekeylimit 1073741824 3600\n", "RekeyLimit", "1073741824 3600"},
      {"knownhostscommand /bin/keys\n", "KnownHostsCommand", "/bin/keys"},
      {"revokedhostkeys /etc/revoked\n", "RevokedHostKeys", "/etc/revoked"},
      {"verifyhostkeydns ask\n", "VerifyHostKeyDNS", "ask"},
      {"checkhostip yes\n", "CheckHostIP"},
      {"certificatefile /k/id-cert.pub\n", "CertificateFile", "/k/id-cert.pub"},
      {"identityfile /k/%Z\n", "IdentityFile", "/k/%Z: only ssh knows"},
      {"userknownhostsfile /k/a b\n", "UserKnownHostsFile", "/k/a b"},
      {"pkcs11provider /lib/p.so\n", "PKCS11Provider", "/lib/p.so"},
      {"pubkeyauthentication host-bound\n", "PubkeyAuthentication"},
      {"pubkeyauthentication unbound\n", ""},
      {"hostbasedauthentication yes\n", "HostbasedAuthentication"},
      {"hostbasedauthentication yes\npreferredauthentications publickey\n", ""},
      {"stricthostkeychecking false\n", ""},
      {"stricthostkeychecking accept-new\n", ""},
      {"identitiesonly yes\nhostkeyalias theweb\nhashknownhosts yes\nconnecttimeout 3\n", ""},
      // Kerberos: on by default in some systems, so only where it may be what lets us in.
      {"gssapiauthentication yes\n", ""},
      {"gssapiauthentication yes\n", "GSSAPIAuthentication", "ticket",
       [](BackEndFacts& f) { f.has_kerberos_ticket = true; }},
      {"gssapiauthentication yes\npreferredauthentications publickey\n", "", "",
       [](BackEndFacts& f) { f.has_kerberos_ticket = true; }},
      {"gssapiauthentication yes\nidentityagent none\n", "", "",
       [](BackEndFacts& f) { f.keys[0].kind = KeyKind::kMissing; }},
      {"gssapikeyexchange yes\n", "GSSAPIKeyExchange", "",
       [](BackEndFacts& f) { f.has_kerberos_ticket = true; }},
      {"gssapikeyexchange yes\n", ""},
      {"", "", "", [](BackEndFacts& f) { f.has_kerberos_ticket = true; }},
      // Our keys.
      {"", "", "", [](BackEndFacts& f) { f.keys[0].kind = KeyKind::kRsa; }},
      {"", "", "", [](BackEndFacts& f) { f.keys[0].kind = KeyKind::kUnknown; }},
      {"", "", "", [](BackEndFacts& f) { f.keys.clear(); }},
      {"", "IdentityFile", "id_ed25519: its key is on a security key",
       [](BackEndFacts& f) { f.keys[0].kind = KeyKind::kFido; }},
      {"", "IdentityFile", "id_ed25519: a certificate lies beside it",
       [](BackEndFacts& f) { f.keys[0].has_certificate = true; }},
      {"", "IdentityFile", "certificate", [](BackEndFacts& f) { f.keys[0].kind = KeyKind::kCertificate; }},
      // Theirs.
      {"", "", "", [](BackEndFacts& f) { know(f, {{"ssh-ed25519"}}); }},
      {"", "", "",
       [](BackEndFacts& f) {
         know(f, {{"ssh-rsa"}, {"ecdsa-sha2-nistp256"}});
       }},
      {"", "host key", "ssh-rsa", [](BackEndFacts& f) { know(f, {{"ssh-rsa"}}); }},
      {"hostkeyalgorithms ssh-ed25519,ssh-rsa\n", "", "", [](BackEndFacts& f) { know(f, {{"ssh-rsa"}}); }},
      {"hostkeyalgorithms ssh-ed25519\n", "host key", "ecdsa-sha2-nistp256",
       [](BackEndFacts& f) { know(f, {{"ecdsa-sha2-nistp256"}}); }},
      {"", "host key", "certificate",
       [](BackEndFacts& f) {
         know(f, {{"ssh-ed25519", true}});
       }},
      {"", "", "",
       [](BackEndFacts& f) {
         know(f, {{"ssh-ed25519", true}, {"ssh-ed25519"}});
       }},
      {"", "host key", "sk-ssh", [](BackEndFacts& f) { know(f, {{"sk-ssh-ed25519@openssh.com"}}); }},
      // Several: the first on the way there.
      {"compression yes\nproxycommand nc %h\n", "ProxyCommand"},
  };
  for (const Case& row : table) {
    const SshSettings settings = settings_with(row.lines);
    BackEndFacts facts = facts_of(settings);
    if (row.change) row.change(facts);
    CAPTURE(row.lines, row.decides, row.says);
    const BackEndChoice choice = choose_back_end(facts, BackEndWish::kAuto);
    CAPTURE(choice.because);
    CHECK(choice.setting == row.decides);
    CHECK(choice.because.find(row.says) != std::string::npos);
    CHECK((choice.back_end == BackEnd::kLibssh2) == choice.setting.empty());
    CHECK_FALSE(choice.is_refused);
    // Who is told why is told what to do about it.
    CHECK(choice.remedy.empty() == choice.setting.empty());

    // Asked for by name, it is refused rather than used without what was configured.
    const BackEndChoice wished = choose_back_end(facts, BackEndWish::kLibssh2);
    CHECK(wished.is_refused == !choice.setting.empty());
    CHECK(wished.setting == choice.setting);
    CHECK(choose_back_end(facts, BackEndWish::kOpenssh).back_end == BackEnd::kOpenssh);
  }
}

TEST_CASE("without a connector it is openssh, and a setting in the way is still named first") {
  const SshSettings plain = settings_with(""), slow = settings_with("compression yes\n");
  BackEndFacts facts = facts_of(plain);
  facts.has_connector = false;
  const BackEndChoice choice = choose_back_end(facts, BackEndWish::kAuto);
  CHECK(choice.back_end == BackEnd::kOpenssh);
  CHECK(choice.setting == "this build");
  CHECK(choose_back_end(facts, BackEndWish::kLibssh2).is_refused);
  BackEndFacts behind = facts_of(slow);
  behind.has_connector = false;
  CHECK(choose_back_end(behind, BackEndWish::kAuto).setting == "Compression");
}

TEST_CASE("who speaks SSH speaks it all the way, and the first host that needs ssh decides") {
  const SshSettings plain = settings_with(""), slow = settings_with("compression yes\n"),
                    kept = settings_with("rekeylimit 1G\n");
  const auto choose = [](const std::vector<const SshSettings*>& way, BackEndWish wish) {
    std::vector<BackEndStep> steps;
    for (const SshSettings* one : way) steps.push_back({cat("h", steps.size()), facts_of(*one)});
    return choose_back_ends(steps, wish);
  };
  for (const BackEndChoice& choice : choose({&plain, &plain, &plain}, BackEndWish::kAuto)) {
    CHECK(choice.back_end == BackEnd::kLibssh2);
    CHECK(choice.setting.empty());
  }
  const auto one = choose({&plain, &slow, &plain}, BackEndWish::kAuto);
  CHECK(one[0].setting == "ProxyJump");
  CHECK(one[1].setting == "Compression");
  CHECK(one[2].setting == "ProxyJump");
  CHECK(one[2].because.find("h1 has Compression: ") != std::string::npos);
  for (const BackEndChoice& choice : one) {
    CHECK(choice.back_end == BackEnd::kOpenssh);
    CHECK_FALSE(choice.remedy.empty());
    CHECK_FALSE(choice.is_refused);
  }
  // The target is told of the first on the way; a hop of itself.
  const auto several = choose({&slow, &kept, &kept}, BackEndWish::kAuto);
  CHECK(several[0].setting == "Compression");
  CHECK(several[1].setting == "RekeyLimit");
  CHECK(several[2].because.find("h0 has Compression: ") != std::string::npos);
  const auto last = choose({&plain, &kept}, BackEndWish::kAuto);
  CHECK(last[0].because.find("h1 has RekeyLimit: ") != std::string::npos);
  CHECK(last[1].setting == "RekeyLimit");
  for (const BackEndChoice& choice : choose({&plain, &slow, &plain}, BackEndWish::kLibssh2))
    CHECK(choice.is_refused);
  for (const BackEndChoice& choice : choose({&plain, &slow, &plain}, BackEndWish::kOpenssh))
    CHECK(choice.setting == "--ssh");
}

TEST_CASE("what both know is in the order of the configuration") {
  CHECK(common_with_libssh2("Ciphers", {"aes256-ctr", "chacha20-poly1305@openssh.com", "aes128-ctr"}) ==
        std::vector<std::string>{"aes256-ctr", "aes128-ctr"});
  CHECK(common_with_libssh2("MACs", {}).empty());
}
