// Goal: a path of contexts is as good as one: commands run at its end, its ids and names are known, siblings
// share their hops, a thousand come and go, and nothing of any of it is left.
// Method: the real program, with contexts of this machine beneath each other.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/end_to_end/program.h"

using namespace banyan::test;
using banyan::cat;

namespace {

std::string path_of(int depth) {
  std::string path = "local";
  for (int i = 1; i < depth; ++i) path += "/local";
  return path;
}

struct Context {
  std::uint64_t id = 0, parent = 0;
  std::string name;
};

// What `tree --json` says, but for the root.
std::vector<Context> contexts_of(const Finished& got) {
  std::vector<Context> contexts;
  for (const std::string& line : lines_of(got.out)) {
    const nlohmann::json said = nlohmann::json::parse(line);
    if (said.contains("event") || said.at("parent").is_null()) continue;
    contexts.push_back({said.at("context"), said.at("parent"), said.at("name")});
  }
  return contexts;
}

}  // namespace

TEST_CASE("ten nested hops answer a command with its output, its input and its exit code") {
  const std::string mark = fresh_mark();
  const Finished got = run_program({"run", path_of(10), "--", "sh", "-c", "cat; echo e >&2; exit 7"},
                                   "what was given\n", {mark});
  CHECK(got.code == 7);
  CHECK(got.out == "what was given\n");
  CHECK(got.err == "e\n");
  CHECK(all_gone(mark));
}

TEST_CASE("a megabyte comes through ten hops as it was") {
  const std::string bytes = random_bytes(1 << 20);
  const Finished got = run_program({"run", path_of(10), "--", "cat"}, bytes);
  CHECK(got.code == 0);
  CHECK(got.out.size() == bytes.size());
  CHECK((got.out == bytes));
}

TEST_CASE("siblings share the contexts above them, and each context is shown beneath its parent") {
  const Finished got = run_program({"tree", "local/local[1-2]/local[1-2]", "--json"});
  CHECK(got.code == 0);
  CHECK(got.err == "");
  std::map<std::uint64_t, std::string> paths = {{0, ""}};
  std::set<std::string> seen;
  for (const Context& context : contexts_of(got)) {
    REQUIRE(paths.contains(context.parent));  // said before its children
    paths[context.id] = cat(paths[context.parent], "/", context.name);
    CHECK(seen.insert(paths[context.id]).second);
  }
  CHECK(seen == std::set<std::string>{"/local", "/local/local1", "/local/local2", "/local/local1/local1",
                                      "/local/local1/local2", "/local/local2/local1",
                                      "/local/local2/local2"});
}

TEST_CASE("a context that is a target and a hop as well is one context, and outlives what is beneath it") {
  const Finished got =
      run_program({"run", "local,local/local1,local/local2", "--", "sh", "-c", "echo $PPID; sleep 0.2"});
  CHECK(got.code == 0);
  CHECK(lines_of(got.out).size() == 3);
  const std::vector<Context> contexts = contexts_of(run_program({"tree", "local,local/local", "--json"}));
  REQUIRE(contexts.size() == 2);
  CHECK(contexts[1].parent == contexts[0].id);
}

// Sequences of the root and of a hop, as docs/protocol.md has the life of an id: the first child is 1 and its
// own first child 2; the root's next is beyond what the first one was given.
TEST_CASE("the first child is 1, its first child 2, and no id is in two hands") {
  const std::vector<Context> deep = contexts_of(run_program({"tree", path_of(3), "--json"}));
  REQUIRE(deep.size() == 3);
  CHECK(deep[0].id == 1);
  CHECK(deep[1].id == 2);
  CHECK(deep[1].parent == 1);
  CHECK(deep[2].id == 3);

  const std::vector<Context> wide = contexts_of(run_program({"tree", "local[1-3]/local[1-20]", "--json"}));
  REQUIRE(wide.size() == 3 + 3 * 20);
  std::set<std::uint64_t> ids;
  for (const Context& context : wide) {
    CHECK(context.id > 0);
    ids.insert(context.id);
  }
  CHECK(ids.size() == wide.size());
}

