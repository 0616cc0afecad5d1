// Goal: known_hosts files mean to us what they mean to OpenSSH.
// Method: texts written by hand, each line with a key of its own; ssh-keygen -F says which lines name a host,
// and what it hashed is read.
#include "transports/connector/known_hosts.h"

#include <catch2/catch.hpp>
#include <set>

#include "tests/transports/ssh_tools.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;
using test::made_up_key;
using test::SshFolder;
using Answer = KnownHosts::Answer;

namespace {

std::string key_text(std::uint8_t number) {
  return public_key_text(made_up_key(number));
}

KnownHosts read(std::string_view text) {
  KnownHosts hosts;
  REQUIRE(hosts.add(text, "known_hosts"));
  return hosts;
}

Answer answer(const KnownHosts& hosts, std::string_view name, std::uint16_t port, std::uint8_t key) {
  return hosts.check(name, port, made_up_key(key)).answer;
}

// What -F says of a line: its number, and REVOKED or CA behind it.
std::set<std::string> found_by_ssh_keygen(const SshFolder& folder, const std::string& name) {
  std::set<std::string> found;
  std::string output = folder.run(cat("ssh-keygen -F '", name, "' -f known_hosts")).text;
  for (std::size_t at = 0; (at = output.find("found: line ", at)) != output.npos;) {
    at += std::string_view("found: line ").size();
    std::string what = output.substr(at, output.find('\n', at) - at);
    while (what.ends_with(' ')) what.pop_back();
    found.insert(what);
  }
  return found;
}

}  // namespace

TEST_CASE("a name in a list, in any case, and on a port of its own is known") {
  const KnownHosts hosts =
      read(cat("web1,Web2.example.org,192.0.2.1 ", key_text(1), " a comment\n", "[db]:2222\t", key_text(2),
               "\n# web3 ", key_text(1), "\n\n   \t\n [::1]:22022  ", key_text(3)));
  CHECK(answer(hosts, "web1", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "WEB2.example.ORG", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "192.0.2.1", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "web", 22, 1) == Answer::kUnknown);
  CHECK(answer(hosts, "web3", 22, 1) == Answer::kUnknown);
  CHECK(answer(hosts, "db", 2222, 2) == Answer::kKnown);
  CHECK(answer(hosts, "db", 22, 2) == Answer::kUnknown);
  CHECK(answer(hosts, "db", 2223, 2) == Answer::kUnknown);
  CHECK(answer(hosts, "::1", 22022, 3) == Answer::kKnown);
  CHECK(hosts.bad_lines() == 0);
}

TEST_CASE("another key than the known ones is a change, and they are shown with their places") {
  KnownHosts hosts = read(cat("other ", key_text(9), "\nweb ", key_text(1), "\n"));
  REQUIRE(hosts.add(cat("# global\nweb,web2 ", key_text(2), "\n"), "/etc/ssh/ssh_known_hosts"));

  const KnownHosts::Verdict verdict = hosts.check("web", 22, made_up_key(3));
  CHECK(verdict.answer == Answer::kChanged);
  REQUIRE(verdict.lines.size() == 2);
  CHECK(verdict.lines[0].file == "known_hosts");
  CHECK(verdict.lines[0].number == 2);
  CHECK(verdict.lines[0].key == made_up_key(1));
  CHECK(verdict.lines[1].file == "/etc/ssh/ssh_known_hosts");
  CHECK(verdict.lines[1].number == 2);
  CHECK(verdict.lines[1].type == "ssh-ed25519");

  const KnownHosts::Verdict known = hosts.check("web", 22, made_up_key(2));
  CHECK(known.answer == Answer::kKnown);
  REQUIRE(known.lines.size() == 1);
  CHECK(known.lines[0].file == "/etc/ssh/ssh_known_hosts");
}

TEST_CASE("a revoked key is refused wherever it is known besides") {
  const KnownHosts hosts = read(cat("web ", key_text(1), "\n@revoked * ", key_text(1), "\n@revoked\tdb ",
                                    key_text(2), "\ndb ", key_text(3), "\nmail ", key_text(2)));
  const KnownHosts::Verdict verdict = hosts.check("web", 22, made_up_key(1));
  CHECK(verdict.answer == Answer::kRevoked);
  REQUIRE(verdict.lines.size() == 1);
  CHECK(verdict.lines[0].number == 2);
  CHECK(answer(hosts, "nowhere", 2222, 1) == Answer::kRevoked);
  CHECK(answer(hosts, "db", 22, 2) == Answer::kRevoked);
  CHECK(answer(hosts, "db", 2222, 2) == Answer::kRevoked);
  CHECK(answer(hosts, "db", 22, 3) == Answer::kKnown);
  CHECK(answer(hosts, "mail", 22, 2) == Answer::kKnown);
  CHECK(answer(hosts, "elsewhere", 22, 2) == Answer::kUnknown);
}

