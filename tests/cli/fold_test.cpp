// Goal: hosts that said the same are shown once, those who differ are seen, and nothing is lost or mixed up.
// Method: a Fold fed as the writing thread feeds it, in random pieces; small bounds; a folder that is none.
#include "cli/fold.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <sstream>

#include "core/text.h"
#include "tests/support/seed.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

struct Said {
  std::string name, out, err = {};
};

struct Bench {
  explicit Bench(Fold::Look look = {.utf8 = true}, std::unique_ptr<Spill> spill = std::make_unique<Spill>())
      : fold(std::make_shared<Fold>(
            look, SipHash::Key{1, 2}, [this](std::string why) { trouble.push_back(std::move(why)); },
            std::move(spill))) {}

  void say(const std::shared_ptr<StreamFormat>& stream, std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t take = std::min<std::size_t>(bytes.size(), 1 + random() % 5'000);
      written += stream->feed(bytes.substr(0, take));
      bytes.remove_prefix(take);
    }
  }

  void run(const std::vector<Said>& hosts) {
    struct Live {
      std::shared_ptr<Fold::Host> host;
      std::shared_ptr<StreamFormat> out, err;
    };
    std::vector<Live> live;
    for (const Said& said : hosts) {
      live.push_back({fold->add(said.name), nullptr, nullptr});
      live.back().out = fold->stream(live.back().host, false);
      live.back().err = fold->stream(live.back().host, true);
    }
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      say(live[i].out, hosts[i].out);
      say(live[i].err, hosts[i].err);
    }
    for (Live& one : live) written += one.out->finish() + one.err->finish();
  }

  std::string groups(const std::vector<std::string>& silent = {}) {
    const auto source = fold->groups(silent);
    std::string all;
    for (std::string piece; source->next(piece); piece.clear()) all += piece;
    return all;
  }

  std::mt19937 random{unsigned(test::seed())};
  std::vector<std::string> trouble;
  std::string written;
  std::shared_ptr<Fold> fold;
};

}  // namespace

TEST_CASE("hosts that said the same are one group, those who differ come after it with a mark") {
  Bench bench;
  bench.run({{"web1", "a\n"}, {"web3", "bb\n"}, {"web2", "a\n"}, {"web4", "a\n"}, {"web5", "a"}});
  CHECK(bench.written.empty());
  CHECK(bench.groups() ==
        "web[1-2,4-5] (4)  a\n"
        "web3         (1)  bb  ← differs\n");
  CHECK(bench.groups().empty());
}

TEST_CASE("several lines stand beneath their hosts, and outside UTF-8 the mark is ASCII") {
  Bench bench(Fold::Look{});
  bench.run({{"a1", "x\ny\n"}, {"a2", "x\ny\n"}, {"b", "z\n", "e\n"}});
  CHECK(bench.groups() ==
        "a[1-2] (2)\n"
        "  x\n"
        "  y\n"
        "b      (1)    <- differs\n"
        "  z\n"
        "  e\n");
}

TEST_CASE("where no more than half agree nobody is marked, and the largest comes first") {
  Bench bench;
  bench.run({{"a", "1\n"}, {"b", "2\n"}, {"c", "3\n"}, {"d", "3\n"}});
  CHECK(bench.groups() ==
        "c,d (2)  3\n"
        "a   (1)  1\n"
        "b   (1)  2\n");
}

TEST_CASE("what went to standard output is not what went to standard error") {
  Bench bench;
  bench.run({{"a", "x\n", ""}, {"b", "", "x\n"}, {"c", "x\n", ""}});
  CHECK(bench.groups() ==
        "a,c (2)  x\n"
        "b   (1)  x  ← differs\n");
}

TEST_CASE(
    "standard error counts as much as standard output, and how the two came between each other not at all") {
  Bench bench;
  bench.run({{"a", "x\n", "1\n"}, {"b", "x\n", "2\n"}});
  const auto host = bench.fold->add("c");
  const auto out = bench.fold->stream(host, false), err = bench.fold->stream(host, true);
  bench.say(err, "1\n");
  bench.say(out, "x\n");
  bench.written += out->finish() + err->finish();
  CHECK(bench.groups() ==
        "a,c (2)\n"
        "  x\n"
        "  1\n"
        "b   (1)    ← differs\n"
        "  x\n"
        "  2\n");
}

