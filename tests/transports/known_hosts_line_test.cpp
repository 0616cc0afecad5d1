// Goal: a line of known_hosts is taken apart, and names hosts, as OpenSSH does it.
// Method: tables of lines and patterns.
#include "transports/known_hosts_line.h"

#include <catch2/catch.hpp>

using namespace banyan;
using Marker = KnownHostsLine::Marker;

TEST_CASE("patterns match as ssh's do") {
  struct {
    const char* pattern;
    const char* name;
    bool matches;
  } table[] = {
      {"web", "web", true},       {"web,db", "db", true},
      {"web", "web1", false},     {"web*", "web", true},
      {"web*", "web12", true},    {"w?b", "web", true},
      {"w?b", "wb", false},       {"*.dc1", "a.b.dc1", true},
      {"*.dc1", "dc1", false},    {"[web]:22*", "[web]:2222", true},
      {"*a*b*c", "xaxbxc", true}, {"*a*b*c", "xaxbx", false},
      {"", "web", false},         {"*", "web", true},
      {"**", "", true},
  };
  for (const auto& row : table) {
    CAPTURE(row.pattern, row.name);
    CHECK(matches_host_patterns(row.name, row.pattern) == row.matches);
  }
}

TEST_CASE("a line has a marker or none, names, and a key with whatever follows") {
  const auto plain = parse_known_hosts_line("  web,db \tssh-ed25519 AAAA me\r");
  REQUIRE(plain);
  CHECK(plain->marker == Marker::kNone);
  CHECK(plain->names == "web,db");
  CHECK(plain->key == "ssh-ed25519 AAAA me");
  const auto revoked = parse_known_hosts_line("@revoked * ssh-rsa AAAA");
  REQUIRE(revoked);
  CHECK(revoked->marker == Marker::kRevoked);
  CHECK(revoked->names == "*");
  for (const char* nothing : {"", "  ", "# web ssh-rsa AAAA"})
    CHECK(parse_known_hosts_line(nothing)->names.empty());
  for (const char* wrong :
       {"@unknown web ssh-rsa AAAA", "@revoked", "@revoked @cert-authority web ssh-rsa AAAA"})
    CHECK_FALSE(parse_known_hosts_line(wrong));
}

TEST_CASE("a hashed name is that of one host, and says so only to who knows it") {
  const std::string hidden = hashed_name("web", "twenty bytes of salt");
  const auto hashed = parse_hashed_name(hidden);
  REQUIRE(hashed);
  CHECK(is_name(*hashed, "web"));
  CHECK_FALSE(is_name(*hashed, "web1"));
  CHECK(hidden.find("web") == std::string::npos);
  for (const char* wrong :
       {"web", "|1|", "|1|AAAA|AAAA", "|2|dHdlbnR5IGJ5dGVzIG9mIHNhbHQ=|dHdlbnR5IGJ5dGVzIG9mIHNhbHQ="})
    CHECK_FALSE(parse_hashed_name(wrong));
}
