// Goal: many names become one short line, which means exactly these names again.
// Method: a table of what a person would write; and random fleets, read back by the parser of targets.
#include "cli/ranges.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "cli/targets.h"
#include "core/text.h"
#include "tests/support/seed.h"

using namespace banyan;
using namespace banyan::cli;

TEST_CASE("names fold into ranges as a person would write them") {
  const struct {
    std::vector<std::string> names;
    const char* folded;
  } table[] = {
      {{}, ""},
      {{"web1"}, "web1"},
      {{"web01"}, "web01"},
      {{"db"}, "db"},
      {{"web1", "web2", "web3"}, "web[1-3]"},
      {{"web3", "web1", "web2", "web5"}, "web[1-3,5]"},
      {{"web1", "web3"}, "web[1,3]"},
      {{"web08", "web09", "web10", "web11"}, "web[08-11]"},
      {{"web8", "web9", "web10", "web100"}, "web[8-10,100]"},
      {{"web98", "web99", "web100"}, "web[98-100]"},
      {{"web1", "web01", "web2", "web02"}, "web[1-2,01-02]"},
      {{"web1", "web2.dc1", "web3.dc1"}, "web1,web[2-3].dc1"},
      {{"a1", "db", "a2", "local"}, "a[1-2],db,local"},
      {{"rack1-node1", "rack1-node2", "rack2-node1", "rack2-node2"}, "rack[1-2]-node[1-2]"},
      {{"rack1-node1", "rack1-node2", "rack2-node1"}, "rack1-node[1-2],rack2-node1"},
      {{"10.0.0.1", "10.0.0.2", "10.0.1.1"}, "10.0.0.[1-2],10.0.1.1"},
      {{"u1@web1", "u1@web2", "u2@web1"}, "u1@web[1-2],u2@web1"},
      {{"web1:22", "web1:23", "web1"}, "web1:[22-23],web1"},
      {{"[::1]:22", "[::1]:23", "fe80::1", "fe80::2"}, "[::1]:22,[::1]:23,fe80::1,fe80::2"},
      {{"h1234567890", "h1234567891"}, "h1234567890,h1234567891"},
  };
  for (const auto& row : table) CHECK(fold_names(row.names) == row.folded);
}

TEST_CASE("what was folded means the same names when it is read back") {
  std::mt19937 random{unsigned(test::seed())};
  auto below = [&](unsigned limit) { return unsigned(random() % limit); };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> names;
    for (unsigned i = 1 + below(60); i > 0; --i) {
      std::string name = cat(below(2) == 0 ? "web" : "rack0-n", below(2) == 0 ? "0" : "", below(120));
      if (below(3) == 0) name += cat("-", below(4), ".dc", below(3));
      if (below(5) == 0) name = cat("deploy2@", name, ":", 2200 + below(3));
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
    const std::string folded = fold_names(names);
    CAPTURE(folded);
    std::vector<std::string> read;
    for (const Target& target : parse_targets(folded).targets) read.push_back(target.name);
    std::ranges::sort(read);
    std::ranges::sort(names);
    REQUIRE(read == names);
  }
}