TEST_CASE("the key of an authority is no key of a host") {
  const KnownHosts hosts = read(cat("@cert-authority *.example.org ", key_text(1), "\n"));
  CHECK(answer(hosts, "web.example.org", 22, 1) == Answer::kUnknown);
  CHECK(hosts.has_authority("web.example.org", 22));
  CHECK(hosts.has_authority("web.example.org", 2222));
  CHECK_FALSE(hosts.has_authority("web.example.com", 22));
  CHECK(hosts.key_types("web.example.org", 22).empty());
}

TEST_CASE("on a port with no lines of its own the bare name's key is good, and another is merely unknown") {
  const KnownHosts hosts =
      read(cat("web ", key_text(1), "\ndb ", key_text(1), "\n[db]:2222 ", key_text(2), "\n"));
  CHECK(answer(hosts, "web", 2222, 1) == Answer::kKnown);
  CHECK(answer(hosts, "web", 2222, 2) == Answer::kUnknown);
  CHECK(answer(hosts, "db", 2222, 2) == Answer::kKnown);
  CHECK(answer(hosts, "db", 2222, 1) == Answer::kChanged);
}

TEST_CASE("the types known for a host come once each and in the order of the lines") {
  SshFolder folder;
  folder.must_run("ssh-keygen -q -t ecdsa -N '' -f ecdsa");
  folder.must_run("ssh-keygen -q -t rsa -b 2048 -N '' -f rsa");
  const KnownHosts hosts =
      read(cat("web ", folder.read("ecdsa.pub"), "web ", key_text(1), "\nweb ", key_text(2),
               "\n@revoked web ", folder.read("rsa.pub"), "[web]:2222 ", folder.read("rsa.pub")));
  CHECK(hosts.key_types("web", 22) == std::vector<std::string_view>{"ecdsa-sha2-nistp256", "ssh-ed25519"});
  CHECK(hosts.key_types("web", 2222) == std::vector<std::string_view>{"ssh-rsa"});
  CHECK(hosts.key_types("web", 2200) == std::vector<std::string_view>{"ecdsa-sha2-nistp256", "ssh-ed25519"});
  CHECK(hosts.key_types("db", 22).empty());
  CHECK(hosts.bad_lines() == 0);
}

