// Goal: a target expression means what a user of ssh, pdsh or clush expects, and nothing else reaches a host.
// Method: tables of expressions with the names they make, and of expressions with a piece of the complaint.
#include "cli/targets.h"

#include <catch2/catch.hpp>

using namespace banyan::cli;

namespace {

std::string names(std::string_view expression, std::string_view exclude = {}) {
  std::string joined;
  for (const Target& target : parse_targets(expression, exclude).targets) {
    if (!joined.empty()) joined += ' ';
    joined += target.name;
  }
  return joined;
}

std::string complaint(std::string_view expression, std::string_view exclude = {}) {
  try {
    (void)parse_targets(expression, exclude);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ranges and lists become names in the order written") {
  struct {
    const char* expression;
    const char* expected;
  } table[] = {
      {"local", "local"},
      {"local[1-3]", "local1 local2 local3"},
      {"web1", "web1"},
      {"web1.example.org", "web1.example.org"},
      {"web[1-3]", "web1 web2 web3"},
      {"web[01:03]", "web01 web02 web03"},
      {"web[09-11]", "web09 web10 web11"},
      {"web[098-101].dc1", "web098.dc1 web099.dc1 web100.dc1 web101.dc1"},
      {"web1..3", "web1 web2 web3"},
      {"web08..10.dc2", "web08.dc2 web09.dc2 web10.dc2"},
      {"10.0.0.1..3", "10.0.0.1 10.0.0.2 10.0.0.3"},
      {"web[1,3-5]", "web1 web3 web4 web5"},
      {"web[7]", "web7"},
      {"[1-2].rack", "1.rack 2.rack"},
      {"r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"},
      {"web[1-2],db1,db[4,6]", "web1 web2 db1 db4 db6"},
      {"deploy@web[1-2]:2222", "deploy@web1:2222 deploy@web2:2222"},
      {"web1:[2201-2203]", "web1:2201 web1:2202 web1:2203"},
      {"web1,web1,web[1-2]", "web1 web2"},
      {"[::1]:22,[::1]", "[::1]:22 [::1]"},
      {"root@[fe80::1%eth0]:[22-23]", "root@[fe80::1%eth0]:22 root@[fe80::1%eth0]:23"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(names(row.expression) == row.expected);
  }
}

TEST_CASE("a name is taken apart into user, host and port") {
  struct {
    const char* expression;
    bool local;
    const char* user;
    const char* host;
    std::uint16_t port;
  } table[] = {
      {"local", true, "", "", 0},
      {"local7", true, "", "", 0},
      {"localhost", false, "", "localhost", 0},
      {"web1", false, "", "web1", 0},
      {"web1:22", false, "", "web1", 22},
      {"deploy@web1:65535", false, "deploy", "web1", 65535},
      {"ann@corp.example@web1", false, "ann@corp.example", "web1", 0},
      {"10.0.0.7", false, "", "10.0.0.7", 0},
      {"::1", false, "", "::1", 0},
      {"[::1]:22", false, "", "::1", 22},
      {"root@[2001:db8::7]", false, "root", "2001:db8::7", 0},
      {"[fe80::1%eth0]:2222", false, "", "fe80::1%eth0", 2222},
      {"a_b-c.d", false, "", "a_b-c.d", 0},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    TargetSet set = parse_targets(row.expression);
    REQUIRE(set.targets.size() == 1);
    CHECK(set.targets[0] == Target{row.expression, row.local, row.user, row.host, row.port});
  }
}

TEST_CASE("only one literal name is one target") {
  for (const char* one : {"local", "web1", "deploy@web1:22", "[::1]:22", "::1"}) {
    CAPTURE(one);
    CHECK(parse_targets(one).one);
  }
  for (const char* many : {"local[1-1]", "web[7]", "web1..1", "web1,web1", "web1,web2"}) {
    CAPTURE(many);
    CHECK_FALSE(parse_targets(many).one);
  }
  CHECK_FALSE(parse_targets("web[1-2]", "web2").one);
}

TEST_CASE("excluded names are left out, and leaving out all is an error") {
  CHECK(names("web[1-5]", "web[2-3],web5") == "web1 web4");
  CHECK(names("web1", "db1") == "web1");
  CHECK(complaint("web[1-2]", "web1..2").find("-x excludes them all") != std::string::npos);
  CHECK(complaint("web[1-2]", "@canary").find("groups") != std::string::npos);
  CHECK(complaint("web[1-2]", "we b1").find("letters") != std::string::npos);
}

TEST_CASE("a bare host in -x is left out whatever the user and the port, a full name only as it stands") {
  CHECK(names("root@web1,web1:22,ann@[::1]:22,web2", "web1,::1") == "web2");
  CHECK(names("root@web1,ann@web1,web1", "root@web1") == "ann@web1 web1");
  CHECK(names("web1:22,web1:23", "web1:22") == "web1:23");
  CHECK(names("local1,local2", "local1") == "local2");
}

TEST_CASE("what -x names and nobody meant to contact is told, as it was written") {
  using Items = std::vector<std::string>;
  CHECK(parse_targets("local[1-2]", "local9").not_excluded == Items{"local9"});
  CHECK(parse_targets("web[1-4]", "web[3-9],db[1-2],web1,root@web2").not_excluded ==
        Items{"db[1-2]", "root@web2"});
  CHECK(parse_targets("root@web1,web2", "web1,root@web1").not_excluded.empty());
  CHECK(parse_targets("web1").not_excluded.empty());
}

TEST_CASE("what could reach an argument vector as something else is refused") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"-oProxyCommand=touch", "begin with '-'"},
      {"web1,-oProxyCommand=x", "begin with '-'"},
      {"root@-oProxyCommand=x", "begin with '-'"},
      {"-lroot@web1", "begin with '-'"},
      {"web1;reboot", "letters"},
      {"web1 reboot", "letters"},
      {"web1\nreboot", "letters"},
      {"$(reboot)", "letters"},
      {"`reboot`", "letters"},
      {"web1'", "letters"},
      {"web1\"", "letters"},
      {"web1\\", "letters"},
      {"w\xc3\xa9"
       "b1",
       "letters"},
      {"us$er@web1", "user '"},
      {"us`er@web1", "user '"},
      {"us\ner@web1", "user '"},
      {"us%r@web1", "user '"},
      {"web%h", "letters"},
      {"@web1", "groups"},
      {"web1:", "not a port"},
      {"web1:0", "not a port"},
      {"web1:65536", "not a port"},
      {"web1:ssh", "not a port"},
      {"web1:22x", "not a port"},
      {":22", "no host"},
      {"root@", "no host"},
      {"[::1]22", "only a port"},
      {"[::g]", "not an IPv6 address"},
      {"1:2:3", "not an IPv6 address"},
      {"[fe80::1%]", "not an IPv6 address"},
      {"[fe80::1%a;b]", "not an IPv6 address"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("syntax this version does not know is said so, never taken as a name") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"gw/db1", "beneath a hop"},    {"@web", "groups"},
      {"~web.*", "regular"},          {"^hosts.txt", "from a file"},
      {"-", "standard input"},        {"*.dc2", "patterns"},
      {"web?", "patterns"},           {"web1:&dc1", "intersections"},
      {"web1:!dc1", "intersections"}, {"local/sudo:postgres", "beneath a hop"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("a slip in a range is an error and not a host of that name") {
  for (const char* wrong : {"web[1-", "web[]", "web[3-1]", "web[a-c]", "web[1-2-3]", "web[1:2:3]", "web[-3]",
                            "web[1-1234567890]", "web..3", "web3..1", "web1..", "web[1,]", "web1-3]"}) {
    CAPTURE(wrong);
    CHECK_FALSE(complaint(wrong).empty());
  }
  for (const char* wrong : {"", ",", "web1,", ",web1", "web1,,web2"}) {
    CAPTURE(wrong);
    CHECK_FALSE(complaint(wrong).empty());
  }
  CHECK(complaint("root@local").find("neither user nor port") != std::string::npos);
  CHECK(complaint("local:22").find("neither user nor port") != std::string::npos);
}

TEST_CASE("expansion is bounded before it begins") {
  CHECK(parse_targets("n[1-100000]").targets.size() == kTargetsMax);
  for (const char* wrong : {"n[1-100001]", "n[1-100000],one", "n[1-999999999]",
                            "n[1-999999999]x[1-999999999]", "a[1-400]b[1-400]", "n[1-60000,1-60000]"}) {
    CAPTURE(wrong);
    CHECK(complaint(wrong).find("more than 100000") != std::string::npos);
  }
  CHECK(complaint(std::string(400, 'a').append("[1-90000]")).find("longer than") != std::string::npos);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "[1]";
  CHECK(complaint(deep).find("too many ranges") != std::string::npos);
}

TEST_CASE("a complaint shows the name without its control characters") {
  CHECK(complaint("we\x1b]52;c;x\x07"
                  "b")
            .find('\x1b') == std::string::npos);
}
