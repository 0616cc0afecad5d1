// Goal: the ssh that reaches a jump host is told from a command line of ours, and from another jump host's.
// Method: words, as a table.
#include "transports/jump.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "transports/openssh.h"

using namespace banyan;

namespace {

bool is_call(const std::vector<const char*>& words) {
  return is_call_of_ssh(int(words.size()), words.data());
}

std::string line_of(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line.append(word).push_back('\0');
  return line;
}

}  // namespace

TEST_CASE("what ssh says to the next ssh, and what we say to ours, is no command line of ours") {
  CHECK(is_call({"banyan", "-l", "ann", "-W", "[web]:22", "gw"}));
  CHECK(is_call({"banyan", "-e", "none", "-T"}));
  CHECK_FALSE(is_call({"banyan", "run", "-w", "web", "--", "true"}));
  CHECK_FALSE(is_call({"banyan", "-F", "none", "run", "web", "--", "true"}));
  CHECK_FALSE(is_call({"banyan"}));
}

TEST_CASE("jump hosts are the same when ssh is told the same, whatever they lead to") {
  const std::string way = way_of_jump(line_of({"ssh", "-l", "ann", "-p", "2222", "-W", "[web1]:22", "gw"}));
  CHECK_FALSE(way.empty());
  CHECK(way_of_jump(line_of({"/x", "-l", "ann", "-p", "2222", "-W", "[web2]:22", "gw"})) == way);
  CHECK(way_of_jump(line_of({"ssh", "-l", "bob", "-p", "2222", "-W", "[web1]:22", "gw"})) != way);
  CHECK(way_of_jump(line_of({"ssh", "-l", "ann", "-p", "2223", "-W", "[web1]:22", "gw"})) != way);
  CHECK(way_of_jump(line_of({"ssh", "-l", "ann", "-p", "2222", "-J", "x", "-W", "[web1]:22", "gw"})) != way);
  CHECK(way_of_jump(line_of({"ssh", "gw", "nc", "web1", "22"})).empty());
  CHECK(way_of_jump(line_of({"ssh", "-W"})).empty());
  CHECK(way_of_jump("").empty());
}

TEST_CASE("a path that a shell would not take as it is stands for no ssh") {
  CHECK(can_stand_for_ssh("/usr/bin/banyan"));
  for (const char* path : {"", "banyan", "/my tools/banyan", "/a;b/banyan", "/$HOME/banyan", "/x (deleted)"})
    CHECK_FALSE(can_stand_for_ssh(path));
}

TEST_CASE("hosts on the way are told what ours is told about keys and questions") {
  SshOptions options;
  options.jump_program = "/usr/bin/banyan";
  const auto heeds = [&] {
    const Recipe recipe = openssh({"web", "", "web", 0}, options, 1, "");
    CHECK(recipe.argv.front() == "/usr/bin/banyan");
    REQUIRE(recipe.environment.size() == 1);
    CHECK(recipe.environment.front().first == kJumpVariable);
    return recipe.environment.front().second;
  };
  CHECK(heeds() == "StrictHostKeyChecking=yes LogLevel=INFO ConnectTimeout=10 BatchMode=yes");
  options.accept_new = options.may_ask = true;
  CHECK(heeds() == "StrictHostKeyChecking=accept-new LogLevel=INFO ConnectTimeout=10");
  options.jump_program.clear();
  CHECK(openssh({"web", "", "web", 0}, options, 1, "").environment.empty());
}
