// Goal: folding costs a bounded amount of memory, whatever the hosts say, and loses nothing when there is no
// room. Method: the real program folding into a pipe; its peak of resident memory; a folder that takes no
// file.
#include <algorithm>
#include <map>

#include "tests/end_to_end/program.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr std::size_t kHosts = 40, kBytesOfOne = 4'000'000;
// MiB: 16 held for folding, 32 in windows that have widened, 5 in those of forty hosts that have not, 10 the
// program is anyway; and an eighth more, for the gaps between what malloc gives.
constexpr long kPeakMaxKib = 72 * 1024;

Words folding(const std::string& line) {
  return {"run", cat("local[1-", kHosts, "]"), "--fold", "--sh", line};
}

}  // namespace

TEST_CASE("forty hosts with four megabytes each cost no more memory than the bound, be they equal or not") {
  const struct {
    const char* line;
    std::size_t bytes;  // at least, of what is written
    std::size_t groups;
  } table[] = {
      {"yes 'the same line on every host' | head -c 4000000", kBytesOfOne, 1},
      {"yes \"a line of $$ and of nobody else\" | head -c 4000000", kHosts * kBytesOfOne, kHosts},
  };
  for (const auto& row : table) {
    CAPTURE(row.line);
    Program program(folding(row.line));
    REQUIRE(program.read_output(row.bytes));
    const long peak = peak_kib(program.pid());
    const Finished got = program.finish();
    CHECK(got.code == 0);
    CHECK(peak > 0);
    if (kMemoryIsOurs) CHECK(peak < kPeakMaxKib);
    std::size_t heads = 0;
    std::map<std::string, std::size_t> lines;
    for (const std::string& line : lines_of(got.out)) {
      if (line.starts_with("  ")) {
        ++lines[line];
      } else {
        ++heads;
      }
    }
    CHECK(heads == row.groups);
    std::size_t bytes = 0;
    for (const auto& [line, count] : lines) bytes += (line.size() - 1) * count;
    CHECK(bytes >= row.groups * kBytesOfOne);
    CHECK(bytes <= row.groups * (kBytesOfOne + 1));
  }
}

TEST_CASE("where there is no room for what is held it is said, and every line is written all the same") {
  Program program(
      folding("i=0; while [ $i -lt 20000 ]; do echo \"line $i of $$ and of nobody else\"; i=$((i+1)); done"),
      Program::Shape::kPipes, {"TMPDIR=/proc/none"});
  const Finished got = program.finish();
  CHECK(got.code == 0);
  CHECK(contains(got.err, "banyan: output is not folded any more: a temporary file in /proc/none: "));
  std::map<std::string, int> said;
  for (const std::string& line : lines_of(got.out)) {
    const std::size_t at = line.find("line ");
    if (at != std::string::npos) ++said[line.substr(at)];
  }
  CHECK(said.size() == kHosts * 20'000);
  CHECK(std::ranges::all_of(said, [](const auto& line) { return line.second == 1; }));
}