TEST_CASE("patterns name the hosts that ssh-keygen finds for them") {
  const char* patterns[] = {"*",
                            "web?",
                            "web*",
                            "*.example.org,!bad.example.org",
                            "!web1,web*",
                            "web1,!web1",
                            "!web1",
                            "*,!*.org",
                            "[web1]:2222",
                            "[*]:2222",
                            "*:2222",
                            "?eb1",
                            "w*b*1",
                            "**1",
                            "*?*",
                            "web1,",
                            ",web1",
                            ",,",
                            "WEB1",
                            "a*a*a*a*b",
                            "10.0.*.1",
                            "!10.0.0.1,10.*",
                            "web1,db1,!db*",
                            "web",
                            "*.example.org",
                            "w?*1",
                            "\\*",
                            "!",
                            "!,web1",
                            "!!web1",
                            "web1#",
                            "#web1",
                            "|web1",
                            "|1|web1",
                            "[web1]",
                            "??b?",
                            "*b1*"};
  SshFolder folder;
  std::string text;
  std::uint8_t number = 0;
  const char* markers[] = {"", "@revoked ", "@cert-authority "};
  for (const char* pattern : patterns) {
    text += cat(markers[number % 3], pattern, " ", key_text(number), "\n");
    ++number;
  }
  // Whatever comes behind a pattern that is too long, or of the longest that is not.
  for (const std::size_t length : std::vector<std::size_t>{1'100, 1'023, 1'022}) {
    text += cat("web2,", std::string(length, 'a'), ",web1 ", key_text(number), "\n");
    ++number;
  }
  folder.write("known_hosts", text);
  const KnownHosts hosts = read(text);
  const std::size_t lines = number;

  for (const std::string name : {"web1", "web2", "web", "db1", "bad.example.org", "good.example.org",
                                 "10.0.0.1", "10.0.7.1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "*", "x"}) {
    for (const std::uint16_t port : std::vector<std::uint16_t>{22, 2222}) {
      CAPTURE(name, port);
      // As -F looks: not for the bare name as well.
      const std::string exact = known_hosts_name(name, port);
      std::set<std::string> found;
      for (std::size_t line = 0; line < lines; ++line) {
        const Answer said = answer(hosts, exact, 22, std::uint8_t(line));
        const std::string at = cat(line + 1);
        if (said == Answer::kKnown) found.insert(at);
        if (said == Answer::kRevoked) found.insert(at + " REVOKED");
      }
      std::set<std::string> expected = found_by_ssh_keygen(folder, exact);
      const bool authority =
          std::erase_if(expected, [](const std::string& at) { return at.ends_with("CA"); }) > 0;
      CHECK(found == expected);
      CHECK(hosts.has_authority(exact, 22) == authority);
    }
  }
}

TEST_CASE("a pattern of many asterisks is matched in no time") {
  std::string pattern;
  for (int i = 0; i < 300; ++i) pattern += "*a";
  const std::string name(600, 'a');
  CHECK_FALSE(matches_host_patterns(cat(name, "c"), cat(pattern, "b")));
  CHECK(matches_host_patterns(name, pattern));
}

TEST_CASE("names that ssh-keygen hashed are found, and those we hash it finds") {
  SshFolder folder;
  folder.write("known_hosts", cat("web1,web2 ", key_text(1), "\n[db]:2222 ", key_text(2), "\n*.example.org ",
                                  key_text(3), "\n"));
  folder.must_run("ssh-keygen -H -f known_hosts");
  const std::string text = folder.read("known_hosts");
  CHECK(text.find("web1") == text.npos);
  const KnownHosts hosts = read(text);
  CHECK(hosts.bad_lines() == 0);
  CHECK(answer(hosts, "web1", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "Web2", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "db", 2222, 2) == Answer::kKnown);
  CHECK(answer(hosts, "db", 22, 2) == Answer::kUnknown);
  CHECK(answer(hosts, "web1", 22, 2) == Answer::kChanged);
  CHECK(answer(hosts, "a.example.org", 22, 3) == Answer::kKnown);

  const std::string ours = hashed_name("mail", "twenty bytes of salt");
  folder.write("known_hosts", cat(ours, " ", key_text(4), "\n"));
  CHECK(found_by_ssh_keygen(folder, "mail") == std::set<std::string>{"1"});
  CHECK(found_by_ssh_keygen(folder, "mai").empty());
  CHECK(answer(read(folder.read("known_hosts")), "mail", 22, 4) == Answer::kKnown);
}

TEST_CASE("a line that means nothing is counted and harms no other") {
  const std::string good = key_text(1);
  Buffer longer = made_up_key(1);
  longer.push_back(0);
  const std::string bad[] = {
      "web",
      "web ssh-ed25519",
      "web ssh-ed25519 AAAA",
      "web ssh-rsa " + good.substr(good.find(' ') + 1),
      "web " + good.substr(0, good.size() - 1),
      "web " + good + "A",
      "web ssh-ed25519 " + encode_base64(longer),
      "web 1024 35 1234567890",
      "web ssh-unheard-of AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
      "@revoke web " + good,
      "@revoked @revoked web " + good,
      "@revoked",
      "|1|c2hvcnQ=|c2hvcnQ= " + good,
      "|2|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|AAAAAAAAAAAAAAAAAAAAAAAAAAA= " + good,
      "|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA= " + good,
      "|1| " + good,
      "\x01\xff\xfe",
  };
  std::string text;
  for (const std::string& line : bad) text += line + "\n";
  const KnownHosts hosts = read(text + "db " + good + "\r\nmail " + good + std::string("\0garbage\n", 9));
  CHECK(hosts.bad_lines() == std::size(bad));
  CHECK(answer(hosts, "web", 22, 1) == Answer::kUnknown);
  CHECK(answer(hosts, "db", 22, 1) == Answer::kKnown);
  CHECK(answer(hosts, "mail", 22, 1) == Answer::kKnown);
}

TEST_CASE("too much text is refused whole, whether it comes at once or in pieces") {
  KnownHosts hosts;
  REQUIRE(hosts.add(cat("web ", key_text(1), "\n"), "first"));
  const std::string much(kKnownHostsBytesMax - 50, '#');
  const Result<Done> refused = hosts.add(much, "second");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().text.find("second") != std::string::npos);
  CHECK(answer(hosts, "web", 22, 1) == Answer::kKnown);
}

TEST_CASE("a fingerprint is what ssh-keygen prints, for every type of key") {
  SshFolder folder;
  for (const char* type : {"ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048", "dsa"}) {
    CAPTURE(type);
    folder.must_run(cat("rm -f key key.pub; ssh-keygen -q -t ", type, " -N '' -f key"));
    const std::optional<Buffer> blob = parse_public_key(folder.read("key.pub"));
    REQUIRE(blob);
    const std::string printed = folder.must_run("ssh-keygen -lf key.pub");
    CHECK(printed.find(" " + fingerprint(*blob) + " ") != printed.npos);
    CHECK(folder.read("key.pub").starts_with(public_key_text(*blob) + " "));
  }
}
