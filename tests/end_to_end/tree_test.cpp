// Goal: `banyan tree` shows every context with what it is, and says who is missing.
// Method: the real program over local contexts; its drawing and its events.
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/end_to_end/program.h"

using namespace banyan::test;

TEST_CASE("the drawing has the root and each context once") {
  const Finished got = run_program({"tree", "local[1-3]"});
  CHECK(got.code == 0);
  CHECK(got.err == "");
  CHECK(got.out.starts_with("root "));
  CHECK(got.out.find("\n├─ local1  ") != std::string::npos);
  CHECK(got.out.find("\n├─ local2  ") != std::string::npos);
  CHECK(got.out.find("\n└─ local3  ") != std::string::npos);
  CHECK(std::count(got.out.begin(), got.out.end(), '\n') == 4);
}

TEST_CASE("as events each context is one object with its parent and plausible numbers") {
  const Finished got = run_program({"tree", "local[1-3]", "--json"});
  CHECK(got.code == 0);
  std::istringstream lines(got.out);
  std::set<std::string> names;
  std::set<std::uint64_t> ids;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json context = nlohmann::json::parse(line);
    if (context.contains("event")) {
      CHECK(context["event"] == "summary");
      continue;
    }
    CAPTURE(line);
    names.insert(context.at("name").get<std::string>());
    ids.insert(context.at("context").get<std::uint64_t>());
    CHECK(context.at("pid").get<std::int64_t>() > 0);
    CHECK(context.at("rss_kib").get<std::uint64_t>() > 0);
    CHECK_FALSE(context.at("arch").get<std::string>().empty());
    if (context.at("name") == "root") {
      CHECK(context.at("parent").is_null());
      CHECK(context.at("rtt_us").is_null());
    } else {
      CHECK(context.at("parent") == 0);
      CHECK(context.at("method") == "local");
      CHECK(context.at("rtt_us").get<std::uint64_t>() < 5'000'000);
    }
  }
  CHECK(names == std::set<std::string>{"root", "local1", "local2", "local3"});
  CHECK(ids.size() == 4);
}

TEST_CASE("who cannot be reached is said, and the others are drawn") {
  const Finished got = run_program({"tree", "local1,127.0.0.1:1"});
  CHECK(got.code == 4);
  CHECK(got.out.find("└─ local1") != std::string::npos);
  CHECK(got.err.find("✗ 127.0.0.1:1  connect: ") != std::string::npos);
}