TEST_CASE("what only looks the same once it is escaped is not the same") {
  Bench bench({.escape = true, .utf8 = true});
  bench.run({{"a", "\x1b[2J\n"}, {"b", "\\x1b[2J\n"}});
  CHECK(bench.groups() ==
        "a (1)  \\x1b[2J\n"
        "b (1)  \\x1b[2J\n");
}

TEST_CASE("who said nothing is a group where others said something") {
  Bench bench;
  bench.run({{"a1", "x\n"}, {"a2", "x\n"}});
  CHECK(bench.groups({"b"}) ==
        "a[1-2] (2)  x\n"
        "b      (1)  (no output)  ← differs\n");
  Bench silent;
  silent.run({});
  CHECK(silent.groups({"a", "b"}).empty());
}

TEST_CASE("a later batch is measured against all that came before") {
  Bench bench;
  bench.run({{"a1", "x\n"}, {"a2", "x\n"}, {"a3", "x\n"}});
  CHECK(bench.groups() == "a[1-3] (3)  x\n");
  bench.run({{"b1", "y\n"}, {"b2", "y\n"}, {"a4", "x\n"}});
  CHECK(bench.groups() ==
        "a4     (1)  x\n"
        "b[1-2] (2)  y  ← differs\n");
}

TEST_CASE("a host that is released shows what was held and goes on line by line") {
  Bench bench;
  const auto host = bench.fold->add("a");
  const auto out = bench.fold->stream(host, false), err = bench.fold->stream(host, true);
  CHECK(out->feed("one\ntwo\nthr").empty());
  const auto source = bench.fold->release(host);
  std::string all;
  for (std::string piece; source->next(piece); piece.clear()) all += piece;
  CHECK(all == "a: one\na: two\n");
  CHECK(out->feed("ee\nfour") == "a: three\n");
  CHECK(err->feed("e\n") == "a: e\n");
  CHECK(out->finish() + err->finish() == "a: four\n");
  CHECK(bench.groups().empty());
}

TEST_CASE("a host that says more than is held of one is released by itself, in order") {
  Bench bench({.utf8 = true, .host_max = 10'000});
  std::string lines, expected;
  for (int i = 0; i < 5'000; ++i) {
    lines += cat("line ", i, "\n");
    expected += cat("a: line ", i, "\n");
  }
  bench.run({{"a", lines}});
  CHECK((bench.written == expected));
}

TEST_CASE("texts beyond the memory come back whole, and equal ones are kept once") {
  auto spill = std::make_unique<Spill>(std::getenv("TMPDIR"), 100'000);
  Spill& kept = *spill;
  Bench bench({.utf8 = true}, std::move(spill));
  std::string same, other, expected;
  for (int i = 0; i < 20'000; ++i) {
    same += cat("same ", i, "\n");
    other += cat("other ", i, "\n");
  }
  bench.run({{"a1", same}, {"b", other}, {"a2", same}, {"a3", same}});
  CHECK(kept.in_memory() < 200'000);
  CHECK(kept.in_memory() + kept.in_file() < same.size() + other.size() + 4 * kSpillBlockBytes);
  const std::string groups = bench.groups();
  auto indented = [](std::string text) {
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) text.insert(at, "  ");
    return text;
  };
  CHECK((groups == "a[1-3] (3)\n" + indented(same) + "b      (1)    ← differs\n" + indented(other)));
  CHECK(kept.in_memory() == 0);
  CHECK(kept.in_file() == 0);
}

TEST_CASE("where nothing more can be kept it is said once, and every line is still written") {
  Bench bench({.utf8 = true}, std::make_unique<Spill>("/proc/none", 50'000));
  std::vector<Said> hosts;
  for (int host = 0; host < 5; ++host) {
    std::string text;
    for (int i = 0; i < 3'000; ++i) text += cat("line ", i, " of ", host, "\n");
    hosts.push_back({cat("h", host), text});
  }
  bench.run(hosts);
  CHECK(bench.trouble ==
        std::vector<std::string>{"a temporary file in /proc/none: No such file or directory"});
  std::map<std::string, int> lines;  // without what stands in front of them
  std::istringstream all(bench.written + bench.groups());
  for (std::string line; std::getline(all, line);) {
    const std::size_t at = line.find("line ");
    if (at != std::string::npos) ++lines[line.substr(at)];
  }
  CHECK(lines.size() == 5 * 3'000);
  CHECK(std::ranges::all_of(lines, [](const auto& line) { return line.second == 1; }));
}
