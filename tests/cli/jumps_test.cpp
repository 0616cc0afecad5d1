// Goal: -J takes what ssh's -J takes, and nothing of it can mean anything to a shell, to ssh's tokens, or to
// an argument vector.
// Method: tables of lists as they are written, with the list as ssh is given it, or a piece of the complaint.
#include "cli/jumps.h"

#include <catch2/catch.hpp>

#include "core/text.h"
#include "transports/ssh_settings.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

std::string complaint(std::string_view text) {
  try {
    (void)check_jumps(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a list of jumps is given on as ssh takes it") {
  const struct {
    const char *written, *given;
  } table[] = {
      {"gw", "gw"},
      {"ann@gw", "ann@gw"},
      {"ann@gw:2222,gw2", "ann@gw:2222,gw2"},
      {"ssh://ann@gw:22", "ann@gw:22"},
      {"[::1]", "[::1]"},
      {"ann@[fe80::1]:22,192.0.2.7", "ann@[fe80::1]:22,192.0.2.7"},
      {"ann@example.com@gw", "ann@example.com@gw"},
      {"none", "none"},
      {"NONE", "none"},
  };
  for (const auto& row : table) {
    CAPTURE(row.written);
    CHECK(check_jumps(row.written) == row.given);
  }
}

TEST_CASE("a list of jumps that is none is refused with what to write") {
  const struct {
    std::string written;
    const char* complaint;
  } table[] = {
      {"", "an empty name"},
      {"gw,", "an empty name"},
      {",gw", "an empty name"},
      {"gw,,gw2", "an empty name"},
      {"gw,none", "'none' stands alone"},
      {"None,gw", "'none' stands alone"},
      {"gw:0", "write user@host:port"},
      {"gw:65536", "write user@host:port"},
      {"gw:ssh", "write user@host:port"},
      {"gw:", "write user@host:port"},
      {"[::1", "write user@host:port"},
      {"[::1]x", "write user@host:port"},
      {"::1", "write user@host:port"},
      {"[fe80::1%eth0]", "without a zone"},
      {"[gw:22]", "an IPv6 address"},
      {"@gw", "user ''"},
      {"ann@", "write user@host:port"},
      {"-oProxyCommand=id", "write user@host:port"},
      {"gw,-oProxyCommand=id", "write user@host:port"},
      {"[-gw]", "write user@host:port"},
      {"-l@gw", "write user@host:port"},
      {"a@-gw", "write user@host:port"},
      {"gw;id", "a host is made of"},
      {"$(id)", "a host is made of"},
      {"`id`", "a host is made of"},
      {"gw|id", "a host is made of"},
      {"gw id", "a host is made of"},
      {"gw\nid", "a host is made of"},
      {"gw%h", "a host is made of"},
      {"gw[1-3]", "a host is made of"},
      {"gw/db1", "a host is made of"},
      {"a;id@gw", "user 'a;id'"},
      {"$(id)@gw", "user '$(id)'"},
      {"%r@gw", "user '%r'"},
      {"gw\x1b[2J", "a host is made of"},
      {std::string("gw\0x", 4), "a host is made of"},
      {std::string("[::1\0;id]", 9), "an IPv6 address"},
      {std::string(400, 'x'), "longer than"},
  };
  for (const auto& row : table) {
    CAPTURE(row.written);
    const std::string said = complaint(row.written);
    CAPTURE(said);
    CHECK(said.find(row.complaint) != said.npos);
    CHECK(said.find_first_of("\n\x1b") == said.npos);
  }
}

TEST_CASE("a way has so many jumps and no more") {
  std::string list = "gw";
  for (std::size_t i = 1; i < kSshJumpsMax; ++i) list += cat(",gw", i);
  CHECK(check_jumps(list) == list);
  CHECK(complaint(list + ",last").find("more than 16 hosts") != std::string::npos);
}