TEST_CASE("what lies beneath a hop goes by its whole path, in lines, events and failures") {
  const Finished many = run_program({"run", "local/local[1-2]", "--", "sh", "-c", "echo here; exit 3"});
  CHECK(many.code == 1);
  CHECK(contains(many.out, "local/local1: here\n"));
  CHECK(contains(many.out, "local/local2: here\n"));
  CHECK(contains(many.err, "✗ local/local1  command: exited with 3"));

  const Finished events = run_program({"run", "local/local1/local2", "--json", "--", "true"});
  const nlohmann::json start = nlohmann::json::parse(lines_of(events.out).at(0));
  CHECK(start.at("target") == "local/local1/local2");
  CHECK(start.at("route") == nlohmann::json({"local", "local1", "local2"}));
}

TEST_CASE("a hop that cannot be reached is named by those that were to lie beneath it") {
  const Finished got = run_program({"run", "127.0.0.1:1/local[1-2],local", "--", "true"});
  CHECK(got.code == 4);
  for (const char* name : {"local1", "local2"})
    CHECK(contains(got.err, cat("✗ 127.0.0.1:1/", name, "  connect: hop 127.0.0.1:1: ")));
}

TEST_CASE(
    "the doctor has a ladder for each context of a path, each once, the hop before what lies beneath it") {
  const Finished got = run_program({"doctor", "local/local[1-2]"});
  CHECK(got.code == 0);
  std::vector<std::string> heads;
  for (const std::string& line : lines_of(got.out))
    if (!line.starts_with(' ')) heads.push_back(line.substr(0, line.find(": all is well")));
  CHECK(heads == std::vector<std::string>{"local", "local/local1", "local/local2"});
  CHECK(contains(got.out, "\n  hop       ok                   local\n"));
}

TEST_CASE("a file that is said to be left where none was made is none") {
  for (const char* target : {"local", "local/local"}) {
    const Finished got = run_program({"doctor", target}, {}, {"XDG_RUNTIME_DIR=/x\nleft"});
    CAPTURE(got.out);
    CHECK(got.code == 0);
  }
}

TEST_CASE("the doctor says of a path which hop is to blame, and what to do there") {
  const Finished got = run_program({"doctor", "127.0.0.1:1/local", "--json"});
  CHECK(got.code == 255);
  const std::vector<std::string> lines = lines_of(got.out);
  REQUIRE(lines.size() == 3);
  const nlohmann::json hop = nlohmann::json::parse(lines[0]), beneath = nlohmann::json::parse(lines[1]);
  CHECK(hop.at("target") == "127.0.0.1:1");
  CHECK(hop.at("failed") == "connect");
  CHECK(beneath.at("target") == "127.0.0.1:1/local");
  CHECK(beneath.at("failed") == "hop");
}

TEST_CASE("a path with a slip in it is an error, and nothing is contacted") {
  CHECK(run_program({"run", "local/-web1", "--", "true"}).code == 2);
  CHECK(run_program({"run", "local//local", "--", "true"}).code == 2);
  CHECK(run_program({"run", "local/", "--", "true"}).code == 2);
  CHECK(run_program({"run", "/local", "--", "true"}).code == 2);
}

TEST_CASE("what lies beneath an excluded hop is left out as well") {
  const Finished got = run_program({"run", "local[1-2]/local", "-x", "local1", "--", "true"});
  CHECK(got.code == 0);
  const Finished none = run_program({"run", "local/local", "-x", "local", "--", "true"});
  CHECK(none.code == 2);
}

TEST_CASE("a thousand contexts come up, are called, and are gone") {
  const std::string mark = fresh_mark();
  const Finished got = run_program({"tree", "local[1-1000]", "--json", "-f", "1000"}, {}, {mark});
  CHECK(got.code == 0);
  INFO(got.err);
  CHECK(contexts_of(got).size() == 1000);
  CHECK(all_gone(mark));
}

TEST_CASE("a thousand contexts beneath ten hops come up, are called, and are gone") {
  const std::string mark = fresh_mark();
  const Finished got =
      run_program({"run", "local[1-10]/local[1-100]", "-f", "100", "--", "true"}, {}, {mark});
  CHECK(got.code == 0);
  CHECK(got.err == "");
  CHECK(all_gone(mark));
}
